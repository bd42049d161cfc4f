"""Drives a service with the load generator, and says what came of it."""

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from benchmarks.processes import lines_of

Look = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Load:
    """What the load generator measured: `answered` within `seconds`, times in ms.

    `total` has those too that were answered before and after that span.
    """

    seconds: float
    answered: int
    total: int
    p50: float
    p99: float
    p999: float

    @property
    def rate(self) -> float:
        """Answers a second."""
        return self.answered / self.seconds


async def _look_away() -> None:
    """Look at nothing."""


async def drive(*arguments: object, look: Look = _look_away, core: int | None = None) -> Load:
    """Run the load generator; have a `look` when the span that counts begins and when it ends.

    Raises `Failed` at any wrong answer.
    """
    command = ["benchmarks.load", *map(str, arguments)]
    last = ""
    async with lines_of(*command, core=core) as lines:
        async for line in lines:
            last = line.strip()
            if last in {"began", "ended"}:
                await look()
    return Load(**json.loads(last))
