import asyncio
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import cast

from restaurant_system.models.clock import utc_now
from restaurant_system.services.tracking.dashboard import Dashboard, Depths, QueueDepthCache
from restaurant_system.services.tracking.service import TrackingService
from restaurant_system.services.tracking.statistics import with_empty_hours
from restaurant_system.services.tracking.usual_day import UsualDays
from restaurant_system.shutdown import Shutdown
from tests.support.services import UTC_DAYS

SEVEN = datetime(2024, 12, 16, 19, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)


class Broker:
    """A fake broker, which returns queue depths once `answers` is set."""

    def __init__(self) -> None:
        self.requests = 0
        self.answers = asyncio.Event()
        self.cancelled = asyncio.Event()

    async def depths(self) -> Depths | None:
        """Return the number of calls so far as the depth of one queue."""
        self.requests += 1
        try:
            await self.answers.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return {"kitchen_queue": self.requests}


async def test_hanging_broker_delays_no_poll_and_gets_one_request() -> None:
    broker = Broker()
    cache = QueueDepthCache(broker.depths)

    async with asyncio.timeout(1.5):
        depths = [await cache.latest() for _ in range(3)]

    assert depths == [None, None, None]
    assert broker.requests == 1
    cache.close()


async def test_dashboard_cancels_its_request_to_the_broker_when_it_stops() -> None:
    broker, shutdown = Broker(), Shutdown()
    service = cast("TrackingService", SimpleNamespace(queue_depths=broker.depths))
    usual_days = cast("UsualDays", None)  # a poll reads them
    dashboard = Dashboard(service, usual_days, clock=utc_now, business_day=UTC_DAYS)
    await dashboard._depths.latest()  # noqa: SLF001 - a poll needs a database
    shutdown.request_stop()

    async with asyncio.timeout(5):
        await dashboard.run(shutdown)
        await broker.cancelled.wait()


async def test_queue_depths_are_read_anew_at_each_poll() -> None:
    broker = Broker()
    broker.answers.set()
    cache = QueueDepthCache(broker.depths)

    assert [await cache.latest() for _ in range(2)] == [{"kitchen_queue": 1}, {"kitchen_queue": 2}]


def test_hours_without_orders_are_filled_in_up_to_now() -> None:
    per_hour = {SEVEN: 3, SEVEN + 2 * HOUR: 1}

    assert with_empty_hours(per_hour, SEVEN + 4 * HOUR) == {
        SEVEN: 3,
        SEVEN + HOUR: 0,
        SEVEN + 2 * HOUR: 1,
        SEVEN + 3 * HOUR: 0,
        SEVEN + 4 * HOUR: 0,
    }
    assert with_empty_hours({}, SEVEN) == {}
