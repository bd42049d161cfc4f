"""Decode malformed message properties of third-party publishers instead of raising.

With pamqp 4, a property that is not UTF-8, a timestamp out of range or a deeply nested header
raises an error, on which aiormq closes the connection. The message would be redelivered on the next
connection, and close that one too. `tests/integration/test_poison.py` fails without this module.
"""

import struct
from datetime import datetime

from pamqp import decode
from pamqp.common import FieldTable

LENGTH = struct.Struct(">I")


def install() -> None:
    """Replace the decoders of pamqp in this process."""
    decode.METHODS.update(shortstr=_short_string, timestamp=_timestamp, table=_table)
    decode.TABLE_MAPPING[b"T"] = _timestamp


def _short_string(value: bytes) -> tuple[int, str]:
    """Drop bytes that are not UTF-8; the string does not grow, so it can be published again."""
    end = 1 + value[0]
    return end, value[1:end].decode(errors="ignore")


def _timestamp(value: bytes) -> tuple[int, datetime | None]:
    """Return `None` for a timestamp out of range."""
    try:
        return decode.timestamp(value)
    except (ValueError, OverflowError, OSError):
        return 8, None


def _table(value: bytes) -> tuple[int, FieldTable]:
    """Return an empty table for headers that are malformed or nested too deeply."""
    try:
        return decode.field_table(value)
    except (ValueError, RecursionError):
        return LENGTH.size + LENGTH.unpack_from(value)[0], {}
