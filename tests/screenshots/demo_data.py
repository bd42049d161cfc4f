"""Create the orders of a day until shortly after 7 p.m., for screenshots."""

import itertools
import random
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import httpx

from restaurant_system.database import tracking_queries
from restaurant_system.models.tracking_link import tracking_path
from tests.support.all_in_one_app import AllInOneApp

NO_ONIONS = {"name": "onions", "kind": "remove"}
DISHES: list[dict[str, Any]] = [
    {"name": "Margherita", "price": 9.5},
    {"name": "Margherita", "price": 9.5, "modifiers": [{"name": "Extra cheese", "price": 1.5}]},
    {"name": "Quattro formaggi", "price": 12.9},
    {"name": "Tagliatelle al ragù", "price": 13.5, "notes": "no parmesan"},
    {"name": "Ribeye", "price": 24.0, "modifiers": [{"name": "Medium", "kind": "choice"}]},
    {"name": "Caesar salad", "price": 8.9, "modifiers": [NO_ONIONS]},
    {"name": "Minestrone", "price": 6.5},
    {"name": "Tiramisù", "price": 6.0},
]
CUSTOMERS = ["Ada", "Grace", "Alan", "Katherine", "Edsger", "Barbara"]
TYPE_FIELDS: list[dict[str, Any]] = [
    {"order_type": "dine_in", "table_number": 4},
    {"order_type": "takeout"},
    {"order_type": "dine_in", "table": "Terrace 3", "allergy_note": "peanuts"},
    {"order_type": "delivery", "handoff": "courier"},
]
COMPLETED_HOURS_AGO = [8, 7, 7, 6, 3, 2, 2, 2, 2, 1, 1, 1, 1, 1, 1]  # hours ago
READY_MINUTES_AGO = [9, 6, 4]  # minutes ago
COOKING_MINUTES_AGO = [22, 10, 7]  # likewise
WAITING_MINUTES_AGO = [6, 4, 3, 2, 1]

MOVE_INTO_THE_PAST = """
WITH set_back AS (
    UPDATE orders
    SET created_at = created_at - $2::interval, updated_at = updated_at - $3::interval,
        completed_at = completed_at - $3::interval, released_at = released_at - $2::interval,
        promised_at = promised_at - $2::interval
    WHERE number = $1 RETURNING id
), bumped AS (
    UPDATE station_tickets SET bumped_at = bumped_at - $3::interval
    FROM set_back WHERE order_id = set_back.id
)
UPDATE order_status_log
SET changed_at = changed_at
    - CASE order_status_log.status WHEN 'received' THEN $2::interval ELSE $3::interval END
FROM set_back WHERE order_id = set_back.id
"""
# Most orders of today in each of the last three weeks, too, and as many some time later.
ADD_PAST_WEEKS = """
INSERT INTO orders (number, business_date, customer_name, type, total_amount, priority, created_at)
SELECT format('ORD_%s_%s%s', to_char(day, 'YYYYMMDD'), later, right(number, 3)), day, 'Ada',
       'takeout', round(total_amount * (0.8 + week * 0.1), 2), 1,
       created_at + later * interval '75 min' - week * interval '7 days'
FROM orders CROSS JOIN generate_series(1, 3) AS week CROSS JOIN generate_series(0, 1) AS later
CROSS JOIN LATERAL (SELECT business_date - 7 * week) AS past (day)
WHERE (id + week + later) % 3 > 0;
UPDATE orders SET status = 'cooking', processed_by = 'kitchen'
WHERE business_date < (SELECT max(business_date) FROM orders);
UPDATE orders SET status = 'ready', completed_at = created_at + interval '9 min'
WHERE business_date < (SELECT max(business_date) FROM orders);
UPDATE orders SET status = 'completed'
WHERE business_date < (SELECT max(business_date) FROM orders)
"""


def time_zone_at_seven_pm() -> str:
    """Return a time zone in which it is between 7 and 8 p.m. now."""
    behind = (datetime.now(UTC).hour - 19 + 14) % 24 - 14  # Etc/GMT+3 is three hours behind
    return f"Etc/GMT{behind:+d}"


class DemoData:
    """Places and cooks orders, and moves their times into the past."""

    def __init__(self, app: AllInOneApp, dsn: str) -> None:
        self._app = app
        self._dsn = dsn
        self._rng = random.Random(7)  # noqa: S311 - the same data each time
        self._types = itertools.cycle(TYPE_FIELDS)

    async def create(self) -> str:
        """Create all orders; return the number of one that is being cooked."""
        for hours in COMPLETED_HOURS_AGO:
            number = await self._cooked()
            await self._app.complete(number)
            took = timedelta(minutes=self._rng.uniform(5, 17))
            await self._move_into_the_past(
                number, timedelta(hours=hours), timedelta(hours=hours) - took
            )
        for minutes in READY_MINUTES_AGO:
            await self._move_into_the_past(
                await self._cooked(), timedelta(minutes=minutes + 8), _min(minutes)
            )
        for minutes in COOKING_MINUTES_AGO:
            begun = await self._ordered()
            await self._tap(begun, "start", "received")
            await self._move_into_the_past(begun, _min(minutes), _min(minutes - 2))
        for minutes in WAITING_MINUTES_AGO:
            waiting = await self._ordered()
            await self._move_into_the_past(waiting, _min(minutes), _min(minutes))
        await self._tap(waiting, "rush", "received")
        await self._execute(ADD_PAST_WEEKS)
        return begun

    async def _cooked(self) -> str:
        number = await self._ordered()
        await self._tap(number, "start", "received")
        await self._tap(number, "bump", "cooking")
        return number

    async def _ordered(self) -> str:
        dishes = self._rng.sample(DISHES, self._rng.choice([1, 2, 2, 3]))
        fields = next(self._types)
        if "handoff" in fields:  # of a platform
            fields = {**fields, "reference": f"84H{self._rng.randint(10, 99)}"}
        return await self._app.order(
            customer_name=self._rng.choice(CUSTOMERS),
            items=[{**dish, "quantity": 1 + place % 2} for place, dish in enumerate(dishes)],
            **fields,
        )

    async def _tap(self, number: str, action: str, expected: str) -> None:
        async with httpx.AsyncClient(base_url=self._app.address, verify=False) as client:  # noqa: S501 - no TLS
            answer = await client.post(
                f"/kitchen/stations/kitchen/tickets/{number}/{action}", json={"expected": expected}
            )
        assert answer.status_code == 200, answer.text

    async def link_to(self, number: str) -> str:
        """Return the tracking link of an order."""
        connection = await asyncpg.connect(self._dsn)
        try:
            token = await connection.fetchval(tracking_queries.TRACKING_LINK, number)
        finally:
            await connection.close()
        return tracking_path(number, token)

    async def _move_into_the_past(self, number: str, placed: timedelta, moved: timedelta) -> None:
        await self._execute(MOVE_INTO_THE_PAST, number, placed, moved)

    async def _execute(self, statement: str, *values: object) -> None:
        connection = await asyncpg.connect(self._dsn)
        try:
            await connection.execute(statement, *values)
        finally:
            await connection.close()


def _min(minutes: float) -> timedelta:
    return timedelta(minutes=minutes)
