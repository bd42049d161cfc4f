"""PostgreSQL refuses operations: `Database` reports it, and recovers by itself."""

import asyncio
import contextlib
import re
from urllib.parse import quote, urlsplit

import asyncpg
import pytest

from restaurant_system.config import ServerSettings
from restaurant_system.database.connection import Database
from restaurant_system.errors import (
    DatabaseReadOnly,
    DatabaseRefuses,
    DatabaseUnavailable,
    StartupError,
)
from tests.support.database import execute, fails, monitored, succeeds
from tests.support.postgres_server import Postgres
from tests.support.waiting import eventually

SETTINGS = ServerSettings(pool_max=3, ping_interval=0.1, ping_timeout=20)
IMPATIENT = SETTINGS.model_copy(update={"ping_timeout": 0.5, "command_timeout": 0.5})
WRITE = "DELETE FROM outbox WHERE id = 0"  # changes no row
TABLES = "orders, order_items, order_status_log, outbox"


async def is_healthy(database: Database) -> bool:
    """Return whether `ping` succeeds and no connection is refused."""
    try:
        await database.ping()
    except DatabaseUnavailable:
        return False
    return database.refused_connections is None


async def test_pool_and_dedicated_connections_that_cannot_write_are_replaced(dsn: str) -> None:
    database = Database(dsn, SETTINGS, application_name="stale")
    async with monitored(database), contextlib.AsyncExitStack() as stack:
        dedicated = await database.dedicated()
        for _ in range(SETTINGS.pool_max):
            connection = await stack.enter_async_context(database.connection())
            await connection.execute("SET default_transaction_read_only = on")
        await stack.aclose()

        with pytest.raises(DatabaseReadOnly, match="PostgreSQL is read-only: "):
            await execute(database, WRITE)

        await eventually(
            lambda: succeeds(database, WRITE), doing="for writable connections", seconds=5
        )
        assert dedicated.is_closed()
        assert await is_healthy(database)


async def test_read_only_server_is_accepted_only_by_a_reading_pool(
    limited_dsn: str, database: Database
) -> None:
    name = urlsplit(limited_dsn).username
    await execute(database, f"ALTER ROLE {name} SET default_transaction_read_only = on")

    writer = Database(limited_dsn, SETTINGS, application_name="writer")
    with pytest.raises(DatabaseReadOnly):
        await writer.connect()
    async with monitored(writer.read_only()) as reader:
        assert await is_healthy(reader)


async def test_reading_pool_connects_with_a_url_for_writable_servers(dsn: str) -> None:
    database = Database(f"{dsn}?target_session_attrs=read-write", SETTINGS, application_name="x")
    async with monitored(database), monitored(database.read_only()) as reader:
        assert await is_healthy(reader)


async def test_missing_privilege_is_reported_until_writes_succeed(
    limited_dsn: str, database: Database
) -> None:
    name = urlsplit(limited_dsn).username
    async with monitored(Database(limited_dsn, SETTINGS, application_name="refused")) as refused:
        await execute(refused, WRITE)
        await execute(database, f"REVOKE INSERT, DELETE ON {TABLES} FROM {name}")

        with pytest.raises(DatabaseRefuses, match="PostgreSQL denies permission: ") as refusal:
            await execute(refused, WRITE)

        assert refusal.value.reason == "PostgreSQL denies permission"
        await asyncio.sleep(5 * SETTINGS.ping_interval)
        assert not await is_healthy(refused)
        async with refused.connection() as connection:
            assert await connection.fetchval("SELECT count(*) FROM orders") == 0

        await execute(database, f"GRANT INSERT, DELETE ON {TABLES} TO {name}")
        await eventually(lambda: is_healthy(refused), doing="for writes to succeed", seconds=5)


