"""Open and close what services need: a database with its schema up to date, a broker, a relay.

Each is open for the duration of a block, and is closed whatever happens in it.
"""

import asyncio
import contextlib
import gc
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, TypeVar

import stamina

from restaurant_system.app.telemetry import traced
from restaurant_system.cancellation import cancel
from restaurant_system.config import ServerSettings, Settings
from restaurant_system.database import embedded, migrations
from restaurant_system.database.connection import Database, is_temporary
from restaurant_system.database.replicas import Replicas
from restaurant_system.database.server_requirements import check_connection_limit
from restaurant_system.errors import BrokerUnavailable, DatabaseReadOnly
from restaurant_system.logger import get_logger, reason
from restaurant_system.messaging.broker import Broker, Publisher
from restaurant_system.messaging.postgres import PostgresBroker
from restaurant_system.messaging.rabbitmq import RabbitMQBroker
from restaurant_system.messaging.relay import Relay
from restaurant_system.messaging.retry_policy import RetryPolicy
from restaurant_system.messaging.signature import Signer
from restaurant_system.shutdown import Shutdown

log = get_logger()

T = TypeVar("T")

EMBEDDED_POOL = ServerSettings()
GC_THRESHOLD = 20_000  # allocations that start a collection; 700 by default


@dataclass(frozen=True, slots=True)
class Runtime:
    """A running service's name and settings, its database and broker, and its stop request."""

    service: str
    settings: Settings
    database: Database
    broker: Broker
    retry_policy: RetryPolicy
    shutdown: Shutdown

    def report_started(self) -> None:
        """Log that the service has started; a stop request no longer cancels it."""
        report_started(self.service, self.shutdown)


@contextlib.asynccontextmanager
async def open_runtime(
    settings: Settings, service: str, shutdown: Shutdown, *, cooks: int = 0
) -> AsyncIterator[Runtime]:
    """Open the database, bring its schema up to date, and connect to the broker.

    If the server does not allow the connections that the service, with this many simulated `cooks`,
    may open, that is logged.

    Raises `StartupError` when the database is not reachable within `startup_timeout`.
    """
    tune_garbage_collector()
    async with (
        traced(settings, service),
        migrated_database(settings, service) as database,
        _closing(_broker(settings, database)) as broker,
    ):
        needed = connections_needed(settings, cooks=cooks)[service]

        async def check_limit() -> None:
            async with database.connection() as connection:
                await check_connection_limit(connection, service, needed)

        await retry_while_unavailable(check_limit, settings)
        await connect_broker(broker)
        policy = RetryPolicy(settings.delivery)
        yield Runtime(service, settings, database, broker, policy, shutdown)


def connections_needed(settings: Settings, *, cooks: int = 1) -> dict[str, int]:
    """Return how many connections to the primary each service may have open at once.

    Of a service with several processes it is the sum. Those through a pooler are left out, because
    it decides about their number. Each pool has one more for pings, and each
    consumer of the broker in PostgreSQL has its own. `cooks` are those of `up`.
    """
    pool = settings.database or EMBEDDED_POOL
    reader_pools = 2  # of a process that opens `read_only_database`
    stations = settings.kitchen_display.stations
    # Dead letters are locked by consumers: one erases them, one serves the requests of managers.
    dead_letters = 2
    order_processes = settings.order_service.processes

    def needed(*, pools: int = 1, consumers: int = 0) -> int:
        if pool.direct_url is not None:  # the pools are those of the pooler
            pools = 0
        return pools * (pool.pool_max + 1) + (consumers if settings.rabbitmq is None else 0)

    return {
        "order-service": needed(pools=order_processes, consumers=order_processes * dead_letters),
        "kitchen-worker": needed(consumers=1),
        "kitchen-display": needed(consumers=stations),
        "tracking-service": needed(pools=settings.tracking_service.processes * reader_pools),
        "notification-subscriber": needed(consumers=1) if settings.rabbitmq is None else 0,
        "up": needed(
            pools=reader_pools, consumers=stations + cooks + dead_letters + 1
        ),  # subscriber
    }


@contextlib.asynccontextmanager
async def broker_alone(settings: Settings, service: str) -> AsyncIterator[Broker]:
    """Open the broker without connecting it, and the database only if the broker is in it."""
    if settings.rabbitmq is None:
        async with migrated_database(settings, service) as database:
            yield PostgresBroker(database)
    else:
        async with _closing(
            RabbitMQBroker(settings.rabbitmq, settings.delivery.retry_delays)
        ) as broker:
            yield broker


@contextlib.asynccontextmanager
async def database_and_broker(
    settings: Settings, service: str
) -> AsyncIterator[tuple[Database, Broker]]:
    """Open the database with its schema up to date, and the broker without connecting it."""
    async with (
        migrated_database(settings, service) as database,
        _closing(_broker(settings, database)) as broker,
    ):
        yield database, broker


def report_started(service: str, shutdown: Shutdown) -> None:
    """Log that a service has started; from now on a stop request no longer cancels it."""
    shutdown.stop_cancelling()
    log.info("service_started", message=f"{service} started.")


