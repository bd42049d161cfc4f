"""Answers where orders are."""

import contextlib
from collections.abc import AsyncIterator, Sequence

from restaurant_system.app import http
from restaurant_system.config import Settings
from restaurant_system.database.connection import Database
from restaurant_system.foundation import (
    Foundation,
    beside,
    foundation,
    pools_of_a_reader,
    reading,
)
from restaurant_system.models.clock import utc_now
from restaurant_system.services.tracking.dashboard import Dashboard
from restaurant_system.services.tracking.handler import TrackingHandler
from restaurant_system.services.tracking.screens import ScreensHandler
from restaurant_system.services.tracking.service import TrackingService
from restaurant_system.services.tracking.views import Views
from restaurant_system.shutdown import Shutdown
from restaurant_system.web import api
from restaurant_system.web.api import Feature
from restaurant_system.web.door import HandedLines

PAGES = {"/board": "board", "/track/{order_number}": "track", "/dashboard": "dashboard"}


async def track_orders(
    settings: Settings, shutdown: Shutdown, handed: HandedLines | None = None
) -> None:
    """Answer questions over HTTP until asked to stop."""
    pages = http.pages(settings, PAGES)
    async with (
        http.listening(settings.tracking_service, settings.http, shutdown, handed) as server,
        foundation(
            settings,
            "tracking-service",
            shutdown,
            pools=settings.tracking_service.processes * pools_of_a_reader(settings),
        ) as base,
        reading(base) as database,
        tracking(base, database) as questions,
    ):
        features = [*questions, http.health_of(base, database), pages]
        site = api.build("Tracking service", features)
        base.begin()
        await server.serve(site)


@contextlib.asynccontextmanager
async def tracking(base: Foundation, database: Database) -> AsyncIterator[Sequence[Feature]]:
    """Answer questions, and keep watchers told, for as long as the block lasts."""
    service = TrackingService(
        database,
        base.broker,
        clock=utc_now,
        timezone=base.settings.timezone,
        kitchen=base.settings.kitchen,
    )
    dashboard = Dashboard(service, clock=utc_now)
    views = Views(database, clock=utc_now, kitchen=base.settings.kitchen)
    guests = ScreensHandler(views)
    async with beside(dashboard.run(base.shutdown)), beside(views.run(base.shutdown)):
        yield [TrackingHandler(service).feature(), dashboard.feature(), guests.feature()]