async def test_retried_write_stores_nothing(dsn: str, database: Database) -> None:
    statement = "DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = 'disk_full'; END $$"
    async with monitored(Database(dsn, SETTINGS, application_name="refused")) as refused:
        with pytest.raises(DatabaseRefuses, match="The disk of PostgreSQL is full"):
            await execute(refused, statement)
        await eventually(lambda: is_healthy(refused), doing="for a write to succeed", seconds=5)

    async with database.connection() as connection:
        for table in TABLES.split(", "):
            assert await connection.fetchval(f"SELECT count(*) FROM {table}") == 0  # noqa: S608


async def test_refused_connections_are_reported_until_one_is_accepted(
    limited_dsn: str, database: Database
) -> None:
    name = urlsplit(limited_dsn).username
    async with monitored(Database(limited_dsn, SETTINGS, application_name="full")) as full:
        async with full.connection() as inside:
            await asyncio.sleep(3 * SETTINGS.ping_interval)  # the connection for pings is open
            await execute(database, f"ALTER ROLE {name} CONNECTION LIMIT 1")
            with pytest.raises(DatabaseRefuses, match="PostgreSQL has no connection free"):
                await full.dedicated()
            await asyncio.sleep(5 * SETTINGS.ping_interval)

            assert full.refused_connections is not None
            assert await inside.fetchval("SELECT 1") == 1

        await execute(database, f"ALTER ROLE {name} CONNECTION LIMIT -1")
        await eventually(lambda: is_healthy(full), doing="for a connection", seconds=5)


