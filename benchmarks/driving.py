"""Run the load generator against a service."""

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from benchmarks.processes import lines_of

Look = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Load:
    """The result of the load generator: `answered` within `seconds`, times in ms.

    `total` includes the responses before and after that time.
    """

    seconds: float
    answered: int
    total: int
    p50: float
    p99: float
    p999: float

    @property
    def rate(self) -> float:
        """Responses per second."""
        return self.answered / self.seconds


async def _look_away() -> None:
    """Do nothing."""


async def drive(*arguments: object, look: Look = _look_away, core: int | None = None) -> Load:
    """Run the load generator; call `look` when the measured time begins and when it ends.

    Raises `Failed` at any wrong response.
    """
    command = ["benchmarks.load", *map(str, arguments)]
    last = ""
    async with lines_of(*command, core=core) as lines:
        async for line in lines:
            last = line.strip()
            if last in {"began", "ended"}:
                await look()
    return Load(**json.loads(last))
