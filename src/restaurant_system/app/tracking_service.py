"""Compose the tracking service."""

import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence

from restaurant_system.app import http_service
from restaurant_system.app.access import PAGES as ACCESS_PAGES
from restaurant_system.app.access import access
from restaurant_system.app.monitoring import exposer_of_service
from restaurant_system.app.runtime import (
    Runtime,
    background_task,
    open_runtime,
    read_only_database,
)
from restaurant_system.config import Settings
from restaurant_system.database.connection import Database
from restaurant_system.models.access import Capability
from restaurant_system.models.clock import utc_now
from restaurant_system.services.tracking.dashboard import Dashboard
from restaurant_system.services.tracking.handler import TrackingHandler
from restaurant_system.services.tracking.live_views import LiveViews
from restaurant_system.services.tracking.service import TrackingService
from restaurant_system.shutdown import Shutdown
from restaurant_system.web import api
from restaurant_system.web.api import Feature, Site
from restaurant_system.web.guarded_router import PUBLIC
from restaurant_system.web.pages import PageRoute
from restaurant_system.web.server import Service

PAGES: Mapping[str, PageRoute] = {
    "/board": ("board", PUBLIC),
    "/track/{order_number}": ("track", PUBLIC),
    "/track/{order_number}/{token}": ("track", PUBLIC),
    "/dashboard": ("dashboard", Capability.READ_ORDERS),
}


def tracking_service(settings: Settings) -> Service:
    """Prepare the tracking service, which answers read-only queries about orders."""
    pages = http_service.pages_feature(settings, {**PAGES, **ACCESS_PAGES})

    @contextlib.asynccontextmanager
    async def run(shutdown: Shutdown) -> AsyncIterator[Site]:
        async with (
            open_runtime(settings, "tracking-service", shutdown) as runtime,
            access(runtime, settings.tracking_service.host) as rules,
            read_only_database(runtime) as database,
            tracking(runtime, database) as features,
            exposer_of_service(runtime, database) as exposer,
        ):
            metrics = http_service.metrics_feature(runtime, exposer)
            health = http_service.health_feature(runtime, database)
            runtime.report_started()
            checks = http_service.access_checks(settings, settings.tracking_service, rules.control)
            parts = [*features, health, metrics, pages, *rules.features]
            yield api.build("Tracking service", parts, checks)

    return run


@contextlib.asynccontextmanager
async def tracking(runtime: Runtime, database: Database) -> AsyncIterator[Sequence[Feature]]:
    """Answer queries about orders, and update live views, for the duration of the block."""
    service = TrackingService(
        database,
        runtime.broker,
        clock=utc_now,
        timezone=runtime.settings.timezone,
        kitchen=runtime.settings.kitchen,
    )
    dashboard = Dashboard(service, clock=utc_now)
    live_views = LiveViews(database, clock=utc_now, kitchen=runtime.settings.kitchen)
    async with (
        background_task(dashboard.run(runtime.shutdown)),
        background_task(live_views.run(runtime.shutdown)),
    ):
        yield [TrackingHandler(service).feature(), dashboard.feature(), live_views.feature()]
