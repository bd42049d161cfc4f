"""What a request's headers say: in bytes, as they come and go, for they are on every one's way."""

import random
import re
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


def request_id_in(headers: Headers) -> str:
    """Return the caller's id if it sent a sane one, else a new one."""
    stated = first(ID, headers)
    return stated.decode() if stated and SANE.fullmatch(stated) else _new_id()


def _new_id() -> str:
    """Return a UUID (RFC 9562, version 4).

    It is to be found again, not to be secret, so the kernel need not be asked for it.
    """
    digits = f"{random.getrandbits(128):032x}"
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:]}"
