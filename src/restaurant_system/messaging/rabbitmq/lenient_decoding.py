"""Reads the properties of whatever strangers publish.

pamqp takes a property that is not as it should be for a broken line, and aiormq hangs up. The
message would come again on the next line, and on the next: one message would close the kitchen.
Here such a property is read as well as can be, and the message is put aside like any other.
"""

import struct
from datetime import datetime

from pamqp import decode
from pamqp.common import FieldTable

LENGTH = struct.Struct(">I")


def install() -> None:
    """Have pamqp read like this from now on, in the whole process."""
    decode.METHODS.update(shortstr=_short_string, timestamp=_timestamp, table=_table)
    decode.TABLE_MAPPING[b"T"] = _timestamp


def _short_string(value: bytes) -> tuple[int, str]:
    """Leave out what is no UTF-8; the string does not grow, so that it can also be sent on."""
    end = 1 + value[0]
    return end, value[1:end].decode(errors="ignore")


def _timestamp(value: bytes) -> tuple[int, datetime | None]:
    """Take a time that no calendar has for none."""
    try:
        return decode.timestamp(value)
    except (ValueError, OverflowError, OSError):
        return 8, None


def _table(value: bytes) -> tuple[int, FieldTable]:
    """Take headers that cannot be read, or are nested too deeply, for none."""
    try:
        return decode.field_table(value)
    except (ValueError, RecursionError):
        return LENGTH.size + LENGTH.unpack_from(value)[0], {}
