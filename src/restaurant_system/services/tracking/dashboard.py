"""The dashboard as a live view: statistics of the business date, queues, outbox and workers.

Its entries:

    warnings      as in GET /stats
    orders        [{hour, orders}]: from the first order's hour on, empty hours included
    today         {orders, amount}: placed so far, the amount without cancelled orders
    usual         {dates, orders, amount, per_hour: [{hour, orders}]}: the mean of the last four
                  dates of the same weekday, up to the current time of day and by hours of today;
                  null if none of them had orders
    now           {waiting: {type: n}, cooking: {type: n}} of all days, without scheduled and held
                  orders, {waiting_since: {type: time}} of the oldest; {ready: n} to be handed over,
                  as the page of orders has them
    late          {orders, late, share, by_type: {type: {orders, late, share}}}: of the due orders
    uncollected   {count, since}; null without any, or if orders are not handed over on screens
    sold_out      n: items of the menu
    preparation   {type: {p50, p90, p99}}: seconds from received to ready
    queues        {queue: n}; null while the broker is unreachable
    dead_letters  n; likewise
    outbox        {size, oldest_seconds}
    scheduled     {count, soonest: [{order_number, order_type, ready_at, table_number, table,
                  amount_due}]}
    workers       [{name, order_types, status, is_silent, orders_processed, last_seen}]
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import date
from decimal import Decimal

from pydantic import BaseModel, JsonValue
from starlette.requests import Request
from starlette.responses import Response

from restaurant_system.database.outbox import Backlog
from restaurant_system.messaging import topology
from restaurant_system.models.access import Capability
from restaurant_system.models.business_day import BusinessDay
from restaurant_system.models.clock import Clock, optional_rfc_3339, rfc_3339
from restaurant_system.models.currency import MOST_DECIMALS
from restaurant_system.models.kitchen_warning import OrderGroup
from restaurant_system.models.money import json_number
from restaurant_system.models.order import OrderType
from restaurant_system.models.timing import Lateness
from restaurant_system.models.worker import Worker, WorkerStatus
from restaurant_system.services.tracking.handler import HourResponse, Timestamp, WarningResponse
from restaurant_system.services.tracking.service import (
    PERCENTILES,
    ScheduledOrders,
    TrackingService,
)
from restaurant_system.services.tracking.statistics import DayStatistics, with_empty_hours
from restaurant_system.services.tracking.usual_day import UsualDays, minute_of
from restaurant_system.shutdown import Shutdown
from restaurant_system.web.api import Feature
from restaurant_system.web.event_stream import (
    Entries,
    EventStreamResponse,
    FeedPoller,
    last_event_id,
)
from restaurant_system.web.guarded_router import GuardedRouter

PATH = "/live/dashboard"
VIEW = "dashboard"
POLL_INTERVAL = 2.0  # s
MAX_SCHEDULED = 20  # scheduled orders that are listed
SMALLEST_AMOUNT = Decimal(1).scaleb(-MOST_DECIMALS)  # of any currency
BROKER_TIMEOUT = 0.3  # s that a poll waits for the broker

Depths = Mapping[str, int]


class Dashboard:
    """Polls every 2 s while a page is open; sends nothing while the database is unreachable."""

    def __init__(
        self,
        service: TrackingService,
        usual_days: UsualDays,
        *,
        clock: Clock,
        business_day: BusinessDay,
    ) -> None:
        self._service = service
        self._usual_days = usual_days
        self._clock = clock
        self._business_day = business_day
        self._depths = QueueDepthCache(service.queue_depths)
        self._source = FeedPoller(self._poll, interval=POLL_INTERVAL)

    async def run(self, shutdown: Shutdown) -> None:
        """Poll until a stop is requested, then end all event streams."""
        try:
            await self._source.run(shutdown)
        finally:
            self._depths.close()

    def feature(self) -> Feature:
        """Return the route of the dashboard's event stream, which OpenAPI does not document."""
        router = GuardedRouter(include_in_schema=False)
        router.add_api_route(PATH, self.watch, methods=["GET"], requires=Capability.READ_ORDERS)
        return Feature(router)

    async def watch(self, request: Request) -> Response:
        """Stream the dashboard as server-sent events."""
        return EventStreamResponse(self._source.watch(VIEW, last_event_id(request)))

    async def _poll(self, keys: Sequence[str]) -> Mapping[str, Entries]:
        entries = await self._entries()
        return dict.fromkeys(keys, entries)

    async def _entries(self) -> Entries:
        day, depths = await self._service.day_statistics(), await self._depths.latest()
        state = await self._service.kitchen_state()
        return {
            "warnings": [
                WarningResponse.model_validate(each).model_dump(mode="json")
                for each in self._service.warnings(state, depths)
            ],
            **_day_entries(day),
            "usual": await self._usual(day.business_date),
            "orders": [
                HourResponse(hour=hour, orders=orders).model_dump(mode="json")
                for hour, orders in with_empty_hours(day.per_hour, self._clock()).items()
            ],
            "now": {
                "waiting": _by_type(state.orders.waiting),
                "waiting_since": _since(state.orders.waiting),
                "cooking": _by_type(state.orders.cooking),
                "ready": day.ready,
            },
            "workers": [_worker(each) for each in await self._service.workers()],
            "sold_out": await self._service.sold_out_count(),
            "outbox": _outbox(await self._service.backlog()),
            "scheduled": _scheduled(await self._service.scheduled_orders(MAX_SCHEDULED)),
            **_queues(depths),
        }

    async def _usual(self, business_date: date) -> JsonValue:
        usual, rule = await self._usual_days.read(business_date), self._business_day
        if usual is None:
            return None
        so_far = usual.until(minute_of(self._clock(), business_date, rule))
        return {
            "dates": [each.isoformat() for each in usual.dates],
            "orders": round(so_far.orders, 1),
            "amount": json_number(so_far.amount.quantize(SMALLEST_AMOUNT)),
            "per_hour": [
                {"hour": rfc_3339(hour), "orders": round(orders, 1)}
                for hour, orders in usual.per_hour(business_date, rule).items()
            ],
        }


