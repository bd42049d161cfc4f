"""Read header fields of a request as bytes, as the server receives them."""

import itertools
import uuid
from collections.abc import Iterable, Sequence

from restaurant_system.models.text import is_request_id

REQUEST_ID = b"x-request-id"
CONTENT_LENGTH = b"content-length"
TRANSFER_ENCODING = b"transfer-encoding"
CONTENT_TYPE = b"content-type"
IDEMPOTENCY_KEY = b"idempotency-key"
ACCEPT = b"accept"
AUTHORIZATION = b"authorization"
COOKIE = b"cookie"
CONNECTION = b"connection"
EVENT_STREAM = b"text/event-stream"
CONNECTION_CLOSE = (CONNECTION, b"close")

MAX_BODY_SIZE = 256 * 1024  # bytes
MAX_PLATFORM_BODY_SIZE = 1024 * 1024  # bytes of a message of an ordering platform; see below
MAX_LENGTH_DIGITS = 9  # of a Content-Length; a body that needs more is too large in any case
PLATFORM_PATHS = "/integrations/"

Headers = Sequence[tuple[bytes, bytes]]


def first_value(name: bytes, headers: Iterable[tuple[bytes, bytes]]) -> bytes | None:
    """Return the value of the first header field with a name, in lower case; `None` without one."""
    for each, value in headers:
        if each == name:
            return value
    return None


def all_values(name: bytes, headers: Iterable[tuple[bytes, bytes]]) -> list[bytes]:
    """Return the values of all header fields with a name, in lower case."""
    return [value for each, value in headers if each == name]


def prefers_html(accept: bytes | None) -> bool:
    """Tell whether an Accept header field weighs HTML above JSON, as a browser that shows a page.

    What accepts anything, such as a script or a command, is a program.
    """
    weights = dict(_weighted(each) for each in (accept or b"").lower().split(b","))
    json = (weights.get(each, 0.0) for each in (b"application/json", b"application/problem+json"))
    return weights.get(b"text/html", 0.0) > max(json)


def _weighted(media_range: bytes) -> tuple[bytes, float]:
    """Return a media type and its weight (RFC 9110, 12.4.2); an invalid weight counts as 0."""
    media_type, *parameters = (each.strip() for each in media_range.split(b";"))
    for each in parameters:
        if each.startswith(b"q="):
            try:
                return media_type, float(each[2:])
            except ValueError:
                return media_type, 0.0
    return media_type, 1.0


def declares_body(headers: Headers) -> bool:
    """Tell whether the header fields say that a body follows."""
    return first_value(TRANSFER_ENCODING, headers) is not None or (
        first_value(CONTENT_LENGTH, headers) not in {None, b"0"}
    )


def max_body_size(path: str) -> int:
    """Return how many bytes the body of a request to a path may have.

    Ordering platforms send all that they know of an order: Toast announces more than 600 KB.
    """
    is_from_platform = path.startswith(PLATFORM_PATHS)
    return MAX_PLATFORM_BODY_SIZE if is_from_platform else MAX_BODY_SIZE


def declares_oversized_body(headers: Headers, limit: int = MAX_BODY_SIZE) -> bool:
    """Tell whether the Content-Length is above the limit, or invalid."""
    length = first_value(CONTENT_LENGTH, headers)
    if length is None:
        return False
    return not length.isdigit() or len(length) > MAX_LENGTH_DIGITS or int(length) > limit


def is_event_stream(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Tell whether the response that these header fields begin is an event stream."""
    return (first_value(CONTENT_TYPE, headers) or b"").startswith(EVENT_STREAM)


def offers_upgrade(headers: Headers) -> bool:
    """Tell whether the client offers another protocol; then the parser reads no body."""
    return any(b"upgrade" in value.lower() for value in all_values(CONNECTION, headers))


# A request id must be unique, not secret. So its last digits are a counter: a random id for each
# request would take as long as parsing its request line.
_COUNTED_DIGITS = 12
_prefix = str(uuid.uuid4())[:-_COUNTED_DIGITS]
_counter = itertools.count(1)


def client_request_id(headers: Headers) -> str | None:
    """Return the request id that the client has sent; `None` without a valid one."""
    value = first_value(REQUEST_ID, headers)
    if value is None:
        return None
    request_id = value.decode("latin-1")
    return request_id if is_request_id(request_id) else None


def request_id_in(headers: Headers) -> str:
    """Return the client's request id if it is valid, else a new one."""
    return client_request_id(headers) or new_request_id()


def new_request_id() -> str:
    """Return a request id in the form of a UUID (RFC 9562), unique among all processes."""
    return f"{_prefix}{next(_counter):0{_COUNTED_DIGITS}x}"
