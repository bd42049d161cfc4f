"""Look up the current status of orders; concurrent look-ups share a query.

The estimates of waiting and of overdue orders need a forecast, which may need further queries.
Look-ups of other orders do not wait for it.
"""

import asyncio
import math
from asyncio import Future
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from restaurant_system.batching import Batcher
from restaurant_system.config import KitchenSettings
from restaurant_system.database import tracking_queries
from restaurant_system.database.preparation_times import LearnedTimes
from restaurant_system.database.reader import Reader
from restaurant_system.database.tracking_queries import Row
from restaurant_system.errors import DatabaseUnavailable, OrderNotFound
from restaurant_system.metrics import definitions as metrics
from restaurant_system.models.business_day import BusinessDay
from restaurant_system.models.clock import Clock
from restaurant_system.models.forecast import Forecast
from restaurant_system.models.order import OrderType
from restaurant_system.models.status import OrderStatus
from restaurant_system.services.tracking.queue_forecast import QueueForecast, completion_of
from restaurant_system.services.tracking.seen_versions import SeenVersions

MAX_BATCH_SIZE = 256  # look-ups that share a query
CONCURRENT_QUERIES = 2  # one is executed while the result of the other is processed
# A dict is twenty times as fast as calling the enumeration.
STATUSES = {status.value: status for status in OrderStatus}
ORDER_TYPES = {kind.value: kind for kind in OrderType}


class OrderProgress(NamedTuple):
    """The current status of an order and its estimated completion; times are in UTC.

    `scheduled_for` is when a scheduled order is to be ready, until it is released.
    `is_learned` tells whether the estimate of a waiting order rests on recent orders of its type.
    """

    order_number: str
    current_status: OrderStatus
    updated_at: datetime
    estimated_completion: datetime | None
    processed_by: str | None
    scheduled_for: datetime | None = None
    is_learned: bool = True


class StatusLookup:
    """Looks up orders in batches; a look-up never joins a query that has already started.

    A replica may lack an order, or have an older version of it than was read before (`seen`), which
    is then read from the primary: the status of an order does not go back.
    """

    def __init__(
        self,
        database: Reader,
        *,
        clock: Clock,
        business_day: BusinessDay,
        kitchen: KitchenSettings,
    ) -> None:
        self._database = database
        self._clock = clock
        self.seen = SeenVersions(database.staleness)
        self._times = LearnedTimes(database, kitchen)
        self._forecast = QueueForecast(
            database, clock=clock, business_day=business_day, times=self._times
        )
        self._lookups = Batcher(
            self._look_up, max_batch_size=MAX_BATCH_SIZE, concurrency=CONCURRENT_QUERIES
        )
        self._estimates = Batcher(self._estimate, max_batch_size=MAX_BATCH_SIZE)

    def find(self, number: str) -> "Future[OrderProgress]":
        """Return the progress of an order, read after this call; raises `OrderNotFound`."""
        return self._lookups.submit(number)

    async def _look_up(
        self, numbers: Sequence[str]
    ) -> "list[OrderProgress | Future[OrderProgress]]":
        metrics.lookup_batch_size.observe(len(numbers))
        unavailable: DatabaseUnavailable | None = None
        with metrics.lookup_batch_duration_seconds.time():
            rows = await self._database.read(lambda it: tracking_queries.statuses(it, numbers))
            if self._database.staleness:
                unavailable = await self._complete(numbers, rows)
        now = self._clock()
        return [
            _failed(unavailable or OrderNotFound(number))
            if (row := rows.get(number)) is None
            else self._progress_of(row, now)
            for number in numbers
        ]

    async def _complete(
        self, numbers: Sequence[str], rows: dict[str, Row]
    ) -> DatabaseUnavailable | None:
        """Read from the primary the orders that a replica lacks, or has in an older version.

        Returns why that was not possible; older versions are left out then.
        """
        lacking = [
            number
            for number in numbers
            if (row := rows.get(number)) is None or self.seen.has_newer(number, row["updated_at"])
        ]
        unavailable: DatabaseUnavailable | None = None
        if lacking:
            try:
                rows |= await self._database.primary.read(
                    lambda it: tracking_queries.statuses(it, lacking)
                )
            except DatabaseUnavailable as error:
                unavailable = error
                for number in lacking:
                    rows.pop(number, None)
        for number, row in rows.items():
            self.seen.add(number, row["updated_at"])
        return unavailable

    def _progress_of(self, row: Row, now: datetime) -> "OrderProgress | Future[OrderProgress]":
        match row["status"]:
            case OrderStatus.RECEIVED if (forecast := self._forecast.current()) is not None:
                return self._waiting(row, forecast, now)
            case OrderStatus.RECEIVED:
                return self._estimates.submit(row)
            case OrderStatus.COOKING:
                due = row["estimated_completion"]
                is_overdue = due is None or due < now
                return self._estimates.submit(row) if is_overdue else _progress(row, due)
            case _:
                return _progress(row, None)

    async def _estimate(self, rows: Sequence[Row]) -> list[OrderProgress]:
        """Estimate when orders will be ready that wait, or cook for longer than was expected."""
        forecast = await self._forecast.latest()
        times, now = self._times.known, self._clock()
        return [
            _progress(row, _moment(completion_of(row, times, now.timestamp())))
            if row["status"] == OrderStatus.COOKING
            else self._waiting(row, forecast, now)
            for row in rows
        ]

    def _waiting(self, row: Row, forecast: Forecast, now: datetime) -> OrderProgress:
        is_learned = self._times.known.is_learned(ORDER_TYPES[row["type"]])
        return _progress(row, _waiting_completion(row, forecast, now), is_learned=is_learned)


def _waiting_completion(row: Row, forecast: Forecast, now: datetime) -> datetime | None:
    """Estimate when a waiting order will be ready.

    Returns `None` while no cook on duty prepares its type, and for an order of an earlier business
    date, which is not cooked unless a person decides so. A scheduled order is not ready too soon.
    """
    rank, released_at = row["rank_at"], row["released_at"]
    if rank is None or (released_at is not None and released_at < forecast.released_since):
        return None
    ready_at = forecast.ready_at(ORDER_TYPES[row["type"]], _seconds(rank), row["id"])
    if ready_at is None:
        return None
    estimate = max(_moment(ready_at), now)
    return estimate if released_at is not None else max(estimate, row["ready_at"])


def is_complete(steps: Sequence[Row], progress: OrderProgress) -> bool:
    """Return whether the last of an order's steps is its current status."""
    return bool(steps) and steps[-1]["status"] == progress.current_status


def _seconds(rank: datetime) -> float:
    """Return a rank as in the forecast: that of a rushed order is minus infinity."""
    return -math.inf if rank.year == 1 else rank.timestamp()


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _failed(error: Exception) -> "Future[OrderProgress]":
    future: Future[OrderProgress] = asyncio.get_running_loop().create_future()
    future.set_exception(error)
    return future


def _progress(row: Row, estimate: datetime | None, *, is_learned: bool = True) -> OrderProgress:
    return OrderProgress(
        row["number"],
        STATUSES[row["status"]],
        row["updated_at"],
        estimate,
        row["processed_by"],
        row["ready_at"] if row["released_at"] is None else None,
        is_learned,
    )
