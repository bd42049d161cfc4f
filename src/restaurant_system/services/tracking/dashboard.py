"""The dashboard as a live view: statistics of the business date, queues, outbox and workers.

Its entries:

    orders        [{hour, orders}]: from the first order's hour on, empty hours included
    now           {waiting: {type: n}, cooking: {type: n}} of all days; {ready: n} of the day
    late          {orders, late, share, by_type: {type: {orders, late, share}}}
    preparation   {type: {p50, p90, p99}}: seconds from received to ready
    queues        {queue: n}; null while the broker is unreachable
    dead_letters  n; likewise
    outbox        {size, oldest_seconds}
    workers       [{name, order_types, status, is_silent, orders_processed, last_seen}]
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence

from pydantic import BaseModel, JsonValue
from starlette.requests import Request
from starlette.responses import Response

from restaurant_system.database.outbox import Backlog
from restaurant_system.messaging import topology
from restaurant_system.models.access import Capability
from restaurant_system.models.clock import Clock
from restaurant_system.models.order import OrderType
from restaurant_system.models.status import OrderStatus
from restaurant_system.models.timing import Lateness
from restaurant_system.models.worker import Worker, WorkerStatus
from restaurant_system.services.tracking.handler import HourResponse, Timestamp
from restaurant_system.services.tracking.service import PERCENTILES, TrackingService
from restaurant_system.services.tracking.statistics import DayStatistics, with_empty_hours
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
BROKER_TIMEOUT = 0.3  # s that a poll waits for the broker

Depths = Mapping[str, int]


class Dashboard:
    """Polls every 2 s while a page is open; sends nothing while the database is unreachable."""

    def __init__(self, service: TrackingService, *, clock: Clock) -> None:
        self._service = service
        self._clock = clock
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
        day = await self._service.day_statistics()
        open_orders = await self._service.open_orders()
        return {
            **_day_entries(day),
            "orders": [
                HourResponse(hour=hour, orders=orders).model_dump(mode="json")
                for hour, orders in with_empty_hours(day.per_hour, self._clock()).items()
            ],
            "now": {
                "waiting": _by_type(open_orders[OrderStatus.RECEIVED]),
                "cooking": _by_type(open_orders[OrderStatus.COOKING]),
                "ready": day.by_status[OrderStatus.READY],
            },
            "workers": [_worker(each) for each in await self._service.workers()],
            "outbox": _outbox(await self._service.backlog()),
            **_queues(await self._depths.latest()),
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


def _by_type(counts: Mapping[OrderType, int]) -> JsonValue:
    return {str(kind): orders for kind, orders in counts.items()}


def _day_entries(day: DayStatistics) -> dict[str, JsonValue]:
    by_type: JsonValue = {kind: _late(lateness) for kind, lateness in day.lateness.items()}
    overall = sum(day.lateness.values(), Lateness())
    return {
        "late": {**_late(overall), "by_type": by_type},
        "preparation": {
            kind: dict(zip(PERCENTILES, seconds, strict=True))
            for kind, seconds in day.preparation_seconds.items()
        },
    }


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


def _worker(worker: Worker) -> JsonValue:
    return WorkerEntry.model_validate(worker, from_attributes=True).model_dump(mode="json")
