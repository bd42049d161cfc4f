"""Measure the rate of a repeated step."""

import sys
import time
from collections.abc import Awaitable, Callable

WARM_UP = 0.2  # of the time that is measured


async def pace(step: Callable[[], Awaitable[int]], seconds: float) -> float:
    """Repeat a step sequentially; return its items per second."""
    await _done(step, seconds * WARM_UP)
    start = time.perf_counter()
    done = await _done(step, seconds)
    return done / (time.perf_counter() - start)


async def _done(step: Callable[[], Awaitable[int]], seconds: float) -> int:
    deadline, done = time.perf_counter() + seconds, 0
    while time.perf_counter() < deadline:
        done += await step()
    return done


def tell(figure: float) -> None:
    """Print the result."""
    sys.stdout.write(f"{figure}\n")
