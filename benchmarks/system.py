"""Run the system under test: servers for the whole run, services for each measurement."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

import aiormq
import asyncpg

from benchmarks.driving import drive
from benchmarks.processes import Command, Failed, running
from benchmarks.servers import BareRabbitMQ, DurablePostgres
from restaurant_system.database.connection_factory import UnpooledConnection
from restaurant_system.messaging import topology
from tests.support.processes import free_port

PREFETCH = 1000
ARRIVAL_TIMEOUT = 600.0  # s
POLL_INTERVAL = 0.1  # s
UNCHANGED: Mapping[str, str] = {}

COOK_ALL = "UPDATE orders SET status = 'cooking', processed_by = 'anna' WHERE status = 'received'"
FINISH_ALL = """
UPDATE orders SET status = 'ready', completed_at = now(), estimated_completion = NULL
WHERE status = 'cooking'
"""


class Environment:
    """The database, the queues and the services of one measurement."""

    def __init__(self, stack: contextlib.AsyncExitStack, dsn: str, amqp: str, folder: Path) -> None:
        self.dsn = dsn
        self.amqp = amqp
        self.folder = folder
        self._stack = stack
        self._environment = {"RESTAURANT_DATABASE__URL": dsn, "RESTAURANT_RABBITMQ__URL": amqp}

    async def order_service(
        self, processes: int = 1, *, settings: Mapping[str, str] = UNCHANGED
    ) -> tuple[Command, int]:
        """Start the order service with settings from the environment; return it and its port."""
        return await self._serving("order-service", processes, settings)

    async def tracking_service(
        self, processes: int = 1, *, settings: Mapping[str, str] = UNCHANGED
    ) -> tuple[Command, int]:
        """Start the tracking service, as `order_service` does."""
        return await self._serving("tracking-service", processes, settings)

    async def kitchen_worker(self, name: str) -> Command:
        """Start a worker without cooking time; wait until it has registered."""
        options = ("--worker-name", name, "--cooking-time-scale", "0", "--prefetch", str(PREFETCH))
        worker = await self.start("kitchen-worker", *options)
        await worker.wait_for_log("worker_registered")
        return worker

    async def start(self, *command: str, settings: Mapping[str, str] = UNCHANGED) -> Command:
        """Start a command of the product with settings from the environment."""
        environment = {**self._environment, **settings}
        return await self._stack.enter_async_context(
            running("restaurant_system", *command, folder=self.folder, environment=environment)
        )

    async def _serving(
        self, name: str, processes: int, settings: Mapping[str, str]
    ) -> tuple[Command, int]:
        port = free_port()
        options = ("--port", str(port), "--processes", str(processes))
        service = await self.start(name, *options, settings=settings)
        await service.wait_until_serving(port)
        return service, port

    async def sql(self) -> UnpooledConnection:
        """Return a new connection to the database of the measurement."""
        connection = await asyncpg.connect(self.dsn)
        self._stack.push_async_callback(connection.close)
        return connection

    async def backlog(self, orders: int) -> int:
        """Place orders that wait in RabbitMQ; return the id of the first."""
        sql = await self.sql()
        first: int = await sql.fetchval("SELECT coalesce(max(id), 0) + 1 FROM orders")
        service, port = await self.order_service()
        await drive("place", port, "--count", orders)
        await self.wait_until_outbox_empty(sql)
        await service.stop()
        return first

    async def wait_until_outbox_empty(self, sql: UnpooledConnection) -> None:
        """Wait until all outbox messages are confirmed."""
        await until_false(sql, "SELECT EXISTS (SELECT FROM outbox)")

    async def waiting_orders(self) -> int:
        """Count the orders that wait in RabbitMQ."""
        names = [queue.name for queue in topology.QUEUES if queue.max_priority]
        async with channel(self.amqp) as amqp_channel:
            declared = [await amqp_channel.queue_declare(name, passive=True) for name in names]
        return sum(queue.message_count or 0 for queue in declared)


class SystemUnderTest:
    """PostgreSQL with `fsync`, RabbitMQ without its statistics, and a migrated, empty database."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._numbers = itertools.count(1)
        self._template = ""
        self.postgres = DurablePostgres()
        try:
            self.rabbitmq = BareRabbitMQ()
            self.rabbitmq.start()
        except BaseException:
            self.postgres.close()
            raise

    def close(self) -> None:
        """Stop the servers and delete their data."""
        self.rabbitmq.close()
        self.postgres.close()

    @property
    def amqp(self) -> str:
        """The URL of RabbitMQ."""
        return self.rabbitmq.url("%2F")

    @contextlib.asynccontextmanager
    async def database(self) -> AsyncIterator[str]:
        """Create an empty, migrated database for the block, and yield its DSN."""
        if not self._template:
            self._template = await self._migrated()
        name = await self.postgres.create_database(self._template)
        try:
            yield self.postgres.dsn(name)
        finally:
            sql = await asyncpg.connect(self.postgres.dsn("postgres"))
            await sql.execute(f"DROP DATABASE {name} WITH (FORCE)")
            await sql.close()

    @contextlib.asynccontextmanager
    async def environment(self, dsn: str | None = None) -> AsyncIterator[Environment]:
        """Run a measurement on empty queues and an empty database, or a given one.

        Its services are stopped at the end. In a given database all orders are finished then,
        because the next measurement empties the queues.
        """
        async with contextlib.AsyncExitStack() as stack:
            used_dsn = await stack.enter_async_context(self.database()) if dsn is None else dsn
            await self._clear_queues()
            await self._checkpoint(used_dsn)
            yield Environment(stack, used_dsn, self.amqp, self._subfolder())
        if dsn is not None:
            await self._do(dsn, COOK_ALL, FINISH_ALL, "VACUUM ANALYZE")

    async def _migrated(self) -> str:
        name = await self.postgres.create_database()
        environment = {"RESTAURANT_DATABASE__URL": self.postgres.dsn(name)}
        async with running(
            *("restaurant_system", "migrate"), folder=self._subfolder(), environment=environment
        ) as migrate:
            await migrate.wait_until_ended()
        return name

    async def _clear_queues(self) -> None:
        async with channel(self.amqp) as amqp_channel:
            for queue in topology.QUEUES:
                await amqp_channel.queue_delete(queue.name)

    async def _checkpoint(self, dsn: str) -> None:
        """Write dirty pages to disk now rather than during the measurement."""
        await self._do(dsn, "CHECKPOINT")

    async def _do(self, dsn: str, *statements: str) -> None:
        sql = await asyncpg.connect(dsn)
        for statement in statements:
            await sql.execute(statement)
        await sql.close()

    def _subfolder(self) -> Path:
        folder = self._folder / str(next(self._numbers))
        folder.mkdir()
        return folder


async def until_false(sql: UnpooledConnection, query: str, *arguments: object) -> None:
    """Poll until the query returns false; raise `Failed` after `ARRIVAL_TIMEOUT`."""
    try:
        async with asyncio.timeout(ARRIVAL_TIMEOUT):
            while await sql.fetchval(query, *arguments):  # noqa: ASYNC110 - tables have no events
                await asyncio.sleep(POLL_INTERVAL)
    except TimeoutError:
        raise Failed(f"still true after {ARRIVAL_TIMEOUT:g} s: {query}") from None


@contextlib.asynccontextmanager
async def channel(amqp: str) -> AsyncIterator[aiormq.abc.AbstractChannel]:
    """Open a channel to RabbitMQ for the block."""
    connection = await aiormq.connect(amqp)
    try:
        yield await connection.channel()
    finally:
        await connection.close()


async def stop(commands: Sequence[Command]) -> None:
    """Stop several services concurrently, with SIGTERM."""
    await asyncio.gather(*(each.stop() for each in commands))
