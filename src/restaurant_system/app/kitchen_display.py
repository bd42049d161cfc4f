"""Compose the kitchen display."""

import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from uuid import uuid4

from restaurant_system.app import http_service
from restaurant_system.app.access import PAGES as ACCESS_PAGES
from restaurant_system.app.access import access
from restaurant_system.app.monitoring import exposer_of_service
from restaurant_system.app.runtime import Runtime, open_runtime, running_relay, signer
from restaurant_system.config import Settings
from restaurant_system.messaging.relay import Relay
from restaurant_system.models.access import Capability
from restaurant_system.models.clock import utc_now
from restaurant_system.models.order import OrderType
from restaurant_system.services.display.handler import DisplayHandler
from restaurant_system.services.display.rail import Rail
from restaurant_system.services.display.stations import Stations
from restaurant_system.services.display.taps import Taps
from restaurant_system.shutdown import Shutdown
from restaurant_system.web import api
from restaurant_system.web.api import Feature, Site
from restaurant_system.web.pages import PageRoute
from restaurant_system.web.server import Service
from restaurant_system.worker.lifecycle import KitchenWorker

PAGES: Mapping[str, PageRoute] = {"/kitchen": ("kitchen", Capability.TICKETS)}


def kitchen_display(settings: Settings) -> Service:
    """Prepare the service that shows the kitchen's stations."""
    pages = http_service.pages_feature(settings, {**PAGES, **ACCESS_PAGES})

    @contextlib.asynccontextmanager
    async def run(shutdown: Shutdown) -> AsyncIterator[Site]:
        async with (
            open_runtime(settings, "kitchen-display", shutdown) as runtime,
            access(runtime, settings.kitchen_display.host) as rules,
            running_relay(runtime, runtime.broker) as relay,
            stations(runtime, relay) as display,
            exposer_of_service(runtime) as exposer,
        ):
            metrics = http_service.metrics_feature(runtime, exposer)
            health = http_service.health_feature(runtime, runtime.database)
            runtime.report_started()
            checks = http_service.access_checks(settings, settings.kitchen_display, rules.control)
            parts = [display, health, metrics, pages, *rules.features]
            yield api.build("Kitchen display", parts, checks)

    return run


@contextlib.asynccontextmanager
async def stations(runtime: Runtime, relay: Relay) -> AsyncIterator[Feature]:
    """Run the stations that screens open, for the duration of the block."""
    settings = runtime.settings.kitchen_display
    kitchen = runtime.settings.kitchen.model_copy(
        update={"prefetch": settings.capacity, "heartbeat_interval": settings.heartbeat_interval}
    )

    def make_rail(name: str) -> Rail:
        return Rail(runtime.database, station=name, kitchen=kitchen, clock=utc_now)

    def make_worker(name: str, order_types: Sequence[OrderType], rail: Rail) -> KitchenWorker:
        return KitchenWorker(
            runtime.database,
            runtime.broker,
            runtime.retry_policy,
            rail,
            name=name,
            order_types=order_types,
            kitchen=kitchen,
            session=uuid4(),
            signer=signer(runtime.settings),
        )

    opened = Stations(
        settings, make_rail=make_rail, make_worker=make_worker, shutdown=runtime.shutdown
    )
    taps = Taps(runtime.database, relay, kitchen=kitchen, clock=utc_now)
    async with opened.running():
        yield DisplayHandler(opened, taps).feature()
