import asyncio
import contextlib
from typing import cast

import pytest
from structlog.testing import capture_logs

from restaurant_system.config import KitchenDisplaySettings, KitchenSettings
from restaurant_system.database.connection import Database
from restaurant_system.errors import DatabaseUnavailable
from restaurant_system.models.clock import utc_now
from restaurant_system.models.order import OrderType
from restaurant_system.services.display import stations
from restaurant_system.services.display.rail import Rail
from restaurant_system.services.display.stations import Station
from restaurant_system.shutdown import Shutdown
from restaurant_system.worker.lifecycle import KitchenWorker


class UnavailableWorker:
    """A worker that cannot register."""

    is_consuming = False

    async def run(self, _: Shutdown) -> None:
        """Raise the error of an unavailable database."""
        raise DatabaseUnavailable("PostgreSQL has no connection free.")


async def test_delay_grows_while_a_station_cannot_register(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stations, "RETRY_DELAY", 0.1)
    monkeypatch.setattr(stations, "MAX_RETRY_DELAY", 0.2)
    opened = Station(
        "grill",
        tuple(OrderType),
        KitchenDisplaySettings(),
        lambda name: Rail(
            cast("Database", None), station=name, kitchen=KitchenSettings(), clock=utc_now
        ),
        lambda *_: cast("KitchenWorker", UnavailableWorker()),
    )
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
