"""The dashboard: a business date in figures, and what to worry about, live.

Its entries, by topic:

    orders        [{hour, orders}]: of the day, from the hour of its first order on, without gaps
    now           {waiting: {type: n}, cooking: {type: n}} of whatever day; {ready: n} of the day
    late          {orders, late, share, by_type: {type: {orders, late, share}}}: models/lateness.py
    preparation   {type: {p50, p90, p99}}: seconds from received to ready
    queues        {queue: n}; null with the broker away
    dead_letters  n; likewise
    outbox        {size, oldest_seconds}
    workers       [{name, order_types, status, is_silent, orders_processed, last_seen}]
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence

from fastapi import APIRouter
from pydantic import BaseModel, JsonValue
from starlette.requests import Request
from starlette.responses import Response

from restaurant_system.database.outbox import Backlog
from restaurant_system.messaging import topology
from restaurant_system.models.clock import Clock
from restaurant_system.models.order import OrderType
from restaurant_system.models.status import OrderStatus
from restaurant_system.models.timing import Lateness
from restaurant_system.models.worker import Worker, WorkerStatus
from restaurant_system.services.tracking.figures import Figures, without_gaps
from restaurant_system.services.tracking.handler import HourAnswer, Timestamp
from restaurant_system.services.tracking.service import PERCENTILES, TrackingService
from restaurant_system.shutdown import Shutdown
from restaurant_system.web.api import Feature
from restaurant_system.web.live import Entries, Source, last_seen, streamed

ADDRESS = "/live/dashboard"
VIEW = "dashboard"
EVERY = 2.0  # s between two looks
BROKER_PATIENCE = 0.3  # s that a look waits for the broker

Depths = Mapping[str, int]


class Dashboard:
    """Looks every 2 s while somebody watches; while the database is away, it shows nothing new."""

    def __init__(self, service: TrackingService, *, clock: Clock) -> None:
        self._service = service
        self._clock = clock
        self._depths = LatestDepths(service.queue_depths)
        self._source = Source(self._look, every=EVERY)

    async def run(self, shutdown: Shutdown) -> None:
        """Look until asked to stop; then the watchers are sent away."""
        try:
            await self._source.run(shutdown)
        finally:
            self._depths.close()

    def feature(self) -> Feature:
        """Return the route; what our own page watches is nobody else's interface."""
        router = APIRouter(include_in_schema=False)
        router.add_api_route(ADDRESS, self.watch, methods=["GET"])
        return Feature(router)

    async def watch(self, request: Request) -> Response:
        """Send how the evening goes."""
        return streamed(self._source.watch(VIEW, last_seen(request)))

    async def _look(self, watched: Sequence[str]) -> Mapping[str, Entries]:
        entries = await self._entries()
        return dict.fromkeys(watched, entries)

    async def _entries(self) -> Entries:
        figures = await self._service.figures()
        open_orders = await self._service.open_orders()
        return {
            **_of_the_day(figures),
            "orders": [
                HourAnswer(hour=hour, orders=orders).model_dump(mode="json")
                for hour, orders in without_gaps(figures.per_hour, self._clock()).items()
            ],
            "now": {
                "waiting": _by_type(open_orders[OrderStatus.RECEIVED]),
                "cooking": _by_type(open_orders[OrderStatus.COOKING]),
                "ready": figures.by_status[OrderStatus.READY],
            },
            "workers": [_worker(each) for each in await self._service.workers()],
            "outbox": _outbox(await self._service.backlog()),
            **_queues(await self._depths.lately()),
        }


class LatestDepths:
    """What waits in the queues, as it was when the broker last said so.

    A broker that is slow, or hangs, is waited for in between; nobody who asks waits long for it.
    """

    def __init__(self, ask: Callable[[], Awaitable[Depths | None]]) -> None:
        self._ask = ask
        self._known: Depths | None = None
        self._asking: asyncio.Task[None] | None = None

    async def lately(self) -> Depths | None:
        """Return the depths; `None` when the broker is away, or has not answered yet."""
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._learn())
        done, _ = await asyncio.wait([self._asking], timeout=BROKER_PATIENCE)
        for asked in done:
            asked.result()
        return self._known

    def close(self) -> None:
        """Stop waiting."""
        if self._asking is not None:
            self._asking.cancel()

    async def _learn(self) -> None:
        self._known = await self._ask()


class WorkerEntry(BaseModel):
    """A cook, with what it cooks and whether it has fallen silent."""

    name: str
    order_types: tuple[OrderType, ...]
    status: WorkerStatus
    is_silent: bool
    orders_processed: int
    last_seen: Timestamp


def _by_type(counts: Mapping[OrderType, int]) -> JsonValue:
    return {str(kind): orders for kind, orders in counts.items()}


def _of_the_day(figures: Figures) -> dict[str, JsonValue]:
    by_type: JsonValue = {kind: _late(lateness) for kind, lateness in figures.lateness.items()}
    overall = sum(figures.lateness.values(), Lateness())
    return {
        "late": {**_late(overall), "by_type": by_type},
        "preparation": {
            kind: dict(zip(PERCENTILES, seconds, strict=True))
            for kind, seconds in figures.preparation_seconds.items()
        },
    }


def _late(lateness: Lateness) -> dict[str, JsonValue]:
    return {"orders": lateness.orders, "late": lateness.late, "share": lateness.share}


def _queues(depths: Depths | None) -> dict[str, JsonValue]:
    """Tell what waits for a cook, and apart from it what waits for a person."""
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
