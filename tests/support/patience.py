"""Waiting for what another task brings about, no longer than it takes."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any


async def eventually(
    what: Callable[[], Awaitable[bool]], *, doing: str, seconds: float = 20
) -> None:
    """Return as soon as `what` comes true; fail if it never does in time."""
    deadline = time.monotonic() + seconds
    while not await what():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds:g} s in vain: {doing}")
        await asyncio.sleep(0.02)


async def logged(lines: Iterable[Mapping[str, Any]], action: str) -> bool:
    """Tell whether an action is among captured log lines."""
    return any(line["event"] == action for line in lines)