async def connect_broker(broker: Broker) -> None:
    """Connect to the broker; an unreachable one is logged, because services start without it."""
    try:
        await broker.connect()
    except BrokerUnavailable as error:
        log.warning(error.action, message=f"{reason(error)}; starting without it.")


@contextlib.asynccontextmanager
async def _closing(broker: Broker) -> AsyncIterator[Broker]:
    try:
        yield broker
    finally:
        await broker.close()


@contextlib.asynccontextmanager
async def open_database(settings: Settings, service: str) -> AsyncIterator[Database]:
    """Open the configured PostgreSQL, or the embedded one."""
    async with contextlib.AsyncExitStack() as stack:
        if settings.database is None:
            starting = in_thread(embedded.postgres(settings.data_dir))
            dsn = await stack.enter_async_context(starting)
            advice = embedded.advice(settings.data_dir)
            database = Database(dsn, EMBEDDED_POOL, application_name=service, advice=advice)
        else:
            database = Database(
                settings.database.dsn(), settings.database, application_name=service
            )
        async with _opened(database, settings):
            yield database


@contextlib.asynccontextmanager
async def migrated_database(settings: Settings, service: str) -> AsyncIterator[Database]:
    """Open the database, and bring its schema up to date."""
    async with open_database(settings, service) as database:
        await retry_while_unavailable(lambda: migrations.migrate(database), settings)
        yield database


async def retry_while_unavailable(step: Callable[[], Awaitable[T]], settings: Settings) -> T:
    """Repeat a step of the service's start while PostgreSQL is lost, up to `startup_timeout`.

    Returns the result of the step.

    Raises `DatabaseUnavailable` afterwards, and at once if the server is read-only.
    """
    async for attempt in stamina.retry_context(
        on=lambda error: is_temporary(error) and not isinstance(error, DatabaseReadOnly),
        attempts=None,
        timeout=settings.startup_timeout,
        wait_max=5.0,
    ):
        with attempt:
            result = await step()
    return result


@contextlib.asynccontextmanager
async def read_only_database(runtime: Runtime) -> AsyncIterator[Database | Replicas]:
    """Open the database for reading only: the replicas, if there are any, and the primary.

    A replica that is unreachable does not delay the start.
    """
    settings = runtime.settings
    async with _opened(runtime.database.read_only(), settings) as primary:
        servers = settings.database.replica_servers() if settings.database else {}
        if settings.database is None or not servers:
            yield primary
            return
        pools = {
            address: Database(
                server.dsn(),
                server,
                application_name=runtime.service,
                read_only=True,
                name=f"the replica {address}",
            )
            for address, server in servers.items()
        }
        replicas = Replicas(primary, pools, max_lag=settings.database.max_lag)
        try:
            async with background_task(replicas.run()):
                yield replicas
        finally:
            await replicas.close()


@contextlib.asynccontextmanager
async def _opened(database: Database, settings: Settings) -> AsyncIterator[Database]:
    """Connect a database and monitor it; if the monitor fails, so does the block."""
    await database.connect_within(settings.startup_timeout)
    try:
        async with background_task(database.monitor()):
            yield database
    finally:
        await database.close()


def _broker(settings: Settings, database: Database) -> Broker:
    if settings.rabbitmq is None:
        return PostgresBroker(database)
    return RabbitMQBroker(settings.rabbitmq, settings.delivery.retry_delays)


@contextlib.asynccontextmanager
async def running_relay(runtime: Runtime, publisher: Publisher) -> AsyncIterator[Relay]:
    """Publish committed outbox rows to the broker for the duration of the block."""
    relay = Relay(runtime.database, publisher, runtime.settings.outbox, signer(runtime.settings))
    async with relay.running():
        yield relay


def signer(settings: Settings) -> Signer:
    """Return the signer of messages with the configured keys."""
    return Signer(settings.signing.keys, settings.signing.max_update_age)


@contextlib.asynccontextmanager
async def in_thread(blocking: AbstractContextManager[T]) -> AsyncIterator[T]:
    """Enter and leave a blocking context manager in a thread.

    A cancellation while it is entered takes effect afterwards: it is left again.
    """
    entering = asyncio.create_task(asyncio.to_thread(blocking.__enter__))
    is_cancelled = await _ended(entering)
    value = entering.result()
    try:
        if is_cancelled:
            raise asyncio.CancelledError
        yield value
    finally:
        leaving = asyncio.create_task(asyncio.to_thread(blocking.__exit__, None, None, None))
        await _ended(leaving)
        leaving.result()


async def _ended(task: "asyncio.Task[Any]") -> bool:
    """Wait for a task to end; return whether the caller was cancelled meanwhile."""
    is_cancelled = False
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError:
            is_cancelled = True
    return is_cancelled


@contextlib.asynccontextmanager
async def background_task(task: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run a task for the duration of the block; if the task fails, so does the block."""
    async with asyncio.TaskGroup() as group:
        running = group.create_task(task)
        try:
            yield
        finally:
            await cancel(running)


def tune_garbage_collector() -> None:
    """Exclude imported objects from garbage collection, and collect less often.

    With the default threshold, hundreds of orders per second start collections all the time, and
    each of them delays the orders in progress.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD)
