"""What a request's headers say: in bytes, as they come and go, for they are on every one's way."""

import itertools
import re
import uuid
from collections.abc import Iterable, Sequence

ID = b"x-request-id"
LENGTH = b"content-length"
CODING = b"transfer-encoding"
TYPE = b"content-type"
GOODBYE = (b"connection", b"close")

SANE = re.compile(rb"[A-Za-z0-9._:@/+=-]{1,128}")

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


# A request is to be found again by its id, not to be secret. So the digits at the end are counted:
# to draw them for each would cost as much as to read its address.
_COUNTED = 12
_drawn = str(uuid.uuid4())[:-_COUNTED]
_count = itertools.count(1)


def request_id_in(headers: Headers) -> str:
    """Return the caller's id if it sent a sane one, else a new one."""
    stated = first(ID, headers)
    return stated.decode() if stated and SANE.fullmatch(stated) else new_request_id()


def new_request_id() -> str:
    """Return an id that looks like a UUID (RFC 9562), and that no other process of ours gives."""
    return f"{_drawn}{next(_count):0{_COUNTED}x}"
