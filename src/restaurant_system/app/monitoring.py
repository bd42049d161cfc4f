"""Expose metrics and health: on the port of an HTTP service, or on a port of their own."""

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from restaurant_system import __version__
from restaurant_system.app.health_checks import Check
from restaurant_system.app.runtime import Runtime, background_task
from restaurant_system.config import Settings
from restaurant_system.database import kitchen_state, outbox, workers
from restaurant_system.database.connection import Database
from restaurant_system.database.reader import Reader
from restaurant_system.database.replicas import Replicas
from restaurant_system.errors import BrokerUnavailable, DatabaseUnavailable
from restaurant_system.logger import get_logger
from restaurant_system.messaging.broker import Broker
from restaurant_system.metrics import definitions, event_loop
from restaurant_system.metrics.exposition import Exposer, Figures
from restaurant_system.metrics.histogram import count_pending
from restaurant_system.models.business_day import BusinessDay
from restaurant_system.models.clock import utc_now
from restaurant_system.models.order import OrderType
from restaurant_system.models.status import OrderStatus
from restaurant_system.shutdown import Shutdown

SAMPLE_INTERVAL = 1.0  # s between two samples of the process's gauges
READ_TIMEOUT = 1.5  # s for the database, and for the broker, to answer a scrape
PRIMARY, READER = "primary", "reader"
BUILD_INFO: Figures = {definitions.BUILD_INFO: {(__version__,): 1}}

log = get_logger()


@contextlib.asynccontextmanager
async def exposer_of_service(
    runtime: Runtime, reader: Database | Replicas | None = None
) -> AsyncIterator[Exposer]:
    """Sample this process, and expose its metrics and the system's figures, within the block.

    `reader` is the database for reading only, if the service has one.
    """
    business_day = runtime.settings.business_day

    async def read_figures() -> Figures:
        of_database, of_broker = await asyncio.gather(
            read_database(reader or runtime.database, business_day), read_queues(runtime.broker)
        )
        return {**BUILD_INFO, **of_database, **of_broker}

    databases: dict[str, Database | Replicas] = {PRIMARY: runtime.database}
    if reader is not None:
        databases[READER] = reader
    async with _exposer(read_figures, databases) as exposer:
        yield exposer


class Serve(Protocol):
    """Serve the metrics and the state of a worker or subscriber while a block runs."""

    def __call__(
        self, broker: Broker, databases: Mapping[str, Database], checks: Mapping[str, Check]
    ) -> AbstractAsyncContextManager[None]:
        """Serve `/metrics`, and `/health`: 503 if one of `checks` finds its part down."""


@contextlib.asynccontextmanager
async def metrics_port(settings: Settings, service: str) -> AsyncIterator[Serve]:
    """Listen on `metrics.port`, if there is one, for the duration of the block.

    Until `Serve` is called, as long as the service waits for its database, `/health/live` is
    answered with 200 and everything else with 503.

    Raises `StartupError` when the port is taken.
    """
    if settings.metrics.port is None:
        yield lambda *_: contextlib.nullcontext()
        return
    # A worker without this port does not load the HTTP libraries.
    from restaurant_system.web import api, health, metrics, server  # noqa: PLC0415
    from restaurant_system.web.access_checks import AccessChecks  # noqa: PLC0415
    from restaurant_system.web.api import Feature  # noqa: PLC0415

    host, port = settings.metrics.host, settings.metrics.port
    # Its own stop, so that metrics are served until the last order is finished.
    stop = Shutdown()
    access = AccessChecks(settings.http, settings.security, bound_to=host)
    with contextlib.closing(server.listen(host, port, option="--metrics-port")) as listener:
        async with server.running(listener, stop, settings.http, access) as http_server:

            @contextlib.asynccontextmanager
            async def serve(
                broker: Broker, databases: Mapping[str, Database], checks: Mapping[str, Check]
            ) -> AsyncIterator[None]:
                async def read_figures() -> Figures:
                    return {**BUILD_INFO, **await ping_broker(broker)}

                dependencies = [
                    health.Dependency(name, check, essential=True) for name, check in checks.items()
                ]
                async with _exposer(read_figures, databases) as exposer:
                    features = [
                        Feature(metrics.routes(exposer, is_public=settings.metrics.public)),
                        Feature(health.routes(stop, *dependencies)),
                    ]
                    site = api.build(service, features, access)
                    async with background_task(http_server.serve(site)):
                        port = listener.getsockname()[1]
                        log.info("metrics_served", message=f"Metrics at port {port}.", port=port)
                        yield
                        await http_server.close()

            yield serve


