"""Forecast when waiting orders will be ready, once for all look-ups of a moment."""

import asyncio
import contextvars
import time
from collections.abc import Iterable

from restaurant_system.database import kitchen_queries, workers
from restaurant_system.database.connection import Connection
from restaurant_system.database.preparation_times import LearnedTimes
from restaurant_system.database.reader import Reader
from restaurant_system.models.business_day import BusinessDay
from restaurant_system.models.clock import Clock
from restaurant_system.models.forecast import CookOnDuty, Forecast
from restaurant_system.models.order import OrderType
from restaurant_system.models.timing import PreparationTimes
from restaurant_system.models.worker import Worker

# A forecast is used for this many times as long as it took to make. So it is never older than some
# tens of milliseconds with few waiting orders, and costs one part in so many of the time with many.
REUSE_FACTOR = 20
# Afterwards it is used for up to this share of that time longer, while the next one is made.
REVALIDATION_SHARE = 0.25
ORDERS_AT_ONCE = 2_000  # that are simulated before other tasks run


class QueueForecast:
    """Makes forecasts from the database, while they are requested."""

    def __init__(
        self,
        database: Reader,
        *,
        clock: Clock,
        business_day: BusinessDay,
        times: LearnedTimes,
    ) -> None:
        self._database = database
        self._clock = clock
        self._business_day = business_day
        self._times = times
        self._latest: Forecast | None = None
        self._renewed_from = 0.0
        self._usable_until = 0.0
        self._making: asyncio.Task[Forecast] | None = None

    def current(self) -> Forecast | None:
        """Return the last forecast while it may be used; start to make the next one in time."""
        now = time.monotonic()
        if now >= self._usable_until:
            return None
        if now >= self._renewed_from:
            self._start_making()
        return self._latest

    async def latest(self) -> Forecast:
        """Return the current forecast or a new one; raises `DatabaseUnavailable`."""
        if (current := self.current()) is not None:
            return current
        return await asyncio.shield(self._start_making())

    def _start_making(self) -> "asyncio.Task[Forecast]":
        """Make the next forecast in the background, unless one is being made."""
        if self._making is None:
            # An empty context: the forecast is not part of the request that needs it first.
            self._making = asyncio.create_task(self._make_next(), context=contextvars.Context())
            self._making.add_done_callback(self._remove_made)
        return self._making

    def _remove_made(self, made: "asyncio.Task[Forecast]") -> None:
        self._making = None
        if not made.cancelled():
            made.exception()  # raised to those who wait; else the next look-up tries again

    async def _make_next(self) -> Forecast:
        started = time.monotonic()
        self._latest = await self._make()
        ended = time.monotonic()
        reused_for = REUSE_FACTOR * (ended - started)
        self._renewed_from = ended + reused_for
        self._usable_until = self._renewed_from + REVALIDATION_SHARE * reused_for
        return self._latest

    async def _make(self) -> Forecast:
        times, now = await self._times.latest(), self._clock()
        since = self._business_day.start_of(self._business_day.date_of(now))

        async def read(connection: Connection) -> Forecast:
            online = await workers.list_online(connection)
            cooking = await kitchen_queries.cooking(connection, [each.name for each in online])
            return Forecast(
                now=now.timestamp(),
                released_since=since,
                cooks=_cooks_on_duty(online, cooking, times, now.timestamp()),
                waiting=await kitchen_queries.waiting(connection, since),
                preparation=times.by_type,
            )

        forecast = await self._database.read(read)
        while forecast.advance(ORDERS_AT_ONCE):  # noqa: ASYNC110 - it waits for nothing
            await asyncio.sleep(0)
        return forecast


def _cooks_on_duty(
    online: Iterable[Worker],
    cooking: Iterable[kitchen_queries.Row],
    times: PreparationTimes,
    now: float,
) -> list[CookOnDuty]:
    ready_at: dict[str, list[float]] = {}
    for order in cooking:
        ready_at.setdefault(order["processed_by"], []).append(completion_of(order, times, now))
    return [
        CookOnDuty(frozenset(each.order_types), tuple(ready_at.get(each.name, ())), each.capacity)
        for each in online
    ]


def completion_of(cooking: kitchen_queries.Row, times: PreparationTimes, now: float) -> float:
    """Estimate when an order that is cooking will be ready.

    That is when its cook expected it at the start or, if it takes longer, when orders that take so
    long are ready. Times are in seconds since the epoch.
    """
    due = cooking["estimated_completion"]
    due_at: float = now if due is None else due.timestamp()
    if due_at >= now:
        return due_at
    started_at: float = cooking["updated_at"].timestamp()
    return now + times.remaining(OrderType(cooking["type"]), now - started_at)
