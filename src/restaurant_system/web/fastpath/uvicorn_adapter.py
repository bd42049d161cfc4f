"""Everything that the fast path needs of uvicorn's internals.

uvicorn keeps the state of a request in a `RequestResponseCycle`. The fast path puts a `Cycle` in
its place, and calls the protocol's own methods, so that uvicorn handles pipelining, keep-alive and
shutdown as after a response over ASGI.
"""

import asyncio
from typing import Any, cast

import uvicorn

from restaurant_system.web.headers import Headers
from restaurant_system.web.http_protocol import HttpProtocol, serialize_headers
from restaurant_system.web.security_headers import DATA_HEADERS
from restaurant_system.write_buffer import WriteBuffer

# The first and the last version with which the tests listed in CONTRIBUTING.md have passed; in
# between, they have passed with the last patch of each minor version.
TESTED_VERSIONS = ((0, 51), (0, 54))


def is_tested() -> bool:
    """Tell whether the fast path is tested with the installed version of uvicorn."""
    first, last = TESTED_VERSIONS
    major, minor, *_ = uvicorn.__version__.split(".")
    return first <= (int(major), int(minor)) <= last


def tested_versions() -> str:
    """Name the versions of uvicorn that the fast path is tested with, and the installed one."""
    first, last = (".".join(map(str, each)) for each in TESTED_VERSIONS)
    return f"uvicorn {first} to {last}, not {uvicorn.__version__}"


class Cycle:
    """The state of a request, with what uvicorn's protocol reads of a `RequestResponseCycle`."""

    body: bytes | bytearray  # uvicorn appends to it
    more_body = True
    keep_alive = True
    disconnected = False
    response_started = False
    response_complete = False

    @property
    def message_event(self) -> "Cycle":
        """Return an event that wakes nothing: the endpoint is called with the whole body."""
        return self

    def set(self) -> None:
        """See `message_event`."""


class UvicornAdapter(HttpProtocol):
    """The part of the fast path's protocol that reads and changes uvicorn's state."""

    cycle: Any  # a `Cycle`, or uvicorn's own
    tasks: set[Any]  # futures, besides uvicorn's tasks

    def __init__(self, *arguments: Any, **uvicorn_arguments: Any) -> None:  # noqa: ANN401 - passed through
        super().__init__(*arguments, **uvicorn_arguments)
        self._default_headers: Headers = ()
        self._serialized_default_headers = b""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Join what is written to the transport in one iteration of the event loop."""
        self._buffer = WriteBuffer(transport, self.loop)
        super().connection_made(cast("asyncio.Transport", self._buffer))

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection, or wait for the rest of the time since the last response."""
        idle = self.loop.time() - self.idle_since if self.is_free() else 0.0
        left = self.timeout_keep_alive - idle
        if left > 0:
            self.timeout_keep_alive_task = self.loop.call_later(
                left, self.timeout_keep_alive_handler
            )
        else:
            super().timeout_keep_alive_handler()

    def is_free(self) -> bool:
        """Tell whether every request is answered and the client reads the responses."""
        cycle = self.cycle
        is_answered = cycle is None or cycle.response_complete
        return is_answered and not (self._ignores_input or self.flow.write_paused)

    def is_ordinary(self) -> bool:
        """Tell whether the request neither closes, upgrades, nor asks for `100 Continue`."""
        return (
            self.parser.should_keep_alive()
            and not self.parser.should_upgrade()
            and not self.expect_100_continue
        )

    def request_line(self) -> bytes:
        """Return the first line of the request whose head is being read."""
        version = self.parser.get_http_version().encode()
        return b"%b %b HTTP/%b" % (self.parser.get_method(), self.url, version)

    def default_headers(self) -> bytes:
        """Return the headers of every response, serialized.

        Besides the constant ones, this is the date, which changes each second.
        """
        headers = self.server_state.default_headers
        if headers is not self._default_headers:
            self._default_headers = headers
            self._serialized_default_headers = serialize_headers([*headers, *DATA_HEADERS])
        return self._serialized_default_headers

    def begin(self, cycle: Cycle) -> None:
        """Make a request the one in progress."""
        self.cycle = cycle

    def wait_for(self, future: "asyncio.Future[Any]") -> None:
        """Have a stop wait for the endpoint of the request in progress."""
        self.tasks.add(future)

    def finish(self, cycle: Cycle, future: "asyncio.Future[Any]") -> bool:
        """End a request before its response is written; return whether the client is connected."""
        self.tasks.discard(future)
        cycle.response_complete = True
        return not cycle.disconnected

    def send(self, response: bytes, *, is_last: bool) -> None:
        """Write a response; then close the connection, or read the next request.

        A keep-alive timer that is running is left alone: it checks `idle_since` when it ends.
        """
        self._buffer.send(response)
        if is_last:
            self._buffer.close()
        if self.timeout_keep_alive_task is None or self._buffer.is_closing():
            self.on_response_complete()
        else:
            self.idle_since = self.loop.time()
            self.server_state.total_requests += 1
            self.flow.resume_reading()
