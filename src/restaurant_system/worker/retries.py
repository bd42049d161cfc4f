"""Repeat what needs the database until it is available."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

import stamina

from restaurant_system.errors import DatabaseUnavailable

MAX_RETRY_DELAY = 10.0  # s between two attempts while the database is unavailable

T = TypeVar("T")


async def retry_while_unavailable(step: Callable[[], Awaitable[T]]) -> T:
    """Repeat a step while the database is unavailable.

    The step must be idempotent: when the answer to a commit was lost, the next attempt must find
    its effect and change nothing.
    """
    async for attempt in stamina.retry_context(
        on=DatabaseUnavailable, attempts=None, timeout=None, wait_max=MAX_RETRY_DELAY
    ):
        with attempt:
            return await step()
    raise AssertionError("retries without limit ended")  # pragma: no cover
