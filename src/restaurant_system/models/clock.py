"""The current time, passed as a parameter so that tests can choose it, and its format."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

Clock = Callable[[], datetime]

RFC_3339 = re.compile(
    r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII
)


def utc_now() -> datetime:
    """Return the current time in UTC."""
    return datetime.now(UTC)


EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def round_up_to_minute(moment: datetime) -> datetime:
    """Round up, so that the estimate of a waiting order does not change at every poll."""
    return moment + (EPOCH - moment) % timedelta(minutes=1)


def optional_rfc_3339(moment: datetime | None) -> str | None:
    """Format a time as `rfc_3339`, if there is one."""
    return None if moment is None else rfc_3339(moment)


def rfc_3339(moment: datetime) -> str:
    """Format a time by RFC 3339, in UTC with a `Z`, cut off after the millisecond.

    Formatted by hand because it is part of every response: `isoformat` takes twice as long.
    """
    utc = moment.astimezone(UTC)
    return "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ" % (  # noqa: UP031 - an f-string takes twice as long
        utc.year,
        utc.month,
        utc.day,
        utc.hour,
        utc.minute,
        utc.second,
        utc.microsecond // 1000,
    )


def parse_rfc_3339(text: str) -> datetime | None:
    """Return the time, in UTC, that a text gives by RFC 3339; `None` for any other text.

    ISO 8601 has more forms, such as dates by the week, which most programs do not know.
    """
    if not RFC_3339.fullmatch(text):
        return None
    try:
        return datetime.fromisoformat(text.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
