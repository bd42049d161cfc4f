"""Fixtures of the integration tests: a clock, services that use it, and a kitchen."""

from collections.abc import AsyncIterator

import httpx
import pytest

from restaurant_system.config import OutboxSettings
from restaurant_system.database import preparation_times
from restaurant_system.database.connection import Database
from restaurant_system.messaging.broker import Broker
from restaurant_system.messaging.relay import Relay
from restaurant_system.messaging.retry_policy import RetryPolicy
from restaurant_system.models.clock import utc_now
from restaurant_system.models.order import OrderType
from restaurant_system.services.order.service import OrderService
from restaurant_system.services.tracking import queue_forecast
from restaurant_system.services.tracking.handler import TrackingHandler
from tests.support.database import execute
from tests.support.display import Display, Screen, running_display
from tests.support.kitchen import Kitchen
from tests.support.rows import insert_worker
from tests.support.services import FakeClock, http_client, make_order_service, make_tracking_service


@pytest.fixture
def clock() -> FakeClock:
    """Return a clock that is set to noon."""
    return FakeClock()


@pytest.fixture
def intake(database: Database, clock: FakeClock) -> OrderService:
    """Return an order service without a running relay: its messages stay in the outbox."""
    return make_order_service(database, clock=clock)


@pytest.fixture
async def tracking(database: Database, clock: FakeClock) -> AsyncIterator[httpx.AsyncClient]:
    """Return an HTTP client of the tracking service."""
    service = make_tracking_service(database, clock=clock)
    async with http_client(TrackingHandler(service).feature()) as client:
        yield client


@pytest.fixture
async def kitchen(
    database: Database, broker: Broker, policy: RetryPolicy
) -> AsyncIterator[Kitchen]:
    """Return a kitchen without a worker, whose relay publishes at once."""
    relay = Relay(database, broker, OutboxSettings())
    async with relay.running():
        yield Kitchen(database, relay, policy=policy)


@pytest.fixture
async def display(kitchen: Kitchen, broker: Broker) -> AsyncIterator[Display]:
    """Run a kitchen display."""
    async with running_display(kitchen.database, broker, kitchen.relay) as display:
        yield display


@pytest.fixture
async def screen(display: Display) -> AsyncIterator[Screen]:
    """Open a screen on a station."""
    async with display.screen() as screen:
        yield screen


@pytest.fixture
async def limited_dsn(database: Database, dsn: str) -> AsyncIterator[str]:
    """Return the DSN of the test's own database for a role whose rights a test may change."""
    async with database.connection() as admin:
        name = "user_of_" + await admin.fetchval("SELECT current_database()")
        await admin.execute(f"CREATE ROLE {name} LOGIN")
        await admin.execute(f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {name}")
    yield dsn.replace("postgres@", f"{name}@")
    await execute(database, f"DROP OWNED BY {name}; DROP ROLE {name}")


@pytest.fixture
async def cook_on_duty(database: Database) -> None:
    """Register a worker that cooks orders of all types."""
    sql = await database.dedicated()
    await insert_worker(sql, name="mario", type=",".join(OrderType), last_seen=utc_now())
    await sql.execute("UPDATE workers SET status = 'online'")
    await sql.close()


@pytest.fixture
def exact_estimates(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make each estimate from the database as it is now, instead of a moment ago."""
    monkeypatch.setattr(queue_forecast, "REUSE_FACTOR", 0)
    monkeypatch.setattr(preparation_times, "REFRESH_INTERVAL", 0)
