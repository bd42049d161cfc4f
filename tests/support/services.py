"""Run the order and tracking services within the test's process, on the test's database."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import httpx

from restaurant_system.config import (
    HttpSettings,
    KitchenSettings,
    OutboxSettings,
)
from restaurant_system.database import orders, outbox
from restaurant_system.database.connection import Database
from restaurant_system.messaging.broker import Broker
from restaurant_system.messaging.order_messages import Sender, move_with_update
from restaurant_system.messaging.postgres import PostgresBroker
from restaurant_system.messaging.relay import Relay
from restaurant_system.models.clock import Clock, utc_now
from restaurant_system.models.status import OrderStatus
from restaurant_system.services.order.service import OrderService
from restaurant_system.services.tracking.service import TrackingService
from restaurant_system.shutdown import Shutdown
from restaurant_system.web import api, server
from restaurant_system.web.access_checks import AccessChecks
from restaurant_system.web.api import Feature, Site

NOON = datetime(2024, 12, 16, 12, 0, tzinfo=UTC)


class FakeClock:
    """A clock that returns `now`, which a test can set."""

    def __init__(self, now: datetime = NOON) -> None:
        self.now = now

    def __call__(self) -> datetime:
        """Return the time that the test has set."""
        return self.now


def make_broker(database: Database) -> Broker:
    """Make the broker in PostgreSQL."""
    return PostgresBroker(database)


def make_relay(database: Database, broker: Broker | None = None) -> Relay:
    """Make a relay that does not run: messages stay in the outbox."""
    return Relay(database, broker or make_broker(database), OutboxSettings())


def make_order_service(
    database: Database,
    relay: Relay | None = None,
    *,
    clock: Clock = utc_now,
    timezone: str = "UTC",
    public_url: str = "",
) -> OrderService:
    """Make an order service."""
    return OrderService(
        database,
        relay or make_relay(database),
        clock=clock,
        timezone=ZoneInfo(timezone),
        key_lifetime=timedelta(hours=24),
        public_url=public_url,
    )


def make_tracking_service(
    database: Database,
    broker: Broker | None = None,
    *,
    clock: Clock = utc_now,
    timezone: str = "UTC",
) -> TrackingService:
    """Make a tracking service."""
    return TrackingService(
        database,
        broker or make_broker(database),
        clock=clock,
        timezone=ZoneInfo(timezone),
        kitchen=KitchenSettings(),
    )


@contextlib.asynccontextmanager
async def http_client(*features: Feature) -> AsyncIterator[httpx.AsyncClient]:
    """Serve features of a service over HTTP, and yield an HTTP client."""
    async with (
        serve_site(api.build("Test", features)) as address,
        httpx.AsyncClient(base_url=address, timeout=30, verify=False) as client,  # noqa: S501 - no TLS
    ):
        yield client


@contextlib.asynccontextmanager
async def serve_site(
    site: Site,
    shutdown: Shutdown | None = None,
    settings: HttpSettings | None = None,
    checks: AccessChecks | None = None,
) -> AsyncIterator[str]:
    """Serve a site on a free port for the block, and yield its address.

    `checks` tell which connections have limits; those of requests are part of the site.
    """
    shutdown, listening = shutdown or Shutdown(), server.listen("127.0.0.1", 0)
    host, port = listening.getsockname()
    with contextlib.closing(listening):
        async with server.running(
            listening, shutdown, settings or HttpSettings(), checks
        ) as running:
            serving = asyncio.create_task(running.serve(site))
            await asyncio.sleep(0)  # start serving before the first request
            try:
                yield f"http://{host}:{port}"
            finally:
                shutdown.request_stop()
                await serving


async def move_through(
    database: Database,
    number: str,
    *statuses: OrderStatus,
    by: str = "mario",
    at: datetime | None = None,
    due: datetime | None = None,
) -> None:
    """Move a received order through these statuses."""
    for origin, target in itertools.pairwise((OrderStatus.RECEIVED, *statuses)):
        moved = await move(
            database,
            number,
            origin,
            target,
            at=at or utc_now(),
            by=by,
            due=due if target is OrderStatus.COOKING else None,
        )
        assert moved, f"{number} was not {origin}"


async def move(
    database: Database,
    number: str,
    origin: OrderStatus,
    target: OrderStatus,
    *,
    at: datetime,
    by: str,
    due: datetime | None = None,
) -> bool:
    """Move an order if it has the origin status; return whether it had. Leave no outbox message."""
    command = move_with_update(
        number,
        origin=origin,
        target=target,
        at=at,
        by=by,
        sender=Sender("somebody", "long-ago"),
        estimated_completion=due,
    )
    async with database.transaction() as tx:
        (message,) = await orders.move(tx, [command])
        if message is None:
            return False
        await outbox.delete(tx, [message.id])
    return True