async def test_monitor_survives_an_error_of_the_connection_that_it_tests_statements_on(
    limited_dsn: str, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While new connections are refused, it tests statements on a pooled connection."""
    name = urlsplit(limited_dsn).username
    released = asyncio.Event()

    async def lose_connection(_: object, connection: asyncpg.Connection, **__: object) -> None:
        released.set()
        connection.terminate()
        raise asyncpg.ConnectionDoesNotExistError("connection was closed")

    async with monitored(Database(limited_dsn, SETTINGS, application_name="full")) as full:
        await execute(database, f"ALTER ROLE {name} CONNECTION LIMIT 1")
        with pytest.raises(DatabaseRefuses):
            await full.dedicated()
        with pytest.raises(DatabaseUnavailable):
            async with full.connection() as connection:
                await connection.execute("SELECT pg_sleep(5)", timeout=0.01)
        with monkeypatch.context() as outage:
            outage.setattr(asyncpg.Pool, "release", lose_connection)
            await asyncio.wait_for(released.wait(), 5)

        await execute(database, f"ALTER ROLE {name} CONNECTION LIMIT -1")
        await eventually(lambda: is_healthy(full), doing="for a connection", seconds=5)


async def test_monitor_survives_an_error_of_a_tested_read_that_is_no_refusal(
    dsn: str, database: Database
) -> None:
    reader = Database(dsn, SETTINGS, application_name="reader", read_only=True)
    async with monitored(reader):
        await execute(
            database,
            """
            ALTER TABLE outbox RENAME TO renamed;
            CREATE FUNCTION fail() RETURNS bigint LANGUAGE plpgsql AS $$
            BEGIN RAISE EXCEPTION USING ERRCODE = 'object_not_in_prerequisite_state'; END $$;
            CREATE VIEW outbox AS SELECT fail() AS id;
            """,
        )
        assert not await succeeds(
            reader, "DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = 'disk_full'; END $$"
        )
        await eventually(lambda: is_healthy(reader), doing="for the test of a read", seconds=5)


@pytest.mark.parametrize("reads", [False, True], ids=["writer", "reader"])
async def test_sessions_whose_settings_let_no_statement_complete_are_replaced(
    limited_dsn: str, database: Database, *, reads: bool
) -> None:
    role = urlsplit(limited_dsn).username
    stale = Database(limited_dsn, SETTINGS, application_name="stale", read_only=reads)
    await execute(database, f"ALTER ROLE {role} SET statement_timeout = '50ms'")
    async with monitored(stale):
        await execute(database, f"ALTER ROLE {role} RESET statement_timeout")

        assert not await succeeds(stale, "SELECT pg_sleep(0.1)")
        await eventually(
            lambda: succeeds(stale, "SELECT pg_sleep(0.1)"), doing="for new sessions", seconds=5
        )
        assert await reason(stale) is None


@pytest.mark.parametrize("reads", [False, True], ids=["writer", "reader"])
async def test_locked_table_is_reported_until_statements_complete(
    dsn: str, database: Database, *, reads: bool
) -> None:
    statement = "SELECT FROM orders" if reads else WRITE
    async with monitored(
        Database(dsn, IMPATIENT, application_name="x", read_only=reads)
    ) as waiting:
        async with database.transaction() as admin:
            await admin.execute("LOCK TABLE orders, outbox IN ACCESS EXCLUSIVE MODE")
            assert not await succeeds(waiting, statement)
            await until_reason(waiting, "PostgreSQL does not complete statements")
        await until_reason(waiting, None)
        assert await succeeds(waiting, statement)


async def test_commit_that_waits_for_a_missing_standby_is_reported_until_commits_complete(
    postgres_server: Postgres, dsn: str
) -> None:
    commit = "SELECT pg_logical_emit_message(true, 'test', '')"
    async with monitored(Database(dsn, IMPATIENT, application_name="waiting")) as waiting:
        async with postgres_server.missing_standby():
            await eventually(lambda: fails(waiting, commit), doing="for the setting", seconds=5)
            await until_reason(waiting, "PostgreSQL does not complete statements")
        await until_reason(waiting, None)
        assert await succeeds(waiting, commit)


async def test_missing_table_is_reported_until_it_is_back(dsn: str, database: Database) -> None:
    async with monitored(Database(dsn, SETTINGS, application_name="x")) as incomplete:
        await execute(database, "ALTER TABLE outbox RENAME TO renamed")
        assert not await succeeds(incomplete, WRITE)
        await until_reason(incomplete, "PostgreSQL lacks a part of the schema")

        await execute(database, "ALTER TABLE renamed RENAME TO outbox")
        await until_reason(incomplete, None)
        assert await succeeds(incomplete, WRITE)


async def test_reason_is_reported_while_every_connection_is_refused(
    limited_dsn: str, database: Database
) -> None:
    role = urlsplit(limited_dsn).username
    async with monitored(Database(limited_dsn, SETTINGS, application_name="x")) as refused:
        await execute(database, f"ALTER ROLE {role} NOLOGIN")
        await execute(
            database,
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{role}'",  # noqa: S608
        )
        await until_reason(refused, "PostgreSQL refuses the connection")

        await execute(database, f"ALTER ROLE {role} LOGIN")
        await until_reason(refused, None)


async def reason(database: Database) -> str | None:
    """Return the reason that `/health` would publish."""
    try:
        await database.ping()
    except DatabaseRefuses as refusal:
        return refusal.reason
    except DatabaseUnavailable:
        return "unreachable"
    return None


async def until_reason(database: Database, expected: str | None) -> None:
    """Wait until `/health` would publish this reason."""

    async def is_published() -> bool:
        return await reason(database) == expected

    await eventually(is_published, doing=f"for the reason {expected!r}", seconds=10)


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
async def test_error_for_a_database_that_is_not_utf_8_has_a_command_that_creates_one(
    postgres_server: Postgres, encoding: str
) -> None:
    name = f"Tony's {encoding}"
    await postgres_server.execute(
        f"CREATE DATABASE \"{name}\" ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0"
    )
    dsn = postgres_server.dsn(quote(name))
    with pytest.raises(StartupError, match=f"encoding {encoding}") as error:
        await Database(dsn, SETTINGS, application_name="refused").connect_within(600)

    (command,) = re.findall("CREATE DATABASE .* template0", str(error.value))
    await postgres_server.execute(command)
    successor = postgres_server.dsn(quote(f"{name}_utf8"))
    async with monitored(Database(successor, SETTINGS, application_name="accepted")) as accepted:
        assert await is_healthy(accepted)
    for each in (name, f"{name}_utf8"):
        await postgres_server.drop_database(f'"{each}"')
