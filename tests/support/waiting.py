"""Waiting for what another task brings about, no longer than it takes."""

import asyncio
import time
from collections.abc import Awaitable, Callable


def wait_until(what: Callable[[], bool], *, seconds: float, doing: str) -> None:
    """Return as soon as `what` is true; fail if it never is in time."""
    deadline = time.monotonic() + seconds
    while not what():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds:g} s in vain: {doing}")
        time.sleep(0.05)


async def eventually(
    what: Callable[[], Awaitable[bool]], *, doing: str, seconds: float = 20
) -> None:
    """Return as soon as `what` comes true; fail if it never does in time."""
    deadline = time.monotonic() + seconds
    while not await what():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds:g} s in vain: {doing}")
        await asyncio.sleep(0.02)
