"""Guests of the load generator: what they ask for, and how an answer is read.

Prebuilt requests, keep-alive, no HTTP library: next to nothing, for they share the machine with
what they drive.
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
GRACE = 30.0  # s for the last answers


class WrongResponse(Exception):
    """A server answered something else than what was asked for."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer, and how many bytes it took."""

    status: bytes
    body: bytes
    size: int


def read_answer(data: bytes) -> Answer | None:
    """Read the answer at the start of `data`; `None` while it is not whole.

    Raises `WrongAnswer` for one that does not state its length.
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
    return Answer(data[9:12], data[end + 4 : size], size) if len(data) >= size else None


def number_in(body: bytes) -> str:
    """Return the order number that an answer names."""
    at = body.index(NUMBER) + len(NUMBER)
    return body[at : body.index(b'"', at)].decode()


class Client(asyncio.Protocol):
    """One connection: has one request under way at a time."""

    def __init__(self, crowd: "ClientPool") -> None:
        self._crowd = crowd
        self._transport: asyncio.WriteTransport | None = None
        self._unread = b""
        self._due = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Be ready."""
        self._transport = cast("asyncio.WriteTransport", transport)  # TCP is; uvloop has its own

    def ask(self, request: bytes, due: float) -> None:
        """Send a request that was `due` at a time."""
        assert self._transport is not None  # noqa: S101 - connected before it asks
        self._due = due
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        """Read an answer, or a part of one."""
        self._unread += data
        try:
            answer = read_answer(self._unread)
            if answer is None:
                return
            self._unread = self._unread[answer.size :]
            self._crowd.answered(self, answer, self._due)
        except Exception as error:  # noqa: BLE001 - whatever it is, the figures are worth nothing
            self._crowd.fail(error)

    def connection_lost(self, exc: Exception | None) -> None:
        """Say so, if it was not our own wish."""
        self._crowd.fail(WrongResponse(f"a connection was closed on us: {exc}"))

    def leave(self) -> None:
        """Close the connection."""
        assert self._transport is not None  # noqa: S101 - connected before it leaves
        self._transport.close()


class ClientPool:
    """All guests, what they ask, and how long their answers took."""

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

    def send(self, guest: Client, due: float) -> None:
        """Have a guest send the next request."""
        self._under_way += 1
        guest.ask(next(self._requests), due)

    def answered(self, guest: Client, answer: Answer, due: float) -> None:
        """Take an answer down; raises `WrongAnswer`."""
        if answer.status != self._expected:
            raise WrongResponse(f"{answer.status!r} {answer.body[:500]!r}")
        self._under_way -= 1
        self.total += 1
        if self.counting:
            self.latencies.append(time.monotonic() - due)
            if self.keeps_numbers:
                self.placed[number_in(answer.body)] = due
        self.after(guest)

    def fail(self, error: Exception) -> None:
        """End everything with an error; the first one counts."""
        if not self._failed.done():
            self._failed.set_exception(error)

    async def sleep(self, seconds: float) -> None:
        """Let the guests go on for a while; raises what went wrong."""
        await asyncio.wait({self._failed}, timeout=seconds)
        if self._failed.done():
            self._failed.result()

    async def until_quiet(self) -> None:
        """Wait for the last answers; raises what went wrong, `WrongAnswer` when they never come."""
        deadline = time.monotonic() + GRACE
        while self._under_way:
            if time.monotonic() > deadline:
                raise WrongResponse(f"{self._under_way} requests are still unanswered")
            await self.sleep(0.002)

    def dismiss(self) -> None:
        """Take no notice of what happens from now on."""
        if not self._failed.done():
            self._failed.cancel()
