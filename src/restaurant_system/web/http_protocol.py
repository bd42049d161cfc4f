"""HTTP with bounds on what a client may send and how long it may take to send it.

A request that breaks a bound, or is no HTTP, gets one response after those of all requests before
it; then the connection is closed.
"""

import asyncio
import math
import socket
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from restaurant_system.web.connections import Connections
from restaurant_system.web.fastpath.routes import FastResponse, error_response
from restaurant_system.web.fastpath.write_buffer import WriteBuffer
from restaurant_system.web.headers import CONNECTION_CLOSE, new_request_id
from restaurant_system.web.problem import Refusal

ABSENCE = 15_000  # ms in which what is sent must be acknowledged
MAX_HEAD_SIZE = 32 * 1024  # bytes of a head; likewise of a body's trailers and chunk extensions
MAX_HEADER_FIELDS = 100
SLICE = 4 * 1024  # bytes read between two looks at the bounds
SHORTEST_FRAME = len("GET  HTTP/1.1\r\n\r\n")  # what is neither target nor field in a head
CHUNK_FRAME = 16  # bytes around a chunk of a body without extensions
LINGER = 1.0  # s for a refused client to read the response; RFC 9112, 9.6
STREAM = 5.0  # s after which a response that goes on is a stream
NEVER = math.inf

HEAD_TOO_LARGE = Refusal(
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    f"A request's header fields may be {MAX_HEADER_FIELDS}, with {MAX_HEAD_SIZE} bytes in all.",
)
TARGET_TOO_LONG = Refusal(
    HTTPStatus.REQUEST_URI_TOO_LONG, f"A request's head may have at most {MAX_HEAD_SIZE} bytes."
)
TOO_SLOW = Refusal(
    HTTPStatus.REQUEST_TIMEOUT, "The request was not complete in time; send it again."
)
TOO_MANY_CONNECTIONS = Refusal(
    HTTPStatus.TOO_MANY_REQUESTS, "This address has too many connections; close some."
)


