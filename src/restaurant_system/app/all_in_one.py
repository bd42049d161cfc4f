"""Runs everything in one process."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence

from restaurant_system.app import http_service
from restaurant_system.app.kitchen_display import PAGES as KITCHEN
from restaurant_system.app.kitchen_display import stations
from restaurant_system.app.kitchen_worker import Cook, build_worker
from restaurant_system.app.notification_subscriber import build_subscriber
from restaurant_system.app.order_service import PAGES as COUNTER
from restaurant_system.app.order_service import menu_feature, order_intake
from restaurant_system.app.runtime import (
    Runtime,
    open_runtime,
    read_only_database,
    reader_pool_count,
    running_relay,
)
from restaurant_system.app.tracking_service import PAGES as TRACKING
from restaurant_system.app.tracking_service import tracking
from restaurant_system.config import Settings
from restaurant_system.database import embedded, workers
from restaurant_system.database.connection import Database
from restaurant_system.messaging.in_flight import UpdatesInFlight
from restaurant_system.services.order.menu_file import sample_menu
from restaurant_system.shutdown import Shutdown
from restaurant_system.web import api, server


async def run_all_in_one(
    settings: Settings, shutdown: Shutdown, cooks: Sequence[Cook], announce: Callable[[str], None]
) -> None:
    """Run everything in this process, on one port, until asked to stop.

    `announce` is called with the address once orders are taken. At the end the cooks finish what
    they cook, and the last notifications are printed.
    """
    menu = menu_feature(settings, otherwise=sample_menu())
    pages = http_service.pages(settings, COUNTER | KITCHEN | TRACKING)
    with (
        embedded.lock_for_up(settings.data_dir),
        contextlib.closing(http_service.bind(settings.order_service)) as listening,
    ):
        async with (
            server.running(listening, shutdown, settings.http) as http_server,
            open_runtime(
                settings,
                "up",
                shutdown,
                pools=reader_pool_count(settings),
                consumers=settings.kitchen_display.stations + len(cooks) + 1,  # and the printer
            ) as runtime,
            _printing(runtime) as updates,
            running_relay(runtime, updates) as relay,
        ):
            if settings.database is None:
                await _dismiss_everyone(runtime.database)
            async with (
                order_intake(runtime, relay) as intake,
                read_only_database(runtime) as database,
                tracking(runtime, database) as questions,
                stations(runtime, relay) as display,
                asyncio.TaskGroup() as group,
            ):
                health = http_service.health_feature(runtime, runtime.database)
                features = [intake, menu, display, *questions, health, pages]
                site = api.build("Restaurant system", features)
                runtime.report_started()
                group.create_task(http_server.serve(site))
                for cook in cooks:
                    group.create_task(build_worker(runtime, relay, cook).run(runtime.shutdown))
                announce(http_service.url(listening))


@contextlib.asynccontextmanager
async def _printing(runtime: Runtime) -> AsyncIterator[UpdatesInFlight]:
    """Print notifications for as long as the block lasts, and then those in flight.

    A second signal ends the wait for these.
    """
    updates, stop = UpdatesInFlight(runtime.broker), Shutdown()
    async with asyncio.TaskGroup() as group:
        group.create_task(build_subscriber(runtime.settings, updates, None).run(stop))
        yield updates
        waits = [
            group.create_task(updates.wait_until_none_is_left()),
            group.create_task(runtime.shutdown.forced.wait()),
        ]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        stop.request_stop()


async def _dismiss_everyone(database: Database) -> None:
    """Free the names of cooks whose process was killed: this directory is ours alone by now."""
    async with database.connection() as connection:
        await workers.release_worker_names(connection)
