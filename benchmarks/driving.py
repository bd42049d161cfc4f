"""Run the load generator against a service."""

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from benchmarks.processes import output_lines

Callback = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Load:
    """The result of the load generator: `answered` within `seconds`, times in ms.

    `total` includes the responses before and after that time, and so does `size`, the bytes of all
    requests and responses.
    """

    seconds: float
    answered: int
    total: int
    size: int
    p50: float
    p99: float
    p999: float

    @property
    def rate(self) -> float:
        """The responses per second in the measured time."""
        return self.answered / self.seconds


async def _do_nothing() -> None:
    """Return at once: the default of `drive`."""


async def drive(
    *arguments: object, at_begin_and_end: Callback = _do_nothing, core: int | None = None
) -> Load:
    """Run the load generator; return its result.

    `at_begin_and_end` is called when the measured time begins and when it ends. Raises `Failed` at
    any unexpected response.
    """
    command = ["benchmarks.load", *map(str, arguments)]
    last = ""
    async with output_lines(*command, core=core) as lines:
        async for line in lines:
            last = line.strip()
            if last in {"began", "ended"}:
                await at_begin_and_end()
    return Load(**json.loads(last))
