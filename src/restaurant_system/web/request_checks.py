"""Check a request before it is handled: order number, origin, number of requests in progress."""

import asyncio
from collections.abc import Mapping
from http import HTTPStatus
from types import TracebackType

from restaurant_system.errors import OrderNotFound, Overloaded
from restaurant_system.models.order import is_order_number
from restaurant_system.web.problem import Refusal

OWN_SITE = frozenset({"same-origin", "none"})  # Sec-Fetch-Site; "none": the user typed the URL
QUEUE_TIMEOUT = 5.0  # s that a request waits for others to finish


def valid_order_number(text: str) -> str:
    """Return a path parameter that may be an order number; raises `OrderNotFound` for any other.

    So the database gets no text that it cannot store, such as a NUL.
    """
    if not is_order_number(text):
        raise OrderNotFound(text)
    return text


def refuse_other_origins(headers: Mapping[str, str]) -> None:
    """Raise `Refusal` for a request that was sent by a page of another origin.

    Browsers send `Sec-Fetch-Site` (W3C Fetch Metadata), or `Origin` only if there is no TLS. Other
    programs send neither, and are accepted.
    """
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    host = headers.get("host", "")
    if site is not None:
        is_own = site in OWN_SITE
    else:
        is_own = origin in {None, f"http://{host}", f"https://{host}"}
    if not is_own:
        raise Refusal(HTTPStatus.FORBIDDEN, "Send this request from a page of this site.")


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
