"""Fixtures of the integration tests: a clock, services that use it, and a kitchen."""

from collections.abc import AsyncIterator

import httpx
import pytest

from restaurant_system.config import OutboxSettings
from restaurant_system.database.connection import Database
from restaurant_system.messaging.broker import Broker
from restaurant_system.messaging.relay import Relay
from restaurant_system.messaging.retry_policy import RetryPolicy
from restaurant_system.services.order.service import OrderService
from restaurant_system.services.tracking.handler import TrackingHandler
from tests.support.database import execute
from tests.support.kitchen import Kitchen
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
async def limited_dsn(database: Database, dsn: str) -> AsyncIterator[str]:
    """Return the DSN of the test's own database for a role whose rights a test may change."""
    async with database.connection() as admin:
        name = "user_of_" + await admin.fetchval("SELECT current_database()")
        await admin.execute(f"CREATE ROLE {name} LOGIN")
        await admin.execute(f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {name}")
    yield dsn.replace("postgres@", f"{name}@")
    await execute(database, f"DROP OWNED BY {name}; DROP ROLE {name}")
