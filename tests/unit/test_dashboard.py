import asyncio
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import cast

from restaurant_system.models.clock import utc_now
from restaurant_system.services.tracking.dashboard import Dashboard, Depths, LatestDepths
from restaurant_system.services.tracking.figures import without_gaps
from restaurant_system.services.tracking.service import TrackingService
from restaurant_system.shutdown import Shutdown

SEVEN = datetime(2024, 12, 16, 19, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)


class Broker:
    """Tells its depths, as soon as it answers."""

    def __init__(self) -> None:
        self.asked = 0
        self.answers = asyncio.Event()
        self.left_alone = asyncio.Event()

    async def depths(self) -> Depths | None:
        """Wait until it answers."""
        self.asked += 1
        try:
            await self.answers.wait()
        except asyncio.CancelledError:
            self.left_alone.set()
            raise
        return {"kitchen_queue": self.asked}


async def test_a_broker_that_hangs() -> None:
    """Nobody who looks waits for a broker that hangs, nor is it asked again meanwhile."""
    broker = Broker()
    latest = LatestDepths(broker.depths)

    async with asyncio.timeout(1.5):
        looks = [await latest.lately() for _ in range(3)]

    assert looks == [None, None, None]
    assert broker.asked == 1
    latest.close()


async def test_a_broker_that_hangs_when_the_restaurant_closes() -> None:
    """A dashboard that stops does not leave a question behind."""
    broker, shutdown = Broker(), Shutdown()
    service = cast("TrackingService", SimpleNamespace(queue_depths=broker.depths))
    dashboard = Dashboard(service, clock=utc_now)
    await dashboard._depths.lately()  # noqa: SLF001 - a look of its own takes a whole evening
    shutdown.request_stop()

    async with asyncio.timeout(5):
        await dashboard.run(shutdown)
        await broker.left_alone.wait()


async def test_a_broker_that_answers() -> None:
    """What a broker says is known at once, and each look asks anew."""
    broker = Broker()
    broker.answers.set()
    latest = LatestDepths(broker.depths)

    assert [await latest.lately() for _ in range(2)] == [{"kitchen_queue": 1}, {"kitchen_queue": 2}]


def test_hours_without_gaps() -> None:
    """Hours in which nothing came are there too, from the first that is known up to now."""
    known = {SEVEN: 3, SEVEN + 2 * HOUR: 1}

    assert without_gaps(known, SEVEN + 4 * HOUR) == {
        SEVEN: 3,
        SEVEN + HOUR: 0,
        SEVEN + 2 * HOUR: 1,
        SEVEN + 3 * HOUR: 0,
        SEVEN + 4 * HOUR: 0,
    }
    assert without_gaps({}, SEVEN) == {}
