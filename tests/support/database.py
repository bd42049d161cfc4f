"""A database under test with its monitor, and statements that may find it unavailable."""

import contextlib
from collections.abc import AsyncIterator

from restaurant_system.app.runtime import background_task
from restaurant_system.database.connection import Database
from restaurant_system.errors import DatabaseUnavailable
from tests.support.waiting import eventually

WAITS_FOR_LOCK = """
SELECT EXISTS (SELECT FROM pg_stat_activity
               WHERE datname = current_database() AND wait_event_type = 'Lock')
"""


@contextlib.asynccontextmanager
async def monitored(database: Database) -> AsyncIterator[Database]:
    """Open a database with its monitor."""
    await database.connect()
    async with background_task(database.monitor()):
        yield database
    await database.close()


async def execute(database: Database, statement: str) -> None:
    """Execute a statement on a pooled connection."""
    async with database.connection() as connection:
        await connection.execute(statement)


async def succeeds(database: Database, statement: str) -> bool:
    """Return whether a statement succeeds; otherwise the database must be unavailable."""
    try:
        await execute(database, statement)
    except DatabaseUnavailable:
        return False
    return True


async def fails(database: Database, statement: str) -> bool:
    """Return whether the database is unavailable to a statement."""
    return not await succeeds(database, statement)


async def wait_for_lock_wait(database: Database) -> None:
    """Wait until a session waits for a lock."""

    async def waits() -> bool:
        async with database.connection() as connection:
            return bool(await connection.fetchval(WAITS_FOR_LOCK))

    await eventually(waits, doing="for a statement to wait for a lock")