@contextlib.asynccontextmanager
async def _exposer(
    read_figures: Callable[[], Awaitable[Figures]], databases: Mapping[str, Database | Replicas]
) -> AsyncIterator[Exposer]:
    exposer = Exposer(read_figures)
    try:
        async with (
            background_task(event_loop.observe_lag()),
            background_task(sample(databases)),
        ):
            yield exposer
    finally:
        await exposer.close()


async def sample(databases: Mapping[str, Database | Replicas]) -> None:
    """Set the gauges of this process, and count pending observations, until cancelled."""
    while True:
        count_pending()
        for name, database in databases.items():
            usage = database.pool_usage()
            gauges = definitions.database_pool_connections
            gauges.labels(name, "idle").set(usage.idle)
            gauges.labels(name, "in_use").set(usage.in_use)
            definitions.database_pool_max_connections.labels(name).set(usage.maximum)
            definitions.database_pool_waiting.labels(name).set(usage.waiting)
            definitions.database_available.labels(name).set(usage.is_open)
            for replica in database.replicas if isinstance(database, Replicas) else ():
                lag = math.inf if replica.lag is None else replica.lag
                definitions.database_replica_lag_seconds.labels(replica.name).set(lag)
                usable = definitions.database_replica_usable.labels(replica.name)
                usable.set(replica.reason is None)
        await asyncio.sleep(SAMPLE_INTERVAL)


async def read_database(database: Reader, business_day: BusinessDay) -> Figures:
    """Read figures from the database; none if it does not answer in time."""
    now = utc_now()
    try:
        async with asyncio.timeout(READ_TIMEOUT), database.connection() as connection:
            backlog = await outbox.backlog(connection)
            orders = await kitchen_state.open_orders(
                connection, day_start=business_day.current_start(now), now=now
            )
            online = await workers.list_online(connection)
    except (DatabaseUnavailable, TimeoutError):
        return {}
    return {
        definitions.OUTBOX_MESSAGES: {(): backlog.size},
        definitions.OUTBOX_OLDEST_AGE: {(): backlog.oldest_seconds},
        definitions.OPEN_ORDERS: {
            (order_type, status): groups[order_type].count if order_type in groups else 0
            for status, groups in (
                (OrderStatus.RECEIVED, orders.waiting),
                (OrderStatus.COOKING, orders.cooking),
                ("scheduled", orders.scheduled),
                ("held", orders.held),
            )
            for order_type in OrderType
        },
        definitions.WAITING_AGE: {
            (kind,): max(0.0, (now - orders.waiting[kind].since).total_seconds())
            if kind in orders.waiting
            else 0.0
            for kind in OrderType
        },
        definitions.WORKERS_ONLINE: {
            (order_type,): sum(order_type in worker.order_types for worker in online)
            for order_type in OrderType
        },
    }


async def read_queues(broker: Broker) -> Figures:
    """Read the length of each queue; none if the broker does not answer in time."""
    try:
        async with asyncio.timeout(READ_TIMEOUT):
            depths = await broker.depths()
    except (BrokerUnavailable, TimeoutError):
        return {definitions.BROKER_AVAILABLE: {(): 0}}
    return {
        definitions.BROKER_AVAILABLE: {(): 1},
        definitions.QUEUE_MESSAGES: {(queue,): depth for queue, depth in depths.items()},
    }


async def ping_broker(broker: Broker) -> Figures:
    """Find out whether the broker answers in time."""
    try:
        async with asyncio.timeout(READ_TIMEOUT):
            await broker.ping()
    except (BrokerUnavailable, TimeoutError):
        return {definitions.BROKER_AVAILABLE: {(): 0}}
    return {definitions.BROKER_AVAILABLE: {(): 1}}
