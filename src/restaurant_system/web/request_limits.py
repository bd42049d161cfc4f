"""Count the bytes and the time of the request that a connection is reading, and limit both."""

import math
from collections.abc import Callable
from http import HTTPStatus
from typing import NoReturn

from restaurant_system.config import HttpSettings
from restaurant_system.error_texts import ErrorText
from restaurant_system.web.problem import Refusal

MAX_HEAD_SIZE = 32 * 1024  # bytes of a head; also of a body's trailers and chunk extensions
MAX_HEADER_FIELDS = 100  # trailers included
SLICE_SIZE = 4 * 1024  # bytes that are parsed between two checks of the limits
MIN_HEAD_SIZE = len("GET  HTTP/1.1\r\n\r\n")  # bytes of a head besides target and fields
FIELD_FRAME_SIZE = len(": \r\n")
CHUNK_FRAME_SIZE = 16  # bytes around a chunk without extensions
NEVER = math.inf

HEAD_TOO_LARGE = ErrorText(
    f"A request may have {MAX_HEADER_FIELDS} header fields, with {MAX_HEAD_SIZE} bytes in all.",
    "head_too_large",
)
TARGET_TOO_LONG = HEAD_TOO_LARGE.with_text(
    f"A request's head may have at most {MAX_HEAD_SIZE} bytes."
)


class RequestLimits:
    """The limits of the request that a connection reads; the parser reports each part.

    `deadline` is the time by which the request must be complete, `NEVER` between requests.
    """

    def __init__(self, settings: HttpSettings, clock: Callable[[], float]) -> None:
        self._settings = settings
        self._clock = clock
        self.deadline = NEVER
        self.is_between_requests = True
        self.is_in_body = False
        self.exceeded: Refusal | None = None  # raised by `add_target` or `add_field`
        self._overhead = 0  # bytes received that are no body: of the head, then of chunk framing
        self._head_size = 0
        self._target_size = 0
        self._fields = 0

    def start_deadline(self) -> None:
        """Start the deadline of a request's head, unless one is running."""
        if self.deadline == NEVER:
            self.deadline = self._clock() + self._settings.head_timeout

    def extend_deadline(self) -> None:
        """Start the deadline of the body again, because the server did not read it."""
        self.deadline = self._clock() + self._settings.body_timeout

    def slice_size(self) -> int:
        """Return how many bytes may be parsed before the next check."""
        return SLICE_SIZE if self.is_in_body else min(SLICE_SIZE, MAX_HEAD_SIZE - self._overhead)

    def receive(self, size: int) -> None:
        """Count the received bytes of a request before they are parsed."""
        self._overhead += size

    def is_overhead_exceeded(self) -> bool:
        """Tell whether too many bytes were received since the head or the last chunk began."""
        return self._overhead >= MAX_HEAD_SIZE

    def begin_head(self) -> None:
        """Start to count a request's head."""
        self.is_between_requests = False
        self._head_size, self._target_size, self._fields = MIN_HEAD_SIZE, 0, 0
        self.start_deadline()

    def add_target(self, size: int) -> None:
        """Count a part of the request target; raises `Refusal`."""
        self._target_size += size
        self._head_size += size
        if self._head_size > MAX_HEAD_SIZE:
            self._raise()

    def add_field(self, name: bytes, value: bytes) -> None:
        """Count a field of the head or of the trailers; raises `Refusal`."""
        self._fields += 1
        self._head_size += len(name) + len(value) + FIELD_FRAME_SIZE
        if self._head_size > MAX_HEAD_SIZE or self._fields > MAX_HEADER_FIELDS:
            self._raise()

    def begin_body(self) -> None:
        """Start to count the body after a complete head."""
        self._overhead = 0
        self.is_in_body = True
        self.extend_deadline()

    def add_body(self, size: int) -> None:
        """Exclude a part of the body from the counted overhead."""
        self._overhead = max(0, self._overhead - size)

    def end_chunk(self) -> None:
        """Exclude the framing of a chunk from the counted overhead."""
        self._overhead = max(0, self._overhead - CHUNK_FRAME_SIZE)

    def end_request(self) -> None:
        """End the limits of a complete request."""
        self.is_between_requests, self.is_in_body = True, False
        self._overhead = 0
        self.deadline = NEVER

    def refusal(self) -> Refusal:
        """Return the refusal of a request that is too large.

        A new one each time: an exception that is raised again keeps its earlier tracebacks.
        """
        if not self.is_between_requests and 2 * self._target_size > MAX_HEAD_SIZE:
            return Refusal(HTTPStatus.REQUEST_URI_TOO_LONG, TARGET_TOO_LONG)
        return Refusal(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, HEAD_TOO_LARGE)

    def _raise(self) -> NoReturn:
        self.exceeded = self.refusal()
        raise self.exceeded
