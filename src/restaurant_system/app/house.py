"""Runs everything in one process."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence

from restaurant_system.app import http
from restaurant_system.app.display import PAGES as KITCHEN
from restaurant_system.app.display import stations
from restaurant_system.app.kitchen import Cook, worker
from restaurant_system.app.notifications import subscriber
from restaurant_system.app.orders import PAGES as COUNTER
from restaurant_system.app.orders import menu_of, order_intake
from restaurant_system.app.tracking import PAGES as TRACKING
from restaurant_system.app.tracking import tracking
from restaurant_system.config import Settings
from restaurant_system.database import embedded, workers
from restaurant_system.database.connection import Database
from restaurant_system.foundation import (
    Foundation,
    foundation,
    pools_of_a_reader,
    reading,
    relaying,
)
from restaurant_system.messaging.in_flight import UpdatesInFlight
from restaurant_system.services.order.menu import sample
from restaurant_system.shutdown import Shutdown
from restaurant_system.web import api, server


async def open_house(
    settings: Settings, shutdown: Shutdown, cooks: Sequence[Cook], announce: Callable[[str], None]
) -> None:
    """Run everything in this process, on one port, until asked to stop.

    `announce` is called with the address once orders are taken. At the end the cooks finish what
    they cook, and the last notifications are printed.
    """
    menu = menu_of(settings, otherwise=sample())
    pages = http.pages(settings, COUNTER | KITCHEN | TRACKING)
    with (
        embedded.only_one(settings.data_dir),
        contextlib.closing(http.bind(settings.order_service)) as listening,
    ):
        async with (
            server.running(listening, shutdown, settings.http) as http_server,
            foundation(
                settings,
                "up",
                shutdown,
                pools=pools_of_a_reader(settings),
                consumers=settings.kitchen_display.stations + len(cooks) + 1,  # and the printer
            ) as base,
            _printing(base) as updates,
            relaying(base, updates) as relay,
        ):
            if settings.database is None:
                await _dismiss_everyone(base.database)
            async with (
                order_intake(base, relay) as intake,
                reading(base) as database,
                tracking(base, database) as questions,
                stations(base, relay) as display,
                asyncio.TaskGroup() as group,
            ):
                health = http.health_of(base, base.database)
                features = [intake, menu, display, *questions, health, pages]
                site = api.build("Restaurant system", features)
                base.begin()
                group.create_task(http_server.serve(site))
                for cook in cooks:
                    group.create_task(worker(base, relay, cook).run(base.shutdown))
                announce(http.url(listening))


@contextlib.asynccontextmanager
async def _printing(base: Foundation) -> AsyncIterator[UpdatesInFlight]:
    """Print notifications for as long as the block lasts, and then those in flight.

    A second signal ends the wait for these.
    """
    updates, stop = UpdatesInFlight(base.broker), Shutdown()
    async with asyncio.TaskGroup() as group:
        group.create_task(subscriber(base.settings, updates, None).run(stop))
        yield updates
        waits = [
            group.create_task(updates.wait_until_none_is_left()),
            group.create_task(base.shutdown.forced.wait()),
        ]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        stop.ask()


async def _dismiss_everyone(database: Database) -> None:
    """Free the names of cooks whose process was killed: this directory is ours alone by now."""
    async with database.connection() as connection:
        await workers.dismiss_everyone(connection)
