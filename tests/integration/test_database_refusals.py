"""A server that answers but refuses: what `Database` reports, and until when."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from urllib.parse import quote, urlsplit

import pytest

from restaurant_system.config import ServerSettings
from restaurant_system.database.connection import Database
from restaurant_system.errors import (
    DatabaseReadOnly,
    DatabaseRefuses,
    DatabaseUnavailable,
    StartupError,
)
from tests.support.postgres_server import Postgres
from tests.support.waiting import eventually

SETTINGS = ServerSettings(pool_max=3, ping_interval=0.1, ping_timeout=20)
TABLES = "orders, order_items, order_status_log, outbox"


@contextlib.asynccontextmanager
async def monitored(database: Database) -> AsyncIterator[Database]:
    """Open a database whose monitor runs."""
    await database.connect()
    async with asyncio.TaskGroup() as group:
        monitoring = group.create_task(database.monitor())
        try:
            yield database
        finally:
            monitoring.cancel()
    await database.close()


@pytest.fixture
async def limited_user(database: Database, dsn: str) -> AsyncIterator[str]:
    """Return the DSN of the database of the test for a user whose rights a test may change."""
    async with database.connection() as admin:
        name = "limited_user_" + await admin.fetchval("SELECT current_database()")
        await admin.execute(f"CREATE ROLE {name} LOGIN")
        await admin.execute(f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {name}")
    yield dsn.replace("postgres@", f"{name}@")
    async with database.connection() as admin:
        await admin.execute(f"DROP OWNED BY {name}; DROP ROLE {name}")


async def write(database: Database) -> None:
    """Execute a statement that writes and matches no row."""
    async with database.connection() as connection:
        await connection.execute("DELETE FROM outbox WHERE id = 0")


async def can_write(database: Database) -> bool:
    """Return whether a write succeeds."""
    try:
        await write(database)
    except DatabaseUnavailable:
        return False
    return True


async def is_healthy(database: Database) -> bool:
    """Return whether the database reports no failure."""
    try:
        await database.ping()
    except DatabaseUnavailable:
        return False
    return database.refused_connections is None


async def test_connections_that_cannot_write_are_replaced(dsn: str) -> None:
    """One failed write is enough; dedicated connections are replaced too."""
    database = Database(dsn, SETTINGS, application_name="stale")
    async with monitored(database), contextlib.AsyncExitStack() as stack:
        dedicated = await database.dedicated()
        for _ in range(SETTINGS.pool_max):
            connection = await stack.enter_async_context(database.connection())
            await connection.execute("SET default_transaction_read_only = on")
        await stack.aclose()

        with pytest.raises(DatabaseReadOnly, match="PostgreSQL is read-only: "):
            await write(database)

        await eventually(lambda: can_write(database), doing="for writable connections", seconds=5)
        assert dedicated.is_closed()
        assert await is_healthy(database)


async def test_read_only_server_is_refused_except_by_a_read_only_pool(
    limited_user: str, database: Database
) -> None:
    name = urlsplit(limited_user).username
    async with database.connection() as admin:
        await admin.execute(f"ALTER ROLE {name} SET default_transaction_read_only = on")

    writer = Database(limited_user, SETTINGS, application_name="writer")
    with pytest.raises(DatabaseReadOnly):
        await writer.connect()
    async with monitored(writer.read_only()) as reader:
        assert await is_healthy(reader)


async def test_read_only_pool_connects_with_a_url_for_a_writable_server(dsn: str) -> None:
    """The documented URL for several hosts works for it too."""
    database = Database(f"{dsn}?target_session_attrs=read-write", SETTINGS, application_name="x")
    async with monitored(database), monitored(database.read_only()) as reader:
        assert await is_healthy(reader)


async def test_refused_writes_are_reported_until_they_succeed(
    limited_user: str, database: Database
) -> None:
    """Reads still succeed."""
    name = urlsplit(limited_user).username
    async with monitored(Database(limited_user, SETTINGS, application_name="refused")) as refused:
        await write(refused)
        async with database.connection() as admin:
            await admin.execute(f"REVOKE INSERT, DELETE ON {TABLES} FROM {name}")

        with pytest.raises(DatabaseRefuses, match="PostgreSQL denies permission: ") as refusal:
            await write(refused)

        assert refusal.value.reason == "PostgreSQL denies permission"
        await asyncio.sleep(5 * SETTINGS.ping_interval)
        assert not await is_healthy(refused)
        async with refused.connection() as connection:
            assert await connection.fetchval("SELECT count(*) FROM orders") == 0

        async with database.connection() as admin:
            await admin.execute(f"GRANT INSERT, DELETE ON {TABLES} TO {name}")
        await eventually(lambda: is_healthy(refused), doing="for writes to succeed", seconds=5)


async def test_test_writes_are_rolled_back(dsn: str, database: Database) -> None:
    statement = "DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = 'disk_full'; END $$"
    async with monitored(Database(dsn, SETTINGS, application_name="doubtful")) as doubtful:
        with pytest.raises(DatabaseRefuses, match="The disk of PostgreSQL is full"):
            async with doubtful.connection() as connection:
                await connection.execute(statement)
        await eventually(lambda: is_healthy(doubtful), doing="for a write to succeed", seconds=5)

    async with database.connection() as connection:
        for table in TABLES.split(", "):
            assert await connection.fetchval(f"SELECT count(*) FROM {table}") == 0  # noqa: S608


async def test_refused_connections_are_reported_until_one_is_accepted(
    limited_user: str, database: Database
) -> None:
    """Open connections keep working: the database is degraded."""
    name = urlsplit(limited_user).username
    async with monitored(Database(limited_user, SETTINGS, application_name="full")) as full:
        async with full.connection() as inside:
            await asyncio.sleep(3 * SETTINGS.ping_interval)  # the connection for pings is open
            async with database.connection() as admin:
                await admin.execute(f"ALTER ROLE {name} CONNECTION LIMIT 1")
            with pytest.raises(DatabaseRefuses, match="PostgreSQL has no connection free"):
                await full.dedicated()
            await asyncio.sleep(5 * SETTINGS.ping_interval)

            assert full.refused_connections is not None
            assert await inside.fetchval("SELECT 1") == 1

        async with database.connection() as admin:
            await admin.execute(f"ALTER ROLE {name} CONNECTION LIMIT -1")
        await eventually(lambda: is_healthy(full), doing="for a connection", seconds=5)


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
async def test_database_that_is_not_utf_8_is_refused(
    postgres_server: Postgres, encoding: str
) -> None:
    """The error has a command that creates a suitable database."""
    name = f"Tony's {encoding}"
    await postgres_server.rule(
        f"CREATE DATABASE \"{name}\" ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0"
    )
    dsn = postgres_server.dsn(quote(name))
    with pytest.raises(StartupError, match=f"encoding {encoding}") as error:
        await Database(dsn, SETTINGS, application_name="refused").connect_within(600)

    (command,) = re.findall("CREATE DATABASE .* template0", str(error.value))
    await postgres_server.rule(command)
    successor = postgres_server.dsn(quote(f"{name}_utf8"))
    async with monitored(Database(successor, SETTINGS, application_name="accepted")) as accepted:
        assert await is_healthy(accepted)
    for each in (name, f"{name}_utf8"):
        await postgres_server.drop_database(f'"{each}"')
