"""Run the order and tracking services within the test's process, on the test's database."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Collection
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import httpx

from restaurant_system.config import (
    HttpSettings,
    KitchenSettings,
    OutboxSettings,
)
from restaurant_system.database import orders, outbox
from restaurant_system.database.connection import Database
from restaurant_system.database.preparation_times import LearnedTimes
from restaurant_system.database.reader import Reader
from restaurant_system.messaging.broker import Broker
from restaurant_system.messaging.order_messages import Sender, move_with_update
from restaurant_system.messaging.postgres import PostgresBroker
from restaurant_system.messaging.relay import Relay
from restaurant_system.models.business_day import BusinessDay
from restaurant_system.models.clock import Clock, utc_now
from restaurant_system.models.currency import Currency
from restaurant_system.models.menu import Menu
from restaurant_system.models.order import DEFAULT_THRESHOLDS, PriorityThresholds
from restaurant_system.models.status import OrderStatus
from restaurant_system.services.order.current_menu import CurrentMenu
from restaurant_system.services.order.menu_file import MenuFile, static_menu
from restaurant_system.services.order.ready_orders import ReadyOrders
from restaurant_system.services.order.release import Release
from restaurant_system.services.order.service import OrderCheck, OrderService
from restaurant_system.services.tracking.export_handler import ExportHandler
from restaurant_system.services.tracking.live_views import LiveViews
from restaurant_system.services.tracking.service import TrackingService
from restaurant_system.shutdown import Shutdown
from restaurant_system.web import api, server
from restaurant_system.web.access_checks import AccessChecks
from restaurant_system.web.api import Feature, Site

UTC_DAYS = BusinessDay(ZoneInfo("UTC"))
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
    day_start: time = time(),
    public_url: str = "",
    menu: OrderCheck | None = None,
    thresholds: PriorityThresholds = DEFAULT_THRESHOLDS,
    platforms: Collection[str] = (),
) -> OrderService:
    """Make an order service."""
    return OrderService(
        database,
        relay or make_relay(database),
        clock=clock,
        business_day=BusinessDay(ZoneInfo(timezone), day_start),
        key_lifetime=timedelta(hours=24),
        kitchen=KitchenSettings(),
        times=LearnedTimes(database, KitchenSettings()),
        public_url=public_url,
        menu=menu,
        thresholds=thresholds,
        platforms=platforms,
    )


def make_current_menu(
    database: Database, menu: Menu | Path, *, clock: Clock = utc_now, timezone: str = "UTC"
) -> CurrentMenu:
    """Make the current menu of one process, which is read when a test says so."""
    source = static_menu(menu) if isinstance(menu, Menu) else MenuFile(menu).current_menu
    return CurrentMenu(database, source, clock=clock, business_day=BusinessDay(ZoneInfo(timezone)))


def make_release(database: Database, *, clock: Clock = utc_now) -> Release:
    """Make the part of the order service that releases scheduled orders."""
    kitchen = KitchenSettings()
    return Release(
        database,
        make_relay(database),
        clock=clock,
        business_day=BusinessDay(ZoneInfo("UTC")),
        kitchen=kitchen,
        times=LearnedTimes(database, kitchen),
    )


def make_ready_orders(
    database: Database, relay: Relay | None = None, *, clock: Clock = utc_now
) -> ReadyOrders:
    """Make the part of the order service that hands over ready orders."""
    kitchen = KitchenSettings()
    return ReadyOrders(
        database,
        relay or make_relay(database),
        clock=clock,
        kitchen=kitchen,
        times=LearnedTimes(database, kitchen),
    )


def make_tracking_service(
    database: Reader,
    broker: Broker | None = None,
    *,
    clock: Clock = utc_now,
    timezone: str = "UTC",
    day_start: time = time(),
) -> TrackingService:
    """Make a tracking service."""
    return TrackingService(
        database,
        broker or make_broker(database.primary),
        clock=clock,
        business_day=BusinessDay(ZoneInfo(timezone), day_start),
        kitchen=KitchenSettings(),
    )


def make_order_export(
    database: Database,
    *,
    clock: Clock = utc_now,
    timezone: str = "UTC",
    currency: str | None = None,
) -> ExportHandler:
    """Make the export of the orders of a business date."""
    return ExportHandler(
        database,
        clock=clock,
        business_day=BusinessDay(ZoneInfo(timezone)),
        currency=Currency(currency),
    )


def make_live_views(database: Database, *, clock: Clock = utc_now) -> LiveViews:
    """Make the live views for customers."""
    lookup = make_tracking_service(database, clock=clock).lookup
    return LiveViews(database, lookup, clock=clock, business_day=BusinessDay(ZoneInfo("UTC")))


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
