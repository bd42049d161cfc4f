"""What the tests of the services may ask for: a clock, two services that go by it, a kitchen."""

from collections.abc import AsyncIterator

import httpx
import pytest

from restaurant_system.config import OutboxSettings
from restaurant_system.database.connection import Database
from restaurant_system.messaging.broker import Broker
from restaurant_system.messaging.relay import Relay
from restaurant_system.services.order.service import OrderService
from restaurant_system.services.tracking.handler import TrackingHandler
from tests.support.kitchen import Kitchen
from tests.support.services import Watch, a_client, a_tracking_service, an_order_service


@pytest.fixture
def watch() -> Watch:
    """Wear a watch that shows noon."""
    return Watch()


@pytest.fixture
def intake(database: Database, watch: Watch) -> OrderService:
    """Open the order intake; what it owes stays in the outbox."""
    return an_order_service(database, clock=watch)


@pytest.fixture
async def tracking(database: Database, watch: Watch) -> AsyncIterator[httpx.AsyncClient]:
    """Talk to the tracking service."""
    service = a_tracking_service(database, clock=watch)
    async with a_client(TrackingHandler(service).feature()) as client:
        yield client


@pytest.fixture
async def kitchen(database: Database, broker: Broker) -> AsyncIterator[Kitchen]:
    """Open a kitchen whose relay publishes at once; nobody is on duty yet."""
    relay = Relay(database, broker, OutboxSettings())
    async with relay.running():
        yield Kitchen(database, relay)
