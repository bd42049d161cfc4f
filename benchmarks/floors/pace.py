"""How fast something goes when it is done over and over."""

import sys
import time
from collections.abc import Awaitable, Callable

WARM_UP = 0.2  # of the time that is measured


async def pace(step: Callable[[], Awaitable[int]], seconds: float) -> float:
    """Do a step again and again, one after the other; return how many things it did a second."""
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
    """Print the figure."""
    sys.stdout.write(f"{figure}\n")
