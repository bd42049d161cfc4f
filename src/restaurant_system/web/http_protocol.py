"""HTTP/1.1 with limits on the size of a request and on the time that a client takes to send it.

A request that exceeds a limit, or is not HTTP, gets an error response after the responses to all
requests before it. Then the connection is closed.
"""

import asyncio
import socket
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any, cast

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from restaurant_system.error_texts import ErrorText
from restaurant_system.shutdown import Shutdown
from restaurant_system.web.allowed_hosts import HOST, check_host_fields, host_of_target
from restaurant_system.web.connections import Connections
from restaurant_system.web.headers import CONNECTION_CLOSE, REQUEST_ID, first_value, new_request_id
from restaurant_system.web.problem import Refusal, response_for
from restaurant_system.web.request_limits import NEVER, RequestLimits
from restaurant_system.web.security_headers import with_data_headers

USER_TIMEOUT = 15_000  # ms in which the client's machine must acknowledge what is sent
LINGER_TIMEOUT = 1.0  # s for the client to read an error response; RFC 9112, 9.6
LAST_REQUEST_TIMEOUT = 1.0  # s at a stop in which an idle client may send another request
STREAM_AGE = 5.0  # s after which an unfinished response counts as a stream

INVALID = Refusal(
    HTTPStatus.BAD_REQUEST, ErrorText("Invalid HTTP request received.", "invalid_http")
)
TOO_SLOW = Refusal(
    HTTPStatus.REQUEST_TIMEOUT,
    ErrorText("The request was not complete in time; send it again.", "request_timeout"),
)
TOO_MANY_CONNECTIONS = Refusal(
    HTTPStatus.TOO_MANY_REQUESTS,
    ErrorText("This address has too many connections; close some.", "too_many_connections"),
    retry_after=1,
)


class HttpProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol with limits."""

    def __init__(
        self,
        connections: Connections,
        shutdown: Shutdown,
        **uvicorn_arguments: Any,  # noqa: ANN401 - passed through
    ) -> None:
        super().__init__(**uvicorn_arguments)
        self.idle_since = self.loop.time()
        self._open_connections = connections
        self._shutdown = shutdown
        self._limits = RequestLimits(connections.settings, self.loop.time)
        self._address = ""
        self._refusal: Refusal | None = None  # the last response
        self._ignores_input = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Count the connection and set the deadline of its first request."""
        super().connection_made(transport)
        set_user_timeout(transport)
        self._limits.start_deadline()
        self._address = self.client[0] if self.client else ""
        has_room = self._open_connections.make_room(transport.get_extra_info("socket"))
        if not self._open_connections.add(self, self._address):
            self._ignores_input = True
            self._write_refusal(TOO_MANY_CONNECTIONS)
            self.transport.close()
        elif not has_room:
            self.abandon()

    def shutdown(self) -> None:
        """Begin a stop: end streams, and close the connection with the next response.

        An idle connection stays open for a moment, because a request may be on its way.
        """
        self._shutdown.requested.set()  # of several processes, only uvicorn handles signals
        self.loop.call_later(LAST_REQUEST_TIMEOUT, super().shutdown)

    def connection_lost(self, exc: Exception | None) -> None:
        """Remove the connection from those that are counted."""
        self._open_connections.remove(self, self._address)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what was received, slice by slice, until a limit is exceeded."""
        if not self._ignores_input:
            self._stop_keep_alive_timer()
            self._limits.start_deadline()
        rest = memoryview(data)
        while rest and not self._ignores_input:
            size = min(len(rest), self._limits.slice_size())
            self._limits.receive(size)
            self._parse(rest[:size])
            rest = rest[size:]
            if self._limits.is_overhead_exceeded() and not self._ignores_input:
                self._refuse(self._limits.refusal())
        if self._ignores_input and self._has_unanswered():
            self.flow.pause_reading()

    def on_message_begin(self) -> None:
        """Start the limits and the deadline of a new request."""
        self._limits.begin_head()
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """Receive a part of the request target from the parser."""
        super().on_url(url)
        self._limits.add_target(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        """Receive a header or trailer field from the parser."""
        if not self._limits.is_in_body:  # trailers are not merged into the head; RFC 9110, 6.5.1
            super().on_header(name, value)
        self._limits.add_field(name, value)

    def on_headers_complete(self) -> None:
        """Start the request, unless its host is missing, ambiguous or invalid."""
        try:
            check_host_fields(self.headers, self.parser.get_http_version())
            host = host_of_target(self.url)
        except Refusal as refusal:
            self._limits.exceeded = refusal
            raise
        if host not in {None, first_value(HOST, self.headers)}:
            # In place, so that every check and every route sees the same host.
            self.headers[:] = [*(each for each in self.headers if each[0] != HOST), (HOST, host)]
        self.start_request()

    def start_request(self) -> None:
        """Start the request and the deadline of its body."""
        super().on_headers_complete()
        self._limits.begin_body()  # not if uvicorn refuses the target
        if self.parser.should_upgrade():  # what follows is in a protocol that is not served
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        """Receive a part of the request body from the parser."""
        self._limits.add_body(len(body))
        super().on_body(body)

    def on_chunk_complete(self) -> None:
        """Exclude the framing of a chunk from the counted overhead."""
        self._limits.end_chunk()

    def on_message_complete(self) -> None:
        """End the limits of a request that was read completely."""
        self._limits.end_request()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Start the next pipelined request; after the last one, send the error response if any."""
        self.idle_since = self.loop.time()
        was_last = not self.pipeline
        super().on_response_complete()
        if was_last and self._refusal is not None:
            self._send_refusal()

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection; an incomplete request has a deadline of its own."""
        if self._limits.deadline == NEVER:
            super().timeout_keep_alive_handler()
        else:
            self.timeout_keep_alive_task = None

    def check_deadline(self, now: float) -> None:
        """Refuse a request that is incomplete at its deadline, unless the server paused reading."""
        if now < self._limits.deadline:
            return
        if self.flow.read_paused:
            self._limits.extend_deadline()
        else:
            self._refuse(TOO_SLOW)

    def is_idle(self) -> bool:
        """Tell whether every request that was received completely is answered."""
        cycle: Any = self.cycle
        return not self.transport.is_closing() and (
            cycle is None
            or cycle.response_complete
            or (cycle.more_body and not cycle.response_started and not self.pipeline)
        )

    def is_streaming(self) -> bool:
        """Tell whether a response has been in progress for `STREAM_AGE`."""
        cycle: Any = self.cycle
        return (
            cycle is not None
            and cycle.response_started
            and not cycle.response_complete
            and not self.transport.is_closing()
            and self.loop.time() - self.idle_since > STREAM_AGE
        )

    def abandon(self) -> None:
        """Close the connection without a response."""
        self._ignores_input = True
        self.transport.close()

    def _parse(self, data: memoryview) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:  # no other protocol is served
            self._ignores_input = True
        except httptools.HttpParserError:
            self._refuse(self._limits.exceeded or INVALID)

    def _stop_keep_alive_timer(self) -> None:
        if self.timeout_keep_alive_task is not None:
            self.timeout_keep_alive_task.cancel()
            self.timeout_keep_alive_task = None

    def _refuse(self, refusal: Refusal) -> None:
        """Ignore further input, and send `refusal` after the responses to earlier requests."""
        self._ignores_input = True
        self._limits.deadline = NEVER
        if self._is_answered_early():
            self._close_after_linger()  # the client would read a second response as its next one
            return
        self._refusal = refusal
        self._drop_incomplete_request()
        if not self._has_unanswered():
            self._send_refusal()

    def _is_answered_early(self) -> bool:
        """Tell whether the request whose body is incomplete has been answered already."""
        cycle: Any = self.cycle
        is_answered = cycle is not None and cycle.response_complete
        return self._limits.is_in_body and is_answered and not self.pipeline

    def _drop_incomplete_request(self) -> None:
        """End a request whose body stays incomplete; the refusal is its response."""
        cycle: Any = self.cycle
        if cycle is None or cycle.response_complete or not cycle.more_body:
            return
        if self.pipeline:
            self.pipeline.popleft()
            return
        if cycle.response_started:  # a response that has begun cannot be replaced
            self.transport.close()
        cycle.disconnected = cycle.response_complete = True
        cycle.message_event.set()

    def _has_unanswered(self) -> bool:
        """Tell whether a request whose head was received has not been answered yet."""
        cycle: Any = self.cycle
        return bool(self.pipeline) or not (cycle is None or cycle.response_complete)

    def _send_refusal(self) -> None:
        if self._refusal is None or self.transport.is_closing():
            return
        self._write_refusal(self._refusal)
        self._close_after_linger()

    def _close_after_linger(self) -> None:
        """Close the writing side now, and the connection when the client could read everything."""
        if self.transport.is_closing():
            return
        self.transport.write_eof()
        self.cycle = cast("Any", None)
        self.flow.resume_reading()  # unread bytes would make the kernel reset the connection
        self.loop.call_later(LINGER_TIMEOUT, self.transport.close)

    def _write_refusal(self, refusal: Refusal) -> None:
        request_id = new_request_id()
        response = response_for(refusal, request_id)
        headers = [
            *self.server_state.default_headers,
            CONNECTION_CLOSE,
            *with_data_headers(response.status_code, response.raw_headers),
            (REQUEST_ID, request_id.encode()),
        ]
        head = status_line(response.status_code) + serialize_headers(headers)
        self.transport.write(b"%b\r\n%b" % (head, bytes(response.body)))


def set_user_timeout(transport: asyncio.Transport) -> None:
    """Close the connection when the client's machine does not acknowledge data in time.

    A tablet whose battery is empty closes no connection, and TCP would repeat for a quarter of an
    hour. (Linux only.)
    """
    tcp = transport.get_extra_info("socket")
    if tcp is not None and tcp.family != socket.AF_UNIX and hasattr(socket, "TCP_USER_TIMEOUT"):
        tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, USER_TIMEOUT)


def status_line(status: int) -> bytes:
    """Serialize the status line of an HTTP response."""
    return f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n".encode()


def serialize_headers(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Serialize HTTP header fields."""
    return b"".join([b"%b: %b\r\n" % each for each in headers])
