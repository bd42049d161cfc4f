"""Applying migrations: once, in order, under a lock, each as a whole or not at all."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator
from decimal import Decimal
from importlib import resources
from urllib.parse import urlsplit

import asyncpg
import pytest

from restaurant_system.config import DatabaseSettings
from restaurant_system.database import migrations, reconciliation_queries
from restaurant_system.database.connection import Database
from restaurant_system.database.connection_factory import UnpooledConnection
from tests.conftest import open_database
from tests.support.logs import capture_logs
from tests.support.postgres_server import Postgres
from tests.support.waiting import eventually

FOLDER = resources.files("restaurant_system.database").joinpath("migrations")
FILES = sorted(file.name for file in FOLDER.iterdir())
LEDGER = """
CREATE TABLE schema_migrations (
    name text PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now()
)
"""

# As the release before the optional fields of orders wrote it.
ORDERS_BEFORE = """
WITH stored AS (
    INSERT INTO orders (number, business_date, customer_name, type, table_number,
                        delivery_address, notes, total_amount, priority)
    VALUES ('ORD_20241216_{0}', '2024-12-16', '{1}', 'takeout', NULL, NULL, 'hot', 999.99, 10),
           ('ORD_20241217_{0}', '2024-12-17', '{1}', 'dine_in', 100, NULL, NULL, 50, 5),
           ('ORD_20241218_{0}', '2024-12-18', '{1}', 'delivery', NULL, '12 Row Str', NULL, 1, 1)
    RETURNING id, total_amount
)
INSERT INTO order_items (order_id, name, quantity, price)
SELECT id, 'Soup', 1, total_amount FROM stored
"""
STORED_BEFORE = """
SELECT number, customer_name, type, table_number, delivery_address, orders.notes, total_amount,
       priority, name, quantity, price
