"""Compose all services in one process: the command `up`."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence

from restaurant_system.app import http_service, pages
from restaurant_system.app.access import access, add_first_manager
from restaurant_system.app.kitchen_display import stations
from restaurant_system.app.kitchen_worker import Cook, build_worker
from restaurant_system.app.menu import current_menu, menu_feature, menu_source
from restaurant_system.app.monitoring import exposer_of_service
from restaurant_system.app.notification_subscriber import build_subscriber
from restaurant_system.app.order_service import order_administration, order_intake
from restaurant_system.app.runtime import (
    Runtime,
    open_runtime,
    read_only_database,
    running_relay,
)
from restaurant_system.app.tracking_service import tracking
from restaurant_system.config import Settings
from restaurant_system.database import embedded, workers
from restaurant_system.database.connection import Database
from restaurant_system.messaging.in_flight import UpdatesInFlight
from restaurant_system.models.currency import Currency
from restaurant_system.services.order.menu_file import sample_menu
from restaurant_system.shutdown import Shutdown
from restaurant_system.web import api, server
from restaurant_system.web.pages import starting_page

ReportStart = Callable[[str, str | None], None]


async def run_all_in_one(
    settings: Settings, shutdown: Shutdown, cooks: Sequence[Cook], report_start: ReportStart
) -> None:
    """Run all services in this process, on one port, until a stop is requested.

    `report_start` is called once orders are accepted: with the address, and with the password of
    the first manager if one was added, because other machines can reach the service. At a stop the
    cooks finish the orders that they cook, and the last notifications are printed.
    """
    source = menu_source(settings, otherwise=sample_menu(Currency(settings.currency)))
    screens = pages.pages_feature(settings, pages.ALL)
    with (
        embedded.lock_for_up(settings.data_dir),
        contextlib.closing(
            server.listen(settings.order_service.host, settings.order_service.port)
        ) as listener,
    ):
        async with (
            server.running(
                listener,
                shutdown,
                settings.http,
                http_service.access_checks(settings, settings.order_service),
                starting_page(settings.language),
            ) as http_server,
            open_runtime(settings, "up", shutdown, cooks=len(cooks)) as runtime,
            _printed_notifications(runtime) as updates,
            running_relay(runtime, updates) as relay,
        ):
            if settings.database is None:
                await _release_worker_names(runtime.database)
            password = await add_first_manager(runtime, settings.order_service.host)
            async with (
                access(runtime, settings.order_service.host) as rules,
                current_menu(runtime, source) as current,
                order_intake(runtime, relay, current) as intake,
                read_only_database(runtime) as database,
                tracking(runtime, database) as tracking_features,
                stations(runtime, relay) as display,
                exposer_of_service(runtime, database) as exposer,
                asyncio.TaskGroup() as group,
            ):
                health = http_service.health_feature(runtime, runtime.database, database)
                metrics = http_service.metrics_feature(runtime, exposer)
                menu = menu_feature(runtime.database, current, may_be_alone=True)
                features = [
                    *(screens, *intake, menu, *display, *tracking_features),
                    *(health, metrics, *order_administration(runtime), *rules.features),
                ]
                checks = http_service.access_checks(settings, settings.order_service, rules.control)
                site = api.build("Restaurant system", features, checks)
                runtime.report_started()
                group.create_task(http_server.serve(site))
                for cook in cooks:
                    group.create_task(build_worker(runtime, relay, cook).run(shutdown))
                report_start(http_service.url(listener), password)


@contextlib.asynccontextmanager
async def _printed_notifications(runtime: Runtime) -> AsyncIterator[UpdatesInFlight]:
    """Print notifications for the duration of the block, and then those still in flight.

    A second stop request ends the wait for these.
    """
    updates, stop = UpdatesInFlight(runtime.broker), Shutdown()
    async with asyncio.TaskGroup() as group:
        subscriber = build_subscriber(runtime.settings, updates, runtime.retry_policy, None)
        group.create_task(subscriber.run(stop))
        yield updates
        waits = [
            group.create_task(updates.wait_until_none_is_left()),
            group.create_task(runtime.shutdown.forced.wait()),
        ]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        stop.request_stop()


async def _release_worker_names(database: Database) -> None:
    """Release the names of killed workers; no other process may use the data directory."""
    async with database.connection() as connection:
        await workers.release_worker_names(connection)
