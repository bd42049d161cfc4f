"""The business date of a moment, and the moment at which it starts."""

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restaurant_system.models.business_day import DAY, BusinessDay

# Zones whose clocks change at 1, 2 or 3 o'clock, at midnight, by half an hour, across midnight,
# and by a whole day.
ZONES = [
    "Europe/Rome",
    "America/New_York",
    "America/Havana",
    "America/Sao_Paulo",
    "America/St_Johns",
    "Australia/Lord_Howe",
    "Pacific/Apia",
    "Asia/Kathmandu",
]


def at(text: str, zone: str = "Europe/Rome") -> datetime:
    """Return a time by the clock on the wall; the first one, if it occurs twice."""
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone))


@pytest.mark.parametrize(
    ("start", "moment", "expected"),
    [
        ("00:00", "2024-12-16T23:59:59.999999", "2024-12-16"),
        ("00:00", "2024-12-17T00:00", "2024-12-17"),
        ("05:00", "2024-12-16T23:58", "2024-12-16"),
        ("05:00", "2024-12-17T00:02", "2024-12-16"),
        ("05:00", "2024-12-17T04:59:59.999999", "2024-12-16"),
        ("05:00", "2024-12-17T05:00", "2024-12-17"),
        # Clocks go forward, and back, in the night before.
        ("05:00", "2024-03-31T04:59:59", "2024-03-30"),
        ("05:00", "2024-03-31T05:00", "2024-03-31"),
        ("05:00", "2024-10-27T04:59:59", "2024-10-26"),
        ("05:00", "2024-10-27T05:00", "2024-10-27"),
        ("23:30", "2024-12-16T23:29", "2024-12-15"),
        ("23:30", "2024-12-16T23:30", "2024-12-16"),
    ],
)
def test_date_lasts_until_its_start_on_the_next_day(start: str, moment: str, expected: str) -> None:
    day = BusinessDay(ZoneInfo("Europe/Rome"), time.fromisoformat(start))

    assert day.date_of(at(moment).astimezone(UTC)) == date.fromisoformat(expected)


@pytest.mark.parametrize(
    ("business_date", "start", "hours"),
    [
        (date(2024, 3, 30), time(5), 23),
        (date(2024, 10, 26), time(5), 25),
        (date(2024, 3, 31), time(0), 23),
        (date(2024, 10, 27), time(0), 25),
        (date(2024, 12, 16), time(5), 24),
    ],
)
def test_date_has_23_or_25_hours_when_clocks_change(
    business_date: date, start: time, hours: int
) -> None:
    day = BusinessDay(ZoneInfo("Europe/Rome"), start)

    length = day.start_of(business_date + DAY) - day.start_of(business_date)

    assert length == timedelta(hours=hours)


def test_start_that_occurs_twice_counts_the_first_time() -> None:
    day = BusinessDay(ZoneInfo("Europe/Rome"), time(2, 30))

    assert day.start_of(date(2024, 10, 27)) == datetime(2024, 10, 27, 0, 30, tzinfo=UTC)


def test_start_that_clocks_skip_is_as_much_later_as_they_skip() -> None:
    day = BusinessDay(ZoneInfo("Europe/Rome"), time(2, 30))

    assert day.start_of(date(2024, 3, 31)) == at("2024-03-31T03:30")


@given(
    zone=st.sampled_from(ZONES),
    start=st.times().map(lambda at: at.replace(second=0, microsecond=0)),
    moment=st.datetimes(datetime(2005, 1, 1), datetime(2025, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001 - the strategy adds the zone
)
def test_every_moment_lies_between_the_start_of_its_date_and_of_the_next(
    zone: str, start: time, moment: datetime
) -> None:
    day = BusinessDay(ZoneInfo(zone), start)

    found = day.date_of(moment)

    assert day.start_of(found) <= moment < day.start_of(found + DAY)


@pytest.mark.parametrize(
    ("zone", "start", "moment", "expected"),
    [
        # Clocks went from 00:01 back to 23:01 of the day before, which had already ended.
        ("America/St_Johns", "00:00", "2010-11-07T03:00", "2010-11-07"),
        # 30 December 2011 did not exist.
        ("Pacific/Apia", "05:00", "2011-12-30T13:00", "2011-12-29"),
        ("Pacific/Apia", "00:00", "2011-12-30T10:00", "2011-12-31"),
    ],
)
def test_date_of_a_moment_when_clocks_cross_midnight(
    zone: str, start: str, moment: str, expected: str
) -> None:
    day = BusinessDay(ZoneInfo(zone), time.fromisoformat(start))

    assert day.date_of(at(moment, "UTC")) == date.fromisoformat(expected)
