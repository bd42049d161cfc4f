"""How many requests are worked on at once."""

import asyncio
from types import TracebackType

from restaurant_system.errors import Overloaded

PATIENCE = 5.0  # s that a request waits for its turn


class ConcurrencyLimit:
    """Lets so many in at once; the next waits, and after 5 s is turned away with `Overloaded`."""

    def __init__(self, at_once: int) -> None:
        self._places = asyncio.Semaphore(at_once)

    async def __aenter__(self) -> None:
        if not self._places.locked():
            await self._places.acquire()  # at once
            return
        try:
            async with asyncio.timeout(PATIENCE):
                await self._places.acquire()
        except TimeoutError:
            raise Overloaded("Too many requests are under way.") from None

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._places.release()
