"""Bring the schema up to date: apply numbered SQL files once each, in order, under a lock.

Each is a transaction of its own, so that one that reads a large table follows one that locks it for
a moment. Every release works with the tables as any of its migrations leaves them.

Migrations run on a connection without timeouts, because rewriting a large table, or waiting for a
lock that another session holds, may take any time. The migration of a process that is killed is
rolled back within a second where PostgreSQL runs on Linux, elsewhere once its statement in progress
has ended.
"""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from importlib import resources
from typing import Literal

import asyncpg

from restaurant_system.database.connection import Database
from restaurant_system.database.connection_factory import UnpooledConnection
from restaurant_system.database.inspection import schema_rights, table_rights
from restaurant_system.errors import DatabaseUnavailable, MigrationRefused
from restaurant_system.logger import get_logger

log = get_logger()

# The key of an advisory lock, held while migrations run, so that processes that start at the same
# time apply them one after the other.
LOCK = 7_278_110_042
MIN_LOG_INTERVAL, MAX_LOG_INTERVAL = 2.0, 60.0  # s between log lines while waiting for a lock
ROLLBACK_TIMEOUT = 3.0  # s; then the connection is closed, and the server rolls back by itself

MIGRATIONS_TABLE = "schema_migrations"
CREATE_MIGRATIONS_TABLE = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    name       text        PRIMARY KEY,
    applied_at timestamptz NOT NULL DEFAULT now()
)
"""
# By name from pg_settings, because transaction_timeout exists since PostgreSQL 17 only. A statement
# whose client was killed would otherwise go on, and wait for its locks for as long as it takes.
# PostgreSQL cannot notice that on every system, and then refuses this setting.
CONFIGURE_TRANSACTION = """
SELECT set_config(name, '0', true) FROM pg_settings
WHERE name IN ('statement_timeout', 'lock_timeout', 'idle_in_transaction_session_timeout',
               'transaction_timeout');
SELECT set_config('client_connection_check_interval', '1s', true) WHERE version() LIKE '%linux%'
"""
# Rows or objects that the administrator has added. Their details may have personal data.
REFUSALS = (asyncpg.IntegrityConstraintViolationError, asyncpg.DependentObjectsStillExistError)
# How migrations create and drop, and what.
OBJECTS = {
    kind: re.compile(rf"^(CREATE|DROP) {kind} (?:IF (?:NOT )?EXISTS )?(\w+)", re.MULTILINE)
    for kind in ("TABLE", "SEQUENCE")
}
# Queried, because a pooler such as PgBouncer reports process ids of its own to its clients.
BACKEND = "SELECT pg_backend_pid()"
IS_CONNECTED = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $1)"
# Process 0 is a prepared transaction. Queries are left out: they may contain personal data.
BLOCKERS = """
SELECT blocker.pid, coalesce(activity.application_name, '') AS application_name,
       activity.xact_start AS since
