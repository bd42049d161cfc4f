import asyncio
import contextlib
from typing import cast
from zoneinfo import ZoneInfo

import pytest

from restaurant_system.config import KitchenDisplaySettings
from restaurant_system.database.connection import Database
from restaurant_system.errors import DatabaseUnavailable, TooManyDeadLetters
from restaurant_system.models.business_day import BusinessDay
from restaurant_system.models.clock import utc_now
from restaurant_system.models.order import OrderType
from restaurant_system.services.display import stations
from restaurant_system.services.display.rail import Rail
from restaurant_system.services.display.stations import Station
from restaurant_system.shutdown import Shutdown
from restaurant_system.worker.lifecycle import KitchenWorker
from restaurant_system.worker.start_writer import StartWriter
from tests.support.logs import capture_logs


class UnavailableWorker:
    """A worker that cannot register."""

    is_consuming = False

    async def run(self, _: Shutdown) -> None:
        """Raise the error of an unavailable database."""
        raise DatabaseUnavailable("PostgreSQL has no connection free.")


class FailingWorker:
    """A worker that fails with each of some errors, and then runs until it is stopped."""

    is_consuming = True

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.runs = asyncio.Event()

    async def run(self, stop: Shutdown) -> None:
        """Raise the next error, or wait for a stop."""
        await asyncio.sleep(0)
        if self.errors:
            raise ExceptionGroup("of its tasks", [self.errors.pop(0)])
        self.runs.set()
        await stop.requested.wait()


def make_station(worker: UnavailableWorker | FailingWorker) -> Station:
    """Make a station that runs this worker."""
    return Station(
        "grill",
        tuple(OrderType),
        KitchenDisplaySettings(),
        lambda name: Rail(
            cast("Database", None),
            cast("StartWriter", None),
            station=name,
            clock=utc_now,
            business_day=BusinessDay(ZoneInfo("UTC")),
        ),
        lambda *_: cast("KitchenWorker", worker),
    )


async def test_station_is_restarted_after_unexpected_errors(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stations, "RETRY_DELAY", 0.01)
    worker = FailingWorker(KeyError("delivery_tag"), OSError("broken"))
    shutdown = Shutdown()

    with capture_logs() as logs:
        async with asyncio.timeout(5), asyncio.TaskGroup() as group:
            group.create_task(make_station(worker).run(shutdown))
            await worker.runs.wait()
            shutdown.request_stop()

    failures = [line for line in logs if line["event"] == "station_failed"]
    assert [type(line["exc_info"]) for line in failures] == [ExceptionGroup] * 2
    assert failures[0]["message"] == "Station grill failed; restarting it in 0.0 s."


@pytest.mark.parametrize("error", [TypeError("a fault"), TooManyDeadLetters(3)])
async def test_error_that_no_restart_mends_stops_a_station(error: Exception) -> None:
    async with asyncio.timeout(5):
        with pytest.raises(ExceptionGroup) as raised:
            await make_station(FailingWorker(error)).run(Shutdown())

    assert raised.group_contains(type(error))


async def test_delay_grows_while_a_station_cannot_register(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stations, "RETRY_DELAY", 0.1)
    monkeypatch.setattr(stations, "MAX_RETRY_DELAY", 0.2)
    opened = make_station(UnavailableWorker())
    shutdown = Shutdown()

    with capture_logs() as logs, contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0.45):
            await opened.run(shutdown)

    assert [line["event"] for line in logs[:3]] == ["db_connection_failed"] * 3
    assert [line["message"] for line in logs[:3]] == [
        "PostgreSQL has no connection free; retrying in 0.1 s.",
        "PostgreSQL has no connection free; retrying in 0.2 s.",
        "PostgreSQL has no connection free; retrying in 0.2 s.",
    ]
