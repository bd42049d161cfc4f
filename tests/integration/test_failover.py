"""The primary server is lost, and a synchronous replica is promoted."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator

import pytest
from structlog.testing import capture_logs

from restaurant_system.app.runtime import background_task
from restaurant_system.config import DatabaseSettings
from restaurant_system.database import migrations
from restaurant_system.database.connection import Database
from restaurant_system.errors import DatabaseReadOnly, DatabaseUnavailable
from tests.support.database import monitored
from tests.support.orders import make_order
from tests.support.postgres_server import Postgres, Replica
from tests.support.services import make_order_service
from tests.support.waiting import eventually

RECOVERY = 10  # s until orders are accepted again
STREAMING = "SELECT EXISTS (SELECT FROM pg_stat_replication WHERE sync_state = 'sync')"
NUMBERS = "SELECT number FROM orders"


@pytest.fixture
def pair() -> Iterator[tuple[Postgres, Replica]]:
    """Run a primary server and a replica."""
    with contextlib.ExitStack() as stack:
        primary = stack.enter_context(contextlib.closing(Postgres()))
        yield primary, stack.enter_context(contextlib.closing(Replica(primary)))


def on(*servers: Postgres) -> Database:
    """Return a database on several servers."""
    settings = DatabaseSettings.model_validate(
        {
            "hosts": [f"127.0.0.1:{server.port}" for server in servers],
            "user": "postgres",
            "database": "postgres",
            "pool_max": 4,
            "ping_interval": 0.5,
        }
    )
    return Database(settings.dsn(), settings, application_name="test")


async def replicate_synchronously(primary: Postgres) -> None:
    """Let commits wait for the replica, once it is connected."""
    async with monitored(on(primary)) as database:
        await migrations.migrate(database)
        await primary.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
        await primary.execute("SELECT pg_reload_conf()")

        async def is_synchronous() -> bool:
            async with database.connection() as connection:
                return bool(await connection.fetchval(STREAMING))

        await eventually(is_synchronous, doing="for the replica")


class Load:
    """Places orders without a pause, and remembers the numbers of the accepted ones."""

    def __init__(self, database: Database) -> None:
        self._orders = make_order_service(database)
        self.accepted: list[str] = []
        self._refused = asyncio.Event()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Place orders for the duration of the block."""
        async with contextlib.AsyncExitStack() as stack:
            # Formatting a traceback for each refused order would take seconds on a busy machine.
            stack.enter_context(capture_logs())
            for _ in range(4):
                await stack.enter_async_context(background_task(self._place()))
            yield

    async def wait_for_orders(self, count: int = 20) -> None:
        """Wait until `count` further orders are accepted."""
        target = len(self.accepted) + count

        async def are_accepted() -> bool:
            return len(self.accepted) >= target

        await eventually(are_accepted, doing="for orders", seconds=RECOVERY)

    async def wait_for_refusal(self) -> None:
        """Wait until an order is refused, because the database is unavailable."""
        await asyncio.wait_for(self._refused.wait(), RECOVERY)

    async def _place(self) -> None:
        while True:
            try:
                placed = await self._orders.place(make_order(), request_id="r", key=None)
            except DatabaseUnavailable:
                self._refused.set()
                await asyncio.sleep(0.02)
            else:
                self.accepted.append(placed.order_number)


@pytest.mark.parametrize("is_silent", [False, True], ids=["killed", "silent"])
async def test_promotion_under_load_keeps_every_accepted_order(
    pair: tuple[Postgres, Replica], *, is_silent: bool
) -> None:
    """A silent primary continues to run after the promotion, but is not written to any more."""
    primary, replica = pair
    await replicate_synchronously(primary)
    async with monitored(on(replica, primary)) as database:
        load = Load(database)
        async with load.running():
            await load.wait_for_orders()
            primary.pause() if is_silent else primary.kill()
            lost = time.monotonic()
            await load.wait_for_refusal()
            await asyncio.to_thread(replica.promote)
            await load.wait_for_orders(1)
            assert time.monotonic() - lost < RECOVERY
            if is_silent:
                primary.resume()
            await load.wait_for_orders()

    async with monitored(on(replica)) as promoted, promoted.connection() as connection:
        stored = [row["number"] for row in await connection.fetch(NUMBERS)]
    assert len(set(load.accepted)) == len(load.accepted)
    assert set(load.accepted) <= set(stored)


async def test_pool_uses_the_server_that_takes_writes(pair: tuple[Postgres, Replica]) -> None:
    """Neither a replica nor a silent host before it is used, and a reader reads the primary."""
    primary, replica = pair
    with contextlib.closing(Postgres()) as silent:
        silent.pause()
        database = on(silent, replica, primary)
        async with monitored(database) as writer, monitored(writer.read_only()) as reader:
            for pool in (writer, reader):
                async with pool.connection() as connection:
                    assert await connection.fetchval("SHOW port") == str(primary.port)
        silent.resume()

    with pytest.raises(DatabaseReadOnly, match="no server accepts writes"):
        await on(replica).connect()
    primary.kill()
    with pytest.raises(DatabaseReadOnly, match="no server accepts writes"):
        await on(primary, replica).connect()
