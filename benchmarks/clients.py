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
GET = b"GET /orders/%s/status HTTP/1.1\r\nHost: localhost\r\n\r\n"
HOST = b"Host: localhost\r\n"
NUMBER = b'"order_number":"'
RESPONSE_TIMEOUT = 30.0  # s


def post_request(path: bytes, body: bytes) -> bytes:
    """Return the request that posts a JSON body."""
    return (
        b"POST %b HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n%b" % (path, len(body), body)
    )


POST = post_request(b"/orders", ORDER)


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
        raise WrongResponse(f"a response without Content-Length: {data[:end]!r}")
    length = int(head[at + 17 :].split(b"\r\n", 1)[0])
    size = end + 4 + length
    return Response(data[9:12], data[end + 4 : size], size) if len(data) >= size else None


def with_api_key(request: bytes, key: str) -> bytes:
    """Return a request with an API key."""
    return request.replace(HOST, b"%bAuthorization: Bearer %b\r\n" % (HOST, key.encode()), 1)


def order_number_in(body: bytes) -> str:
    """Return the order number in the JSON body of a response."""
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
        """Store the transport of the new connection."""
        self._transport = cast("asyncio.WriteTransport", transport)  # TCP is; uvloop has its own

    def send(self, request: bytes, due: float) -> None:
        """Send a request; its latency counts from the time `due` (`time.monotonic`)."""
        assert self._transport is not None  # noqa: S101 - connected before it sends
        self._due = due
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        """Parse a response once it is complete."""
        self._unread += data
        try:
            response = read_response(self._unread)
            if response is None:
                return
            self._unread = self._unread[response.size :]
            self._pool.answered(self, response, self._due)
        except Exception as error:  # noqa: BLE001 - after any error the results are invalid
            self._pool.fail(error)

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail the benchmark run, unless it has ended."""
        self._pool.fail(WrongResponse(f"the service closed a connection: {exc}"))

    def close(self) -> None:
        """Close the connection."""
        assert self._transport is not None  # noqa: S101 - connected before it is closed
        self._transport.close()


class ClientPool:
    """The HTTP clients of the load generator, their requests, and the latencies of responses."""

    def __init__(self, requests: Iterator[bytes], expected: bytes) -> None:
        self.latencies: list[float] = []
        self.placed: dict[str, float] = {}
        self.total = 0
        self.size = 0  # bytes of all requests and responses
        self.counting = False
        self.record_numbers = False
        self.on_response: Callable[[Client], None] = lambda _: None
        self._requests = requests
        self._expected = expected
        self._in_flight = 0
        self._failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def send(self, client: Client, due: float) -> None:
        """Send the next request on a client."""
        self._in_flight += 1
        request = next(self._requests)
        self.size += len(request)
        client.send(request, due)

    def answered(self, client: Client, response: Response, due: float) -> None:
        """Record a response; raise `WrongResponse` if it is not the expected one."""
        if response.status != self._expected:
            raise WrongResponse(f"{response.status!r} {response.body[:500]!r}")
        self._in_flight -= 1
        self.total += 1
        self.size += response.size
        if self.counting:
            self.latencies.append(time.monotonic() - due)
            if self.record_numbers:
                self.placed[order_number_in(response.body)] = due
        self.on_response(client)

    def fail(self, error: Exception) -> None:
        """Fail the benchmark run with its first error."""
        if not self._failed.done():
            self._failed.set_exception(error)

    async def sleep(self, seconds: float) -> None:
        """Let the clients run for some seconds; raise their first error."""
        await asyncio.wait({self._failed}, timeout=seconds)
        if self._failed.done():
            self._failed.result()

    async def until_all_answered(self) -> None:
        """Wait for the responses to all requests; raise `WrongResponse` after a timeout."""
        deadline = time.monotonic() + RESPONSE_TIMEOUT
        while self._in_flight:
            if time.monotonic() > deadline:
                raise WrongResponse(f"{self._in_flight} requests have no response")
            await self.sleep(0.002)

    def ignore_errors(self) -> None:
        """Ignore closed connections and other errors from now on: the run has ended."""
        if not self._failed.done():
            self._failed.cancel()
