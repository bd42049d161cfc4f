"""Compose the tracking service."""

import contextlib
from collections.abc import AsyncIterator, Sequence

from restaurant_system.app import http_service, pages
from restaurant_system.app.access import access
from restaurant_system.app.monitoring import exposer_of_service
from restaurant_system.app.runtime import (
    Runtime,
    background_task,
    open_runtime,
    read_only_database,
)
from restaurant_system.config import Settings
from restaurant_system.database.reader import Reader
from restaurant_system.models.clock import utc_now
from restaurant_system.models.currency import Currency
from restaurant_system.services.tracking.dashboard import Dashboard
from restaurant_system.services.tracking.export_handler import ExportHandler
from restaurant_system.services.tracking.handler import TrackingHandler
from restaurant_system.services.tracking.live_views import LiveViews
from restaurant_system.services.tracking.service import TrackingService
from restaurant_system.services.tracking.usual_day import UsualDays
from restaurant_system.shutdown import Shutdown
from restaurant_system.web import api
from restaurant_system.web.api import Feature, Site
from restaurant_system.web.server import Service


def tracking_service(settings: Settings) -> Service:
    """Prepare the tracking service, which answers read-only queries about orders."""
    screens = pages.pages_feature(settings, {**pages.ALONE, **pages.OF_TRACKING_SERVICE})

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
            parts = [screens, *features, health, metrics, *rules.features]
            yield api.build("Tracking service", parts, checks)

    return run


@contextlib.asynccontextmanager
async def tracking(runtime: Runtime, database: Reader) -> AsyncIterator[Sequence[Feature]]:
    """Answer queries about orders, and update live views, for the duration of the block."""
    service = TrackingService(
        database,
        runtime.broker,
        clock=utc_now,
        business_day=runtime.settings.business_day,
        kitchen=runtime.settings.kitchen,
    )
    business_day = runtime.settings.business_day
    dashboard = Dashboard(
        service, UsualDays(database, business_day), clock=utc_now, business_day=business_day
    )
    live_views = LiveViews(database, service.lookup, clock=utc_now, business_day=business_day)
    export = ExportHandler(
        database,
        clock=utc_now,
        business_day=business_day,
        currency=Currency(runtime.settings.currency),
    )
    async with (
        background_task(dashboard.run(runtime.shutdown)),
        background_task(live_views.run(runtime.shutdown)),
    ):
        public_url = runtime.settings.tracking_service.public_url or ""
        handler = TrackingHandler(service, public_url)
        yield [handler.feature(), export.feature(), dashboard.feature(), live_views.feature()]
