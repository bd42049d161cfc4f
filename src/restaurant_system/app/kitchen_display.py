"""Compose the kitchen display."""

import contextlib
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from uuid import uuid4

from restaurant_system.app import http_service, pages
from restaurant_system.app.access import access
from restaurant_system.app.menu import current_menu, menu_feature, menu_source
from restaurant_system.app.monitoring import exposer_of_service
from restaurant_system.app.runtime import Runtime, open_runtime, running_relay, signer
from restaurant_system.config import Settings
from restaurant_system.database.preparation_times import LearnedTimes
from restaurant_system.errors import ConfigurationError
from restaurant_system.logger import get_logger
from restaurant_system.messaging.relay import Relay
from restaurant_system.models.clock import utc_now
from restaurant_system.models.menu import NO_MENU
from restaurant_system.models.order import OrderType
from restaurant_system.services.display.handler import DisplayHandler
from restaurant_system.services.display.known_stations import KnownStations
from restaurant_system.services.display.rail import Rail
from restaurant_system.services.display.scheduled_handler import ScheduledTickets
from restaurant_system.services.display.stations import Stations
from restaurant_system.services.display.taps import NAME, Taps
from restaurant_system.services.order.menu_file import MenuSource, static_menu
from restaurant_system.shutdown import Shutdown
from restaurant_system.web import api
from restaurant_system.web.api import Feature, Site
from restaurant_system.web.server import Service
from restaurant_system.worker.lifecycle import KitchenWorker
from restaurant_system.worker.order_processor import ClaimRules
from restaurant_system.worker.start_writer import StartWriter

log = get_logger("kitchen-display")


def kitchen_display(settings: Settings) -> Service:
    """Prepare the service that shows the kitchen's stations."""
    source = _menu_if_valid(settings)
    screens = pages.pages_feature(settings, {**pages.ALONE, **pages.OF_KITCHEN_DISPLAY})

    @contextlib.asynccontextmanager
    async def run(shutdown: Shutdown) -> AsyncIterator[Site]:
        async with (
            open_runtime(settings, "kitchen-display", shutdown) as runtime,
            access(runtime, settings.kitchen_display.host) as rules,
            running_relay(runtime, runtime.broker) as relay,
            stations(runtime, relay) as display,
            current_menu(runtime, source) as current,
            exposer_of_service(runtime) as exposer,
        ):
            metrics = http_service.metrics_feature(runtime, exposer)
            health = http_service.health_feature(runtime, runtime.database)
            runtime.report_started()
            checks = http_service.access_checks(settings, settings.kitchen_display, rules.control)
            menu = menu_feature(runtime.database, current)
            parts = [*display, menu, health, metrics, screens, *rules.features]
            yield api.build("Kitchen display", parts, checks)

    return run


def _menu_if_valid(settings: Settings) -> MenuSource:
    """Return the source of the configured menu; without one, tickets are shown all the same."""
    try:
        return menu_source(settings, otherwise=NO_MENU)
    except ConfigurationError as error:
        log.warning("menu_rejected", message=f"{error} This display shows no menu.")
        return static_menu(NO_MENU)


@contextlib.asynccontextmanager
async def stations(runtime: Runtime, relay: Relay) -> AsyncIterator[Sequence[Feature]]:
    """Run the stations that screens open, for the duration of the block."""
    settings = runtime.settings.kitchen_display
    kitchen = runtime.settings.kitchen.model_copy(
        update={"prefetch": settings.capacity, "heartbeat_interval": settings.heartbeat_interval}
    )

    times = LearnedTimes(runtime.database, kitchen)

    def expected(order_type: OrderType) -> timedelta:
        return timedelta(seconds=times.known.expected(order_type))

    starts = StartWriter(relay, NAME, expected)

    def make_rail(name: str) -> Rail:
        business_day = runtime.settings.business_day
        return Rail(
            runtime.database, starts, station=name, clock=utc_now, business_day=business_day
        )

    def make_worker(name: str, order_types: Sequence[OrderType], rail: Rail) -> KitchenWorker:
        business_day = runtime.settings.business_day
        return KitchenWorker(
            runtime.database,
            runtime.broker,
            runtime.retry_policy,
            rail,
            ClaimRules(name, order_types, kitchen, utc_now, business_day),
            session=uuid4(),
            signer=signer(runtime.settings),
        )

    opened = Stations(
        settings, make_rail=make_rail, make_worker=make_worker, shutdown=runtime.shutdown
    )
    taps = Taps(
        runtime.database,
        relay,
        kitchen=kitchen,
        times=times,
        starts=starts,
        clock=utc_now,
        business_day=runtime.settings.business_day,
    )
    async with opened.running():
        yield [
            KnownStations(runtime.database, opened).feature(),
            DisplayHandler(opened, taps).feature(),
            ScheduledTickets(runtime.database).feature(),
        ]
