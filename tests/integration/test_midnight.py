"""Business dates around their start, under load and when clocks change."""

import asyncio
import itertools
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from restaurant_system.database.connection import Database
from restaurant_system.services.tracking.handler import TrackingHandler
from tests.support.orders import make_order
from tests.support.services import FakeClock, http_client, make_order_service, make_tracking_service

ZONE = "Europe/Berlin"
SECOND = timedelta(seconds=1)
MIDNIGHT = time(0)
FIVE = time(5)
MIDNIGHTS = {
    "ordinary day": date(2024, 12, 17),
    "begin of the day with 23 hours": date(2024, 3, 31),
    "end of the day with 23 hours": date(2024, 4, 1),
    "begin of the day with 25 hours": date(2024, 10, 27),
    "end of the day with 25 hours": date(2024, 10, 28),
}


def midnight(day: date, zone: str = ZONE) -> datetime:
    """Return the time at which a day begins in a time zone."""
    return datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(zone)).astimezone(UTC)


class TickingClock:
    """A clock that advances with each call and may be ahead of the others."""

    def __init__(self, ticks: "itertools.count[int]", start: datetime, ahead: timedelta) -> None:
        self._ticks = ticks
        self._start = start
        self._ahead = ahead
        self.shown: list[datetime] = []

    def __call__(self) -> datetime:
        """Return the time, and record it."""
        now = self._start + next(self._ticks) * timedelta(milliseconds=50) + self._ahead
        self.shown.append(now)
        return now


@pytest.mark.parametrize("day", MIDNIGHTS.values(), ids=MIDNIGHTS)
async def test_orders_around_midnight_have_the_date_and_number_of_their_transaction(
    database: Database, day: date
) -> None:
    """Three services whose clocks differ by a second store orders."""
    ticks = itertools.count()
    clocks = [
        TickingClock(ticks, midnight(day) - 3 * SECOND, ahead * SECOND) for ahead in (-1, 0, 1)
    ]
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
    rows = await times_and_numbers(database)
    assert {moment for moment, _ in rows} <= moments
    assert sorted(number for _, number in rows) == sorted(each.order_number for each in placed)
    by_date = defaultdict(list)
    for moment, number in rows:
        by_date[moment.astimezone(ZoneInfo(ZONE)).date()].append(number)
    assert set(by_date) == {day - timedelta(days=1), day}
    for its_date, numbers in by_date.items():
        assert sorted(numbers) == first_numbers(its_date, len(numbers))
        assert await orders_in_stats(database, midnight(its_date)) == len(numbers)


async def test_key_replayed_after_midnight_returns_the_number_of_the_day_before(
    database: Database,
) -> None:
    clock = FakeClock(midnight(date(2024, 3, 31)) - SECOND)
    service = make_order_service(database, clock=clock, timezone=ZONE)
    first = await service.place(make_order(), request_id="request-1", key="key-1")
    clock.now += 2 * SECOND

    again = await asyncio.gather(
        *(service.place(make_order(), request_id="request-2", key="key-1") for _ in range(10))
    )

    assert first.order_number == "ORD_20240330_001"
    assert {(each.order_number, each.replayed) for each in again} == {("ORD_20240330_001", True)}
    new = await service.place(make_order(), request_id="request-3", key=None)
    assert new.order_number == "ORD_20240331_001"


@pytest.mark.parametrize(
    ("day", "day_start", "hours"),
    [
        (date(2024, 3, 31), MIDNIGHT, 23),
        (date(2024, 10, 27), MIDNIGHT, 25),
        (date(2024, 12, 17), MIDNIGHT, 24),
        # The clocks change in the night that belongs to the date before.
        (date(2024, 3, 30), FIVE, 23),
        (date(2024, 10, 26), FIVE, 25),
    ],
)
async def test_statistics_have_as_many_hours_as_the_day(
    database: Database, day: date, day_start: time, hours: int
) -> None:
    """A day of 25 hours has the repeated hour twice in its statistics."""
    clock = FakeClock()
    service = make_order_service(database, clock=clock, timezone=ZONE, day_start=day_start)
    begin = datetime.combine(day, day_start, tzinfo=ZoneInfo(ZONE)).astimezone(UTC)
    every_hour = [begin + timedelta(hours=hour) for hour in range(hours)]
    for hour in every_hour:
        clock.now = hour + timedelta(minutes=59)
        await service.place(make_order(), request_id="request-1", key=None)

    stats = await stats_at(database, begin, day_start=day_start)

    assert stats["business_date"] == day.isoformat()
    assert stats["by_type"]["takeout"] == hours
    assert await last_number(database) == f"ORD_{day:%Y%m%d}_{hours:03d}"
    assert stats["per_hour"] == [
        {"hour": f"{hour:%Y-%m-%dT%H:%M:%S}.000Z", "orders": 1} for hour in every_hour
    ]


async def test_night_beyond_midnight_is_one_business_date(database: Database) -> None:
    """A bar in Rome that is open until 4."""
    rome = ZoneInfo("Europe/Rome")
    clock = FakeClock(datetime(2024, 12, 16, 23, 58, tzinfo=rome))
    service = make_order_service(database, clock=clock, timezone=rome.key, day_start=FIVE)
    await service.place(make_order(), request_id="request-1", key=None)
    clock.now = datetime(2024, 12, 17, 0, 2, tzinfo=rome)
    second = await service.place(make_order(), request_id="request-2", key=None)
    clock.now = datetime(2024, 12, 17, 5, 0, tzinfo=rome)
    next_day = await service.place(make_order(), request_id="request-3", key=None)

    closing = datetime(2024, 12, 17, 4, 59, 59, tzinfo=rome)
    stats = await stats_at(database, closing, zone=rome.key, day_start=FIVE)

    assert second.order_number == "ORD_20241216_002"
    assert next_day.order_number == "ORD_20241217_001"
    assert stats["business_date"] == "2024-12-16"
    assert stats["by_status"]["received"] == 2


def first_numbers(day: date, count: int) -> Sequence[str]:
    """Return the first `count` order numbers of a day."""
    return [f"ORD_{day:%Y%m%d}_{place:03d}" for place in range(1, count + 1)]


async def times_and_numbers(database: Database) -> list[tuple[datetime, str]]:
    """Return the creation time and the number of each order."""
    async with database.connection() as connection:
        rows = await connection.fetch("SELECT created_at, number FROM orders")
    return [(row["created_at"], row["number"]) for row in rows]


async def orders_in_stats(database: Database, moment: datetime) -> int:
    """Return the number of orders in the statistics of a day, which all three counts agree on."""
    stats = await stats_at(database, moment)
    counts = {
        sum(stats["by_status"].values()),
        sum(stats["by_type"].values()),
        sum(hour["orders"] for hour in stats["per_hour"]),
    }
    assert len(counts) == 1
    return int(counts.pop())


async def last_number(database: Database) -> str:
    """Return the number of the last order."""
    async with database.connection() as connection:
        found = await connection.fetchval("SELECT number FROM orders ORDER BY id DESC LIMIT 1")
    return str(found)


async def stats_at(
    database: Database, moment: datetime, *, zone: str = ZONE, day_start: time = MIDNIGHT
) -> dict[str, Any]:
    """Return the statistics at a time."""
    clock = FakeClock(moment)
    service = make_tracking_service(database, clock=clock, timezone=zone, day_start=day_start)
    async with http_client(TrackingHandler(service).feature()) as client:
        stats: dict[str, Any] = (await client.get("/stats")).json()
    return stats
