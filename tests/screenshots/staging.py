"""An evening, staged: what has been ordered and cooked by some time after seven."""

import random
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import httpx

from tests.support.all_in_one_app import AllInOneApp

DISHES = [
    ("Margherita", 9.5, None),
    ("Margherita", 9.5, "extra basil"),
    ("Quattro formaggi", 12.9, None),
    ("Tagliatelle al ragù", 13.5, None),
    ("Risotto ai funghi", 14.0, "no parmesan"),
    ("Caesar salad", 8.9, "dressing apart"),
    ("Minestrone", 6.5, None),
    ("Tiramisù", 6.0, None),
]
GUESTS = ["Ada", "Grace", "Alan", "Katherine", "Edsger", "Barbara"]
PLACES: list[dict[str, Any]] = [
    {"order_type": "dine_in", "table_number": 4},
    {"order_type": "takeout"},
    {"order_type": "dine_in", "table_number": 12},
    {"order_type": "delivery", "delivery_address": "12 Analytical Row"},
]
SERVED = [8, 7, 7, 6, 3, 2, 2, 2, 2, 1, 1, 1, 1, 1, 1]  # hours ago
ON_THE_PASS = [9, 6, 4]  # minutes ago
COOKING = [17, 10, 7]  # likewise
WAITING = [6, 4, 3, 2, 1]

SET_BACK = """
WITH set_back AS (
    UPDATE orders
    SET created_at = created_at - $2::interval, updated_at = updated_at - $3::interval,
        completed_at = completed_at - $3::interval
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


def zone_of_the_evening() -> str:
    """Name a time zone in which it is some time after seven, whenever this runs."""
    behind = (datetime.now(UTC).hour - 19 + 14) % 24 - 14  # Etc/GMT+3 is three hours behind
    return f"Etc/GMT{behind:+d}"


class Evening:
    """Orders and cooks at a house, and sets it back in time."""

    def __init__(self, app: AllInOneApp, dsn: str) -> None:
        self._house = app
        self._dsn = dsn
        self._chance = random.Random(7)  # noqa: S311 - a stage, the same each time

    async def stage(self) -> str:
        """Have an evening behind us and around us; return an order that is being cooked."""
        for hours in SERVED:
            number = await self._cooked()
            await self._house.complete(number)
            took = timedelta(minutes=self._chance.uniform(5, 17))
            await self._set_back(number, timedelta(hours=hours), timedelta(hours=hours) - took)
        for minutes in ON_THE_PASS:
            await self._set_back(
                await self._cooked(), timedelta(minutes=minutes + 8), _min(minutes)
            )
        for minutes in COOKING:
            begun = await self._ordered()
            await self._tap(begun, "start", "received")
            await self._set_back(begun, _min(minutes), _min(minutes - 2))
        for minutes in WAITING:
            waiting = await self._ordered()
            await self._set_back(waiting, _min(minutes), _min(minutes))
        await self._tap(waiting, "rush", "received")
        return begun

    async def _cooked(self) -> str:
        number = await self._ordered()
        await self._tap(number, "start", "received")
        await self._tap(number, "bump", "cooking")
        return number

    async def _ordered(self) -> str:
        dishes = self._chance.sample(DISHES, self._chance.choice([1, 2, 2, 3]))
        return await self._house.order(
            customer_name=self._chance.choice(GUESTS),
            items=[
                {"name": name, "price": price, "notes": notes, "quantity": 1 + place % 2}
                for place, (name, price, notes) in enumerate(dishes)
            ],
            **self._chance.choice(PLACES),
        )

    async def _tap(self, number: str, action: str, expected: str) -> None:
        async with httpx.AsyncClient(base_url=self._house.address, verify=False) as client:  # noqa: S501 - no TLS
            answer = await client.post(
                f"/kitchen/stations/kitchen/tickets/{number}/{action}", json={"expected": expected}
            )
        assert answer.status_code == 200, answer.text

    async def _set_back(self, number: str, placed: timedelta, moved: timedelta) -> None:
        line = await asyncpg.connect(self._dsn)
        try:
            await line.execute(SET_BACK, number, placed, moved)
        finally:
            await line.close()


def _min(minutes: float) -> timedelta:
    return timedelta(minutes=minutes)
