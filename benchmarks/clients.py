"""Clients of the load generator: prebuilt requests, keep-alive, and a minimal response parser.

There is no HTTP library, because the clients share the machine with the service that they measure.
"""

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import cast

ORDER = (
    b'{"customer_name": "John Doe", "order_type": "takeout", "items": ['
    b'{"name": "Margherita Pizza", "quantity": 1, "price": 15.99}, '
    b'{"name": "Caesar Salad", "quantity": 1, "price": 8.99}]}'
)
POST = (
    b"POST /orders HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    b"Content-Length: %d\r\n\r\n%s" % (len(ORDER), ORDER)
)
GET = b"GET /orders/%s/status HTTP/1.1\r\nHost: localhost\r\n\r\n"
NUMBER = b'"order_number":"'
RESPONSE_TIMEOUT = 30.0  # s


class WrongResponse(Exception):
    """A response has another status than expected, or is malformed."""


@dataclass(frozen=True, slots=True)
class Response:
    """An HTTP response, and its size in bytes."""

    status: bytes
    body: bytes
    size: int


def read_response(data: bytes) -> Response | None:
    """Parse the response at the start of `data`; return `None` while it is incomplete.

    Raises `WrongResponse` for a response without Content-Length.
    """
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return None
    head = data[:end].lower()
    at = head.find(b"\r\ncontent-length:")
    if at < 0:
        raise WrongResponse(f"an answer without its length: {data[:end]!r}")
    length = int(head[at + 17 :].split(b"\r\n", 1)[0])
    size = end + 4 + length
    return Response(data[9:12], data[end + 4 : size], size) if len(data) >= size else None


def number_in(body: bytes) -> str:
    """Return the order number in a body."""
    at = body.index(NUMBER) + len(NUMBER)
    return body[at : body.index(b'"', at)].decode()


class Client(asyncio.Protocol):
    """One connection with at most one request in flight."""

    def __init__(self, pool: "ClientPool") -> None:
        self._pool = pool
        self._transport: asyncio.WriteTransport | None = None
        self._unread = b""
        self._due = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.WriteTransport", transport)  # TCP is; uvloop has its own

    def ask(self, request: bytes, due: float) -> None:
        """Send a request that was `due` at a time."""
        assert self._transport is not None  # noqa: S101 - connected before it asks
        self._due = due
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        """Parse the received part of a response."""
        self._unread += data
        try:
            answer = read_response(self._unread)
            if answer is None:
                return
            self._unread = self._unread[answer.size :]
            self._pool.answered(self, answer, self._due)
        except Exception as error:  # noqa: BLE001 - whatever it is, the figures are worth nothing
            self._pool.fail(error)

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail the run, unless it has ended."""
        self._pool.fail(WrongResponse(f"a connection was closed on us: {exc}"))

    def leave(self) -> None:
        """Close the connection."""
        assert self._transport is not None  # noqa: S101 - connected before it leaves
        self._transport.close()


class ClientPool:
    """All clients, their requests, and the latencies of the responses."""

    def __init__(self, requests: Iterator[bytes], expected: bytes) -> None:
        self.latencies: list[float] = []
        self.placed: dict[str, float] = {}
        self.total = 0
        self.counting = False
        self.keeps_numbers = False
        self.after: Callable[[Client], None] = lambda _: None
        self._requests = requests
        self._expected = expected
        self._under_way = 0
        self._failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def send(self, client: Client, due: float) -> None:
        """Send the next request on a client."""
        self._under_way += 1
        client.ask(next(self._requests), due)

    def answered(self, client: Client, answer: Response, due: float) -> None:
        """Record a response; raise `WrongResponse` if it is not the expected one."""
        if answer.status != self._expected:
            raise WrongResponse(f"{answer.status!r} {answer.body[:500]!r}")
        self._under_way -= 1
        self.total += 1
        if self.counting:
            self.latencies.append(time.monotonic() - due)
            if self.keeps_numbers:
                self.placed[number_in(answer.body)] = due
        self.after(client)

    def fail(self, error: Exception) -> None:
        """Fail the run with its first error."""
        if not self._failed.done():
            self._failed.set_exception(error)

    async def sleep(self, seconds: float) -> None:
        """Let the clients run for a while; raise the first error."""
        await asyncio.wait({self._failed}, timeout=seconds)
        if self._failed.done():
            self._failed.result()

    async def until_quiet(self) -> None:
        """Wait for the last responses; raise the first error, `WrongResponse` after a timeout."""
        deadline = time.monotonic() + RESPONSE_TIMEOUT
        while self._under_way:
            if time.monotonic() > deadline:
                raise WrongResponse(f"{self._under_way} requests are still unanswered")
            await self.sleep(0.002)

    def dismiss(self) -> None:
        """Ignore all events from now on."""
        if not self._failed.done():
            self._failed.cancel()
