"""Midnight under load, with clocks that differ, on days on which clocks are set."""

import asyncio
import itertools
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from restaurant_system.database.connection import Database
from restaurant_system.services.tracking.handler import TrackingHandler
from tests.support.orders import make_order
from tests.support.services import FakeClock, http_client, make_order_service, make_tracking_service

ZONE = "Europe/Berlin"
SECOND = timedelta(seconds=1)
MIDNIGHTS = {
    "an ordinary night": date(2024, 12, 17),
    "into the day with 23 hours": date(2024, 3, 31),
    "out of it": date(2024, 4, 1),
    "into the day with 25 hours": date(2024, 10, 27),
    "out of that": date(2024, 10, 28),
}


def midnight(day: date, zone: str = ZONE) -> datetime:
    """Return the moment at which a day begins there."""
    return datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(zone)).astimezone(UTC)


class Rounds:
    """A clock that goes on a little each time that somebody looks at it, ahead of others or not."""

    def __init__(self, ticks: "itertools.count[int]", start: datetime, ahead: timedelta) -> None:
        self._ticks = ticks
        self._start = start
        self._ahead = ahead
        self.shown: list[datetime] = []

    def __call__(self) -> datetime:
        """Tell the time."""
        now = self._start + next(self._ticks) * timedelta(milliseconds=50) + self._ahead
        self.shown.append(now)
        return now


@pytest.mark.parametrize("day", MIDNIGHTS.values(), ids=MIDNIGHTS)
async def test_midnight_under_load(database: Database, day: date) -> None:
    """Each order is of the date of its transaction's moment, and each date's numbers have no gap.

    Three services whose clocks differ by a second take orders while it becomes midnight.
    """
    ticks = itertools.count()
    clocks = [Rounds(ticks, midnight(day) - 3 * SECOND, ahead * SECOND) for ahead in (-1, 0, 1)]
    services = [make_order_service(database, clock=clock, timezone=ZONE) for clock in clocks]

    placed = []
    for _ in range(20):
        placed += await asyncio.gather(
            *(
                services[place % 3].place(make_order(), request_id="request-1", key=None)
                for place in range(6)
            )
        )

    moments = {moment for clock in clocks for moment in clock.shown}
    rows = await moments_and_numbers(database)
    assert {moment for moment, _ in rows} <= moments
    assert sorted(number for _, number in rows) == sorted(each.order_number for each in placed)
    by_date = defaultdict(list)
    for moment, number in rows:
        by_date[moment.astimezone(ZoneInfo(ZONE)).date()].append(number)
    assert set(by_date) == {day - timedelta(days=1), day}
    for its_date, numbers in by_date.items():
        assert sorted(numbers) == numbered(its_date, len(numbers))
        assert await orders_in_stats(database, midnight(its_date)) == len(numbers)


async def test_a_key_across_midnight(database: Database) -> None:
    """Asked again after midnight, also by many at once, the first number is the answer."""
    watch = FakeClock(midnight(date(2024, 3, 31)) - SECOND)
    service = make_order_service(database, clock=watch, timezone=ZONE)
    first = await service.place(make_order(), request_id="request-1", key="key-1")
    watch.now += 2 * SECOND

    again = await asyncio.gather(
        *(service.place(make_order(), request_id="request-2", key="key-1") for _ in range(10))
    )

    assert first.order_number == "ORD_20240330_001"
    assert {(each.order_number, each.replayed) for each in again} == {("ORD_20240330_001", True)}
    new = await service.place(make_order(), request_id="request-3", key=None)
    assert new.order_number == "ORD_20240331_001"


@pytest.mark.parametrize(
    ("day", "hours"), [(date(2024, 3, 31), 23), (date(2024, 10, 27), 25), (date(2024, 12, 17), 24)]
)
async def test_the_hours_of_a_day(database: Database, day: date, hours: int) -> None:
    """A day has as many hours as it lasts: the one that comes twice in autumn is told as two."""
    watch = FakeClock()
    service = make_order_service(database, clock=watch, timezone=ZONE)
    every_hour = [midnight(day) + timedelta(hours=hour) for hour in range(hours)]
    for hour in every_hour:
        watch.now = hour + timedelta(minutes=59)
        await service.place(make_order(), request_id="request-1", key=None)

    stats = await stats_at(database, midnight(day))

    assert stats["business_date"] == day.isoformat()
    assert stats["per_hour"] == [
        {"hour": f"{hour:%Y-%m-%dT%H:%M:%S}.000Z", "orders": 1} for hour in every_hour
    ]


def numbered(day: date, count: int) -> Sequence[str]:
    """Return the first so many numbers of a day."""
    return [f"ORD_{day:%Y%m%d}_{place:03d}" for place in range(1, count + 1)]


async def moments_and_numbers(database: Database) -> list[tuple[datetime, str]]:
    """Return when each order came, and its number."""
    async with database.connection() as connection:
        rows = await connection.fetch("SELECT created_at, number FROM orders")
    return [(row["created_at"], row["number"]) for row in rows]


async def orders_in_stats(database: Database, moment: datetime) -> int:
    """Return how many orders the figures of a moment's day count, by each of three ways."""
    stats = await stats_at(database, moment)
    counts = {
        sum(stats["by_status"].values()),
        sum(stats["by_type"].values()),
        sum(hour["orders"] for hour in stats["per_hour"]),
    }
    assert len(counts) == 1
    return int(counts.pop())


async def stats_at(database: Database, moment: datetime) -> dict[str, Any]:
    """Ask for the figures at a moment."""
    service = make_tracking_service(database, clock=FakeClock(moment), timezone=ZONE)
    async with http_client(TrackingHandler(service).feature()) as client:
        stats: dict[str, Any] = (await client.get("/stats")).json()
    return stats
