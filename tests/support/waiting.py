"""Poll a condition until it holds, or fail after a timeout; wait through cancellations."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable


def wait_until(condition: Callable[[], bool], *, seconds: float, doing: str) -> None:
    """Poll until the condition holds; fail after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"timed out after {seconds:g} s of waiting {doing}")
        time.sleep(0.05)


async def eventually(
    condition: Callable[[], Awaitable[bool]], *, doing: str, seconds: float = 20
) -> None:
    """Poll until the asynchronous condition holds; fail after `seconds`."""
    deadline = time.monotonic() + seconds
    while not await condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"timed out after {seconds:g} s of waiting {doing}")
        await asyncio.sleep(0.02)


async def lose_cancellations(count: int = 1) -> None:
    """Wait until cancelled `count` times, and return, as `asyncio.wait_for` may before 3.12."""
    for _ in range(count):
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