class QueueDepthCache:
    """Caches the queue depths of the broker's last response.

    A slow broker is queried in the background, so that a poll waits `BROKER_TIMEOUT` at most.
    """

    def __init__(self, fetch: Callable[[], Awaitable[Depths | None]]) -> None:
        self._fetch = fetch
        self._known: Depths | None = None
        self._fetching: asyncio.Task[None] | None = None

    async def latest(self) -> Depths | None:
        """Return the queue depths; `None` until the broker answers."""
        if self._fetching is None or self._fetching.done():
            self._fetching = asyncio.create_task(self._update())
        done, _ = await asyncio.wait([self._fetching], timeout=BROKER_TIMEOUT)
        for fetched in done:
            fetched.result()
        return self._known

    def close(self) -> None:
        """Cancel the pending request for queue depths to the broker."""
        if self._fetching is not None:
            self._fetching.cancel()

    async def _update(self) -> None:
        self._known = await self._fetch()


class WorkerEntry(BaseModel):
    """A worker, its order types, and whether its heartbeats have stopped."""

    name: str
    order_types: tuple[OrderType, ...]
    status: WorkerStatus
    is_silent: bool
    orders_processed: int
    last_seen: Timestamp


def _by_type(orders: Mapping[OrderType, OrderGroup]) -> JsonValue:
    return {str(kind): orders[kind].count if kind in orders else 0 for kind in OrderType}


def _day_entries(day: DayStatistics) -> dict[str, JsonValue]:
    by_type: JsonValue = {kind: _late(lateness) for kind, lateness in day.lateness.items()}
    overall = sum(day.lateness.values(), Lateness())
    return {
        "late": {**_late(overall), "by_type": by_type},
        "today": {"orders": sum(day.by_type.values()), "amount": json_number(day.amount)},
        "uncollected": None if day.uncollected is None else _group(day.uncollected),
        "preparation": {
            kind: dict(zip(PERCENTILES, seconds, strict=True))
            for kind, seconds in day.preparation_seconds.items()
        },
    }


def _since(orders: Mapping[OrderType, OrderGroup]) -> JsonValue:
    return {str(kind): rfc_3339(group.since) for kind, group in orders.items()}


def _group(orders: OrderGroup) -> JsonValue:
    return {"count": orders.count, "since": rfc_3339(orders.since)}


def _late(lateness: Lateness) -> dict[str, JsonValue]:
    return {"orders": lateness.orders, "late": lateness.late, "share": lateness.share}


def _queues(depths: Depths | None) -> dict[str, JsonValue]:
    """Return the depths of the kitchen's queues and, separately, the number of dead letters."""
    if depths is None:
        return {"queues": None, "dead_letters": None}
    dead = topology.DEAD_LETTERS.name
    return {
        "queues": {queue: depth for queue, depth in depths.items() if queue != dead},
        "dead_letters": depths[dead],
    }


def _outbox(backlog: Backlog) -> dict[str, JsonValue]:
    return {"size": backlog.size, "oldest_seconds": int(backlog.oldest_seconds)}


def _scheduled(orders: ScheduledOrders) -> dict[str, JsonValue]:
    soonest: JsonValue = [
        {
            "order_number": order.number,
            "order_type": order.order_type.value,
            "ready_at": optional_rfc_3339(order.ready_at),
            "table_number": order.table_number,
            "table": order.table_label,
            "amount_due": None if order.amount_due is None else json_number(order.amount_due),
        }
        for order in orders.soonest
    ]
    return {"count": orders.count, "soonest": soonest}


def _worker(worker: Worker) -> JsonValue:
    return WorkerEntry.model_validate(worker, from_attributes=True).model_dump(mode="json")