FROM orders JOIN order_items ON order_id = orders.id ORDER BY orders.id
"""


@pytest.fixture
async def empty_dsn(postgres_server: Postgres) -> str:
    """Return the DSN of an empty database."""
    return postgres_server.dsn(await postgres_server.create_database())


@pytest.fixture
async def empty(empty_dsn: str) -> AsyncIterator[Database]:
    """Open a database without a schema."""
    async with open_database(empty_dsn) as database:
        yield database


async def tables(database: Database) -> set[str]:
    """Return the names of the tables."""
    async with database.connection() as connection:
        rows = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    return {row["tablename"] for row in rows}


async def test_empty_database_gets_every_migration_in_order(empty: Database) -> None:
    applied = await migrations.migrate(empty)

    assert applied == FILES
    assert applied[0].startswith("001_")
    assert {"orders", "order_items", "order_status_log", "workers"} <= await tables(empty)


async def test_applied_migration_is_not_applied_again(empty: Database) -> None:
    await migrations.migrate(empty)

    assert await migrations.migrate(empty) == []


async def test_pending_migrations_are_listed_without_a_change(empty: Database) -> None:
    assert await migrations.pending(empty) == FILES
    assert await tables(empty) == set()

    await migrations.migrate(empty)

    assert await migrations.pending(empty) == []


async def test_older_schema_gets_the_missing_migration_only(empty: Database) -> None:
    *older, last = FILES
    async with empty.connection() as connection:
        await connection.execute(LEDGER)
        for name in older:
            await connection.execute(FOLDER.joinpath(name).read_text(encoding="utf-8"))
            await connection.execute("INSERT INTO schema_migrations VALUES ($1)", name)

    assert await migrations.pending(empty) == [last]
    assert await migrations.migrate(empty) == [last]


async def test_orders_of_the_release_before_stay_and_its_processes_insert_more(
    empty: Database,
) -> None:
    """A database is upgraded in place, while processes of the release before still use it."""
    older = [name for name in FILES if name < "024"]
    async with empty.connection() as connection:
        await connection.execute(LEDGER)
        for name in older:
            await connection.execute(FOLDER.joinpath(name).read_text(encoding="utf-8"))
            await connection.execute("INSERT INTO schema_migrations VALUES ($1)", name)
        await connection.execute(ORDERS_BEFORE.format("001", "Ada  Lovelace"))
        before = await connection.fetch(STORED_BEFORE)

    await migrations.migrate(empty)

    async with empty.connection() as connection:
        assert await connection.fetch(STORED_BEFORE) == before
        await connection.execute(ORDERS_BEFORE.format("002", "Grace"))
        await connection.execute("UPDATE orders SET status = 'cancelled'")
        assert len(await connection.fetch(STORED_BEFORE)) == 2 * len(before)
        bodies = await reconciliation_queries.order_bodies(connection, [1])
    assert [(body.customer_name, body.total_amount) for body in bodies] == [
        ("Ada  Lovelace", Decimal("999.99"))
    ]


async def test_schema_of_a_newer_release_is_left_unchanged(empty: Database) -> None:
    """A process of the release before starts after a rollback."""
    await migrations.migrate(empty)
    async with empty.connection() as connection:
        await connection.execute("INSERT INTO schema_migrations VALUES ('999_later.sql')")

    assert await migrations.pending(empty) == []
    assert await migrations.migrate(empty) == []


async def test_processes_that_start_concurrently_apply_each_migration_once(
    empty_dsn: str,
) -> None:
    async with contextlib.AsyncExitStack() as stack:
        pools = [await stack.enter_async_context(open_database(empty_dsn)) for _ in range(4)]

        applied = await asyncio.gather(*(migrations.migrate(pool) for pool in pools))

        assert sorted(itertools.chain(*applied)) == FILES


async def test_failed_migration_changes_nothing_and_can_be_repeated(empty: Database) -> None:
    async with empty.connection() as connection:
        await connection.execute("CREATE TABLE workers (someone text)")

    with pytest.raises(asyncpg.DuplicateTableError):
        await migrations.migrate(empty)

    assert await migrations.pending(empty) == FILES[3:]

    async with empty.connection() as connection:
        await connection.execute("DROP TABLE workers")
    assert await migrations.migrate(empty) == FILES[3:]


# What another session may hold: the lock of a process that migrates, or that of a long report.
LOCKS = {
    "migrating": f"SELECT pg_advisory_lock({migrations.LOCK})",
    "reading": "CREATE TABLE IF NOT EXISTS schema_migrations (name text PRIMARY KEY, applied_at"
    " timestamptz NOT NULL DEFAULT now()); BEGIN; LOCK TABLE schema_migrations",
}


@pytest.fixture
async def hasty(empty_dsn: str) -> AsyncIterator[Database]:
    """Open an empty database with short timeouts on the server and in the client."""
    name = urlsplit(empty_dsn).path.removeprefix("/")
    administrator = await asyncpg.connect(empty_dsn)
    for timeout in ("lock_timeout", "statement_timeout", "idle_in_transaction_session_timeout"):
        await administrator.execute(f"ALTER DATABASE {name} SET {timeout} = '200ms'")
    await administrator.close()
    settings = DatabaseSettings(command_timeout=0.2)
    database = Database(empty_dsn, settings, application_name="test")
    await database.connect()
    yield database
    await database.close()


@pytest.fixture(params=list(LOCKS.values()), ids=list(LOCKS))
async def holder(
    request: pytest.FixtureRequest, empty_dsn: str
) -> AsyncIterator[UnpooledConnection]:
    """Open a connection that holds a lock that a migration needs."""
    timeouts = ("lock_timeout", "statement_timeout", "idle_in_transaction_session_timeout")
    unlimited = {**dict.fromkeys(timeouts, "0"), "application_name": "monthly report"}
    connection = await asyncpg.connect(empty_dsn, server_settings=unlimited)
    await connection.execute(request.param)
    yield connection
    connection.terminate()


async def test_migration_waits_for_a_lock_beyond_all_timeouts_and_logs_its_holder(
    hasty: Database, holder: UnpooledConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log lines name the process and application that hold the lock, at growing intervals."""
    monkeypatch.setattr(migrations, "MIN_LOG_INTERVAL", 0.1)
    pid, is_in_transaction = holder.get_server_pid(), holder.is_in_transaction()
    monkeypatch.setattr(asyncpg.Connection, "get_server_pid", lambda _: 1)  # as through PgBouncer

    with capture_logs() as logs:
        migrating = asyncio.create_task(migrations.migrate(hasty))
        await asyncio.sleep(1)
        assert not migrating.done()
        await holder.close()

        assert await migrating == FILES

    said = [line["message"] for line in logs if line["event"] == "migration_waiting"]
    assert len(said) == 3  # after 0.1, 0.3 and 0.7 s
    assert all(f"session {pid} (monthly report)" in message for message in said)
    assert {"in a transaction since" in message for message in said} == {is_in_transaction}


@pytest.mark.parametrize("holder", [LOCKS["reading"]], indirect=True)
async def test_check_of_pending_migrations_waits_for_a_lock_beyond_all_timeouts(
    hasty: Database, holder: UnpooledConnection
) -> None:
    await holder.execute("COMMIT; SELECT pg_advisory_unlock_all()")
    await migrations.migrate(hasty)
    await holder.execute("BEGIN; LOCK TABLE schema_migrations")

    checking = asyncio.create_task(migrations.pending(hasty))
    await asyncio.sleep(0.5)
    assert not checking.done()
    await holder.close()

    assert await checking == []


async def test_migration_cancelled_while_waiting_ends_at_once(
    empty: Database, holder: UnpooledConnection
) -> None:
    """The statement of the cancelled migration ends in PostgreSQL too."""
    migrating = asyncio.create_task(migrations.migrate(empty))
    await eventually(lambda: waits_for(holder), doing="for the migration to wait")

    migrating.cancel()
    async with asyncio.timeout(2):
        with pytest.raises(asyncio.CancelledError):
            await migrating

    assert not await waits_for(holder)
    assert await tables(empty) <= {"schema_migrations"}


async def waits_for(holder: UnpooledConnection) -> bool:
    """Return whether a session waits for a lock of the holder."""
    query = "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)"
    return bool(await holder.fetchval(query))
