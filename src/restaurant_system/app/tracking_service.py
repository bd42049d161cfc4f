"""The tracking service."""

import contextlib
from collections.abc import AsyncIterator, Sequence

from restaurant_system.app import http_service
from restaurant_system.app.runtime import (
    Runtime,
    background_task,
    open_runtime,
    read_only_database,
    reader_pool_count,
)
from restaurant_system.config import Settings
from restaurant_system.database.connection import Database
from restaurant_system.models.clock import utc_now
from restaurant_system.services.tracking.dashboard import Dashboard
from restaurant_system.services.tracking.handler import TrackingHandler
from restaurant_system.services.tracking.live_views import LiveViews
from restaurant_system.services.tracking.service import TrackingService
from restaurant_system.shutdown import Shutdown
from restaurant_system.web import api
from restaurant_system.web.api import Feature
from restaurant_system.web.door import HandedLines

PAGES = {"/board": "board", "/track/{order_number}": "track", "/dashboard": "dashboard"}


async def run_tracking_service(
    settings: Settings, shutdown: Shutdown, handed: HandedLines | None = None
) -> None:
    """Run the tracking service until a stop is requested."""
    pages = http_service.pages(settings, PAGES)
    async with (
        http_service.listening(
            settings.tracking_service, settings.http, shutdown, handed
        ) as server,
        open_runtime(
            settings,
            "tracking-service",
            shutdown,
            pools=settings.tracking_service.processes * reader_pool_count(settings),
        ) as runtime,
        read_only_database(runtime) as database,
        tracking(runtime, database) as tracking_features,
    ):
        features = [*tracking_features, http_service.health_feature(runtime, database), pages]
        site = api.build("Tracking service", features)
        runtime.report_started()
        await server.serve(site)


@contextlib.asynccontextmanager
async def tracking(runtime: Runtime, database: Database) -> AsyncIterator[Sequence[Feature]]:
    """Serve queries and live views for as long as the block lasts."""
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
