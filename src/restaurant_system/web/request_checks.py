"""Check a request in its endpoint: order number, number of requests in progress."""

import asyncio
from types import TracebackType

from restaurant_system.errors import OrderNotFound, Overloaded
from restaurant_system.models.order import is_order_number

QUEUE_TIMEOUT = 5.0  # s that a request waits for others to finish


def valid_order_number(text: str) -> str:
    """Return a path parameter that may be an order number; raises `OrderNotFound` for any other.

    So the database gets no text that it cannot store, such as a NUL.
    """
    if not is_order_number(text):
        raise OrderNotFound(text)
    return text


class ConcurrencyLimit:
    """Limit the number of requests that are handled at once.

    A request above the limit waits, and after `QUEUE_TIMEOUT` raises `Overloaded`.
    """

    def __init__(self, limit: int) -> None:
        self._slots = asyncio.Semaphore(limit)

    async def __aenter__(self) -> None:
        if not self._slots.locked():
            await self._slots.acquire()  # returns at once
            return
        try:
            async with asyncio.timeout(QUEUE_TIMEOUT):
                await self._slots.acquire()
        except TimeoutError:
            raise Overloaded("Too many requests are in progress.") from None

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._slots.release()
