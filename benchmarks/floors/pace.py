"""Measure the rate of a repeated step."""

import sys
import time
from collections.abc import Awaitable, Callable

WARM_UP = 0.2  # times the measured time


async def rate_of(step: Callable[[], Awaitable[int]], seconds: float) -> float:
    """Repeat a step for some seconds; return the items per second that it has processed."""
    await _repeat(step, seconds * WARM_UP)
    start = time.perf_counter()
    done = await _repeat(step, seconds)
    return done / (time.perf_counter() - start)


async def _repeat(step: Callable[[], Awaitable[int]], seconds: float) -> int:
    deadline, done = time.perf_counter() + seconds, 0
    while time.perf_counter() < deadline:
        done += await step()
    return done


def print_result(figure: float) -> None:
    """Print the figure that a floor has measured."""
    sys.stdout.write(f"{figure}\n")
