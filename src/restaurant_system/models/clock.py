"""Time, handed in wherever it matters, so that midnight can come at noon in a test."""

from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """Return the time now, in UTC."""
    return datetime.now(UTC)


def rfc_3339(moment: datetime) -> str:
    """Write a moment as the contract has it: RFC 3339, in UTC with a `Z`, to the millisecond."""
    utc_offset = len("+00:00")
    return moment.astimezone(UTC).isoformat(timespec="milliseconds")[:-utc_offset] + "Z"
