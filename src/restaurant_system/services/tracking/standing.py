"""Where orders stand, asked by many at once: those who ask together share a query.

An order that waits is asked about once more, for its estimate; whoever asks about another need not
wait for that.
"""

import asyncio
from asyncio import Future
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from restaurant_system.batching import Batcher
from restaurant_system.config import KitchenSettings
from restaurant_system.database import tracking_queries, workers
from restaurant_system.database.connection import Database
from restaurant_system.database.tracking_queries import QueuePosition, Row
from restaurant_system.errors import OrderNotFound
from restaurant_system.models.clock import Clock
from restaurant_system.models.order import OrderType
from restaurant_system.models.status import OrderStatus
from restaurant_system.models.timing import completion_of_waiting, crew_for

AT_ONCE = 256  # look-ups that share a query
QUERIES = 2  # at a time: while the database is at one, we read what came of the other
# By what the database has; to ask the enumeration takes twenty times as long, for each look-up.
STATUSES = {status.value: status for status in OrderStatus}


class Standing(NamedTuple):
    """Where an order stands, and when it is expected to be ready."""

    order_number: str
    current_status: OrderStatus
    updated_at: datetime
    estimated_completion: datetime | None
    processed_by: str | None


class Standings:
    """Looks orders up; each query begins after the last of those who share it has asked."""

    def __init__(self, database: Database, *, clock: Clock, kitchen: KitchenSettings) -> None:
        self._database = database
        self._clock = clock
        self._durations = {kind: kitchen.cooking_time(kind) for kind in OrderType}
        self._lookups = Batcher(self._look_up, max_batch_size=AT_ONCE, concurrency=QUERIES)
        self._estimates = Batcher(self._estimate, max_batch_size=AT_ONCE)

    def of(self, number: str) -> "Future[Standing]":
        """Return where an order stands, not before now; raises `OrderNotFound`."""
        return self._lookups.submit(number)

    async def _look_up(self, numbers: Sequence[str]) -> "list[Standing | Future[Standing]]":
        async with self._database.connection() as connection:
            rows = await tracking_queries.statuses(connection, numbers)
        return [self._found(number, rows.get(number)) for number in numbers]

    def _found(self, number: str, row: Row | None) -> "Standing | Future[Standing]":
        if row is None:
            return _failed(OrderNotFound(number))
        match row["status"]:
            case OrderStatus.RECEIVED:
                return self._estimates.submit(row)
            case OrderStatus.COOKING:
                return _standing(row, row["estimated_completion"])
            case _:
                return _standing(row, None)

    async def _estimate(self, waiting: Sequence[Row]) -> list[Standing]:
        """Estimate when waiting orders are ready, from orders before them and cooks online."""
        places = [QueuePosition(row["priority"], row["id"]) for row in waiting]
        async with self._database.connection() as connection:
            cooks = await workers.list_online(connection)
            due = await tracking_queries.cooking_until(
                connection, [worker.name for worker in cooks]
            )
            all_ahead = await tracking_queries.waiting_ahead(connection, places)
        now = self._clock()
        types = {row["type"]: OrderType(row["type"]) for row in waiting}
        crews = {name: crew_for(kind, cooks, due, now) for name, kind in types.items()}
        ready = (
            completion_of_waiting(
                now=now,
                own=self._durations[types[row["type"]]],
                ahead=ahead,
                durations=self._durations,
                crew=crews[row["type"]],
            )
            for row, ahead in zip(waiting, all_ahead, strict=True)
        )
        return list(map(_standing, waiting, ready))


def _failed(error: Exception) -> "Future[Standing]":
    future: Future[Standing] = asyncio.get_running_loop().create_future()
    future.set_exception(error)
    return future


def _standing(row: Row, estimate: datetime | None) -> Standing:
    return Standing(
        row["number"],
        STATUSES[row["status"]],
        row["updated_at"],
        estimate,
        row["processed_by"],
    )