class HttpProtocol(HttpToolsProtocol):
    """uvicorn's protocol, with bounds."""

    def __init__(self, connections: Connections, **uvicorns: Any) -> None:  # noqa: ANN401 - what uvicorn gives its own
        super().__init__(**uvicorns)
        self.idle_since = self.loop.time()
        self._accepted = connections
        self._settings = connections.settings
        self._address = ""
        self._deadline = NEVER  # of the request that is being read
        self._is_between_requests = True
        self._is_in_body = False
        self._unaccounted = 0  # bytes read that are no body: of the head, then of chunks' frames
        self._field_bytes = 0
        self._exceeded_limit: Refusal | None = None
        self._refusal: Refusal | None = None  # the last response
        self._is_deaf = False  # nothing that comes is a request any more
        self._default_headers, self._default_head = list[tuple[bytes, bytes]](), b""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Count the connection and set the deadline of its first request."""
        self._buffer = WriteBuffer(transport, self.loop)
        set_user_timeout(transport)
        super().connection_made(cast("asyncio.Transport", self._buffer))
        self._start_deadline()
        self._address = self.client[0] if self.client else ""
        if not self._accepted.add(self, self._address):
            self._is_deaf = True
            self._send_and_close(TOO_MANY_CONNECTIONS)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._accepted.remove(self, self._address)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Have the parser read, slice by slice, for as long as nothing is refused."""
        if self._deadline == NEVER and not self._is_deaf:
            self._start_deadline()
        rest = memoryview(data)
        while rest and not self._is_deaf:
            size = min(len(rest), self._slice_size())
            self._unaccounted += size
            super().data_received(cast("bytes", rest[:size]))
            rest = rest[size:]
            if self._unaccounted >= MAX_HEAD_SIZE and not self._is_deaf:
                self._refuse(self._too_large())
        if self._is_deaf and self._is_owed():
            self.flow.pause_reading()

    def on_message_begin(self) -> None:
        """Note that a request is incomplete."""
        self._is_between_requests = False
        self._field_bytes = SHORTEST_FRAME
        if self._deadline == NEVER:
            self._start_deadline()
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """Take a part of the target."""
        super().on_url(url)
        self._check_head()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count a field of the head or of the trailers."""
        super().on_header(name, value)
        self._field_bytes += len(name) + len(value) + 4
        self._check_head()

    def on_headers_complete(self) -> None:
        """Begin the request and its body's deadline."""
        self.note_head_complete()
        super().on_headers_complete()
        if self.parser.should_upgrade():  # what follows is no HTTP of ours
            self.cycle.keep_alive = False

    def note_head_complete(self) -> None:
        """Count anew, now for the body."""
        self._unaccounted = 0
        self._is_in_body = True
        self._deadline = self.loop.time() + self._settings.body_timeout

    def on_body(self, body: bytes) -> None:
        """Take a part of the body."""
        self._unaccounted = max(0, self._unaccounted - len(body))
        super().on_body(body)

    def on_chunk_complete(self) -> None:
        """Do not count what no chunk can do without."""
        self._unaccounted = max(0, self._unaccounted - CHUNK_FRAME)

    def on_message_complete(self) -> None:
        """Note that nothing is incomplete, and that there is no deadline."""
        self._is_between_requests, self._is_in_body = True, False
        self._unaccounted = 0
        self._deadline = NEVER
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Begin the next request that was read, or send the refusal that comes after the last."""
        self.idle_since = self.loop.time()
        was_last = not self.pipeline
        super().on_response_complete()
        if was_last and self._refusal is not None:
            self._send_refusal()

    def send_400_response(self, msg: str) -> None:
        """Refuse what the parser does not take."""
        self._refuse(self._exceeded_limit or Refusal(HTTPStatus.BAD_REQUEST, msg))

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection; one with half a request has a deadline of its own."""
        if self._deadline == NEVER:
            super().timeout_keep_alive_handler()
        else:
            self.timeout_keep_alive_task = None

    def check_deadline(self, now: float) -> None:
        """Refuse a request that is not complete in time, unless it is we who have not read it."""
        if now < self._deadline:
            return
        if self.flow.read_paused:
            self._deadline = now + self._settings.body_timeout
        else:
            self._refuse(TOO_SLOW)

    def is_idle(self) -> bool:
        """Tell whether every request that was sent completely is answered."""
        cycle: Any = self.cycle
        return not self._buffer.is_closing() and (
            cycle is None
            or cycle.response_complete
            or (cycle.more_body and not cycle.response_started and not self.pipeline)
        )

    def is_streaming(self) -> bool:
        """Tell whether a response has been going on for a while."""
        cycle: Any = self.cycle
        return (
            cycle is not None
            and getattr(cycle, "response_started", False)
            and not cycle.response_complete
            and not self._buffer.is_closing()
            and self.loop.time() - self.idle_since > STREAM
        )

    def abandon(self) -> None:
        """Close without a response."""
        self._is_deaf = True
        self._buffer.close()

    def _unsupported_upgrade_warning(self) -> None:
        """Read on no more: no other protocol is spoken here."""
        self._is_deaf = True

    def _is_answered_early(self) -> bool:
        """Tell whether the request whose body is incomplete has its response already."""
        cycle: Any = self.cycle
        return (
            self._is_in_body and not self.pipeline and cycle is not None and cycle.response_complete
        )

    def _start_deadline(self) -> None:
        self._deadline = self.loop.time() + self._settings.head_timeout

    def _check_head(self) -> None:
        size = self._field_bytes + len(self.url)
        if size > MAX_HEAD_SIZE or len(self.headers) > MAX_HEADER_FIELDS:
            self._exceeded_limit = self._too_large()
            raise self._exceeded_limit  # stops the parser

    def _slice_size(self) -> int:
        return SLICE if self._is_in_body else min(SLICE, MAX_HEAD_SIZE - self._unaccounted)

    def _too_large(self) -> Refusal:
        is_target = not self._is_between_requests and 2 * len(self.url) > MAX_HEAD_SIZE
        return TARGET_TOO_LONG if is_target else HEAD_TOO_LARGE

    def _refuse(self, refusal: Refusal) -> None:
        """Read no more, and send `refusal` after the responses that are owed."""
        self._is_deaf = True
        self._deadline = NEVER
        if self._is_answered_early():
            self._end()  # a second response would be taken for that of the next request
            return
        self._refusal = refusal
        self._withdraw_incomplete()
        if not self._is_owed():
            self._send_refusal()

    def _withdraw_incomplete(self) -> None:
        """Take back a request whose body is broken off; it gets the refusal as its response."""
        cycle: Any = self.cycle
        if cycle is None or cycle.response_complete or not cycle.more_body:
            return
        if self.pipeline:
            self.pipeline.popleft()
            return
        if cycle.response_started:  # half of a response cannot be taken back
            self._buffer.close()
        cycle.disconnected = cycle.response_complete = True
        cycle.message_event.set()

    def _is_owed(self) -> bool:
        """Tell whether a request that was read completely has not been answered yet."""
        cycle: Any = self.cycle
        return bool(self.pipeline) or not (cycle is None or cycle.response_complete)

    def _send_refusal(self) -> None:
        if self._refusal is None or self._buffer.is_closing():
            return
        self._write_last(self._refusal)
        self._end()

    def _end(self) -> None:
        """Close the writing side now, and the connection when the client could read all."""
        if self._buffer.is_closing():
            return
        self._buffer.end()
        self.cycle = cast("Any", None)  # nothing is under way any more
        self.flow.resume_reading()  # unread bytes would make the kernel reset the connection
        self.loop.call_later(LINGER, self._buffer.close)

    def _send_and_close(self, refusal: Refusal) -> None:
        self._write_last(refusal)
        self._buffer.close()

    def _write_last(self, refusal: Refusal) -> None:
        identity = new_request_id()
        head = self.default_head() + fields([CONNECTION_CLOSE])
        self._buffer.send(encoded(error_response(refusal, identity), identity, head))

    def default_head(self) -> bytes:
        """Return what uvicorn adds to every response: the date, renewed each second."""
        headers = self.server_state.default_headers
        if headers is not self._default_headers:
            self._default_headers, self._default_head = headers, fields(headers)
        return self._default_head


def set_user_timeout(transport: asyncio.Transport) -> None:
    """Close the connection when the client's machine acknowledges nothing any more.

    A tablet whose battery is empty closes nothing, and TCP by itself would go on for a quarter of
    an hour. (Linux only.)
    """
    tcp = transport.get_extra_info("socket")
    if tcp is not None and tcp.family != socket.AF_UNIX and hasattr(socket, "TCP_USER_TIMEOUT"):
        tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, ABSENCE)


def fields(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Serialize header fields."""
    return b"".join([b"%b: %b\r\n" % each for each in headers])


def encoded(answer: FastResponse, identity: str, head: bytes) -> bytes:
    """Serialize a response."""
    return b"%b%bcontent-length: %d\r\ncontent-type: %b\r\nx-request-id: %b\r\n\r\n%b" % (
        STATUS_LINE[answer.status],
        head,
        len(answer.body),
        answer.media_type.encode(),
        identity.encode(),
        answer.body,
    )