FROM unnest(pg_blocking_pids($1)) AS blocker (pid)
LEFT JOIN pg_stat_activity AS activity ON activity.pid = blocker.pid
"""


async def migrate(database: Database) -> list[str]:
    """Apply all pending migrations; return the names of those applied.

    One that fails changes nothing, and those before it stay applied. Raises `MigrationRefused` if
    rows or objects that are not ours are in the way. Of several processes that
    migrate at the same time, each may apply some.
    """
    names = []
    async with database.without_timeout() as connection:
        while name := await _apply_next(database, connection):
            names.append(name)
    if names:
        log.info(
            "migrations_applied",
            message=f"Brought the schema up to date, to {names[-1]}.",
            migrations=names,
        )
    return names


async def _apply_next(database: Database, connection: UnpooledConnection) -> str | None:
    """Apply the first pending migration; return its name, `None` if there is none."""
    async with _transaction(connection):
        await connection.execute(CONFIGURE_TRANSACTION)
        async with _blockers_logged(database, connection, "The migration waits for its turn"):
            await connection.execute("SELECT pg_advisory_xact_lock($1)", LOCK)
        async with _blockers_logged(database, connection, "The migration waits for a lock"):
            await connection.execute(CREATE_MIGRATIONS_TABLE)
            for name in await _pending(connection):
                try:
                    await connection.execute(_read(name))
                except REFUSALS as error:
                    raise MigrationRefused(name, str(error.args[0])) from None
                await connection.execute("INSERT INTO schema_migrations (name) VALUES ($1)", name)
                return name
    return None


async def pending(database: Database) -> list[str]:
    """Return the names of the migrations that `migrate` would apply; change nothing."""
    async with database.without_timeout() as connection, _transaction(connection):
        await connection.execute(CONFIGURE_TRANSACTION)
        if await connection.fetchval("SELECT to_regclass('schema_migrations')") is None:
            return _all()
        async with _blockers_logged(database, connection, "The check waits for a lock"):
            return await _pending(connection)


@dataclass(frozen=True, slots=True)
class SchemaState:
    """Which migrations a database lacks, and which it has that this release does not know.

    If the role may not read that, all migrations are assumed to be applied.
    """

    applied: tuple[str, ...]
    pending: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    is_readable: bool = True

    def expected(self, kind: Literal["TABLE", "SEQUENCE"]) -> list[str]:
        """Return the names of the tables or sequences that the applied migrations created."""
        names = dict.fromkeys([MIGRATIONS_TABLE] if kind == "TABLE" and self.applied else [])
        for migration in self.applied:
            for verb, name in OBJECTS[kind].findall(_read(migration)):
                if verb == "CREATE":
                    names[name] = None
                else:
                    names.pop(name, None)
        return list(names)


async def schema_state(connection: UnpooledConnection) -> SchemaState:
    """Compare the migrations that a database has with those of this release."""
    schema = await schema_rights(connection)
    rights = await table_rights(connection, schema, [MIGRATIONS_TABLE], privileges=["SELECT"])
    if rights.absent:
        return SchemaState((), tuple(_all()))
    if rights.lacking or not schema.may_use:
        return SchemaState(tuple(_all()), is_readable=False)
    rows = await connection.fetch("SELECT name FROM schema_migrations ORDER BY name")
    found, known = [row["name"] for row in rows], _all()
    return SchemaState(
        applied=tuple(name for name in known if name in found),
        pending=tuple(name for name in known if name not in found),
        unknown=tuple(name for name in found if name not in known),
    )


@contextlib.asynccontextmanager
async def _transaction(connection: UnpooledConnection) -> AsyncIterator[None]:
    """Commit at the end; after an error or a cancellation, roll back within `ROLLBACK_TIMEOUT`."""
    transaction = connection.transaction()
    await transaction.start()
    try:
        yield
    except BaseException:
        with contextlib.suppress(Exception):  # the first error is the one to raise
            async with asyncio.timeout(ROLLBACK_TIMEOUT):
                await transaction.rollback()
        raise
    else:
        await transaction.commit()


@contextlib.asynccontextmanager
async def _blockers_logged(
    database: Database, connection: UnpooledConnection, waiting: str
) -> AsyncIterator[None]:
    """Log, while the block runs, which sessions hold a lock that `connection` waits for."""
    pid = await connection.fetchval(BACKEND)
    logging = asyncio.create_task(_log_blockers(database, connection, pid, waiting))
    try:
        yield
    finally:
        logging.cancel()


async def _log_blockers(
    database: Database, connection: UnpooledConnection, pid: int, waiting: str
) -> None:
    """Log blockers at growing intervals; terminate `connection` if the server has lost it."""
    interval = MIN_LOG_INTERVAL
    while True:
        await asyncio.sleep(interval)
        try:
            async with database.connection() as other:
                is_connected = await other.fetchval(IS_CONNECTED, pid)
                blockers = await other.fetch(BLOCKERS, pid)
        except (DatabaseUnavailable, asyncpg.PostgresError):
            continue
        if not is_connected:  # the server restarted, which an idle connection does not notice
            connection.terminate()
            return
        for blocker in blockers:
            _log_blocker(waiting, blocker)
        interval = min(2 * interval, MAX_LOG_INTERVAL) if blockers else MIN_LOG_INTERVAL


def _log_blocker(waiting: str, blocker: asyncpg.Record) -> None:
    name, since = blocker["application_name"], blocker["since"]
    session = f"session {blocker['pid']}" + (f" ({name})" if name else "")
    if not blocker["pid"]:
        session = "a prepared transaction (see pg_prepared_xacts)"
    begun = f", in a transaction since {since:%Y-%m-%dT%H:%M:%SZ}" if since else ""
    log.warning(
        "migration_waiting",
        message=f"{waiting}; the lock is held by {session}{begun}.",
        pid=blocker["pid"],
        application_name=name,
    )


async def _pending(connection: UnpooledConnection) -> list[str]:
    rows = await connection.fetch("SELECT name FROM schema_migrations")
    applied = {row["name"] for row in rows}
    return [name for name in _all() if name not in applied]


def _all() -> list[str]:
    files = resources.files(__package__).joinpath("migrations").iterdir()
    return sorted(file.name for file in files if file.name.endswith(".sql"))


def _read(name: str) -> str:
    return resources.files(__package__).joinpath("migrations", name).read_text(encoding="utf-8")
