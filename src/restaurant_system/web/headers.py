"""What a request's headers say: in bytes, as they come and go, for they are on every one's way."""

import itertools
import uuid
from collections.abc import Iterable, Sequence

from restaurant_system.models.text import is_request_id

ID = b"x-request-id"
LENGTH = b"content-length"
CODING = b"transfer-encoding"
TYPE = b"content-type"
KEY = b"idempotency-key"
CONNECTION = b"connection"
CONNECTION_CLOSE = (CONNECTION, b"close")

MAX_BODY_SIZE = 64 * 1024  # bytes
LONGEST_NUMBER = 9  # digits; a body that needs more to be counted is too large in any case

Headers = Sequence[tuple[bytes, bytes]]


def first(name: bytes, headers: Iterable[tuple[bytes, bytes]]) -> bytes | None:
    """Return what a header says, `None` without it; names are written in small letters."""
    for each, value in headers:
        if each == name:
            return value
    return None


def every(name: bytes, headers: Iterable[tuple[bytes, bytes]]) -> list[bytes]:
    """Return all that a header says, as often as it stands there."""
    return [value for each, value in headers if each == name]


def declares_oversized_body(headers: Headers) -> bool:
    """Whether a body is announced that is larger than `MAX_BODY_SIZE`, or without a sane length."""
    length = first(LENGTH, headers)
    if length is None:
        return False
    return not length.isdigit() or len(length) > LONGEST_NUMBER or int(length) > MAX_BODY_SIZE


def offers_upgrade(headers: Headers) -> bool:
    """Whether another protocol is offered: what follows the head is not read as a body then."""
    return any(b"upgrade" in value.lower() for value in every(CONNECTION, headers))


# A request is to be found again by its id, not to be secret. So the digits at the end are counted:
# to draw them for each would cost as much as to read its address.
_COUNTED = 12
_drawn = str(uuid.uuid4())[:-_COUNTED]
_count = itertools.count(1)


def request_id_in(headers: Headers) -> str:
    """Return the caller's id if it sent a sane one, else a new one."""
    stated = (first(ID, headers) or b"").decode("latin-1")
    return stated if is_request_id(stated) else new_request_id()


def new_request_id() -> str:
    """Return an id that looks like a UUID (RFC 9562), and that no other process of ours gives."""
    return f"{_drawn}{next(_count):0{_COUNTED}x}"
