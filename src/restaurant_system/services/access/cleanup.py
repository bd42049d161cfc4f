"""Delete expired sessions, and wrong passwords that are to be forgotten, while a service runs."""

import asyncio
import contextlib

from restaurant_system.database import sessions
from restaurant_system.database.connection import Database
from restaurant_system.errors import DatabaseUnavailable
from restaurant_system.models.clock import Clock
from restaurant_system.models.lock_out import FORGET_AFTER

INTERVAL = 600.0  # s
LIMIT = 5_000  # rows that are deleted at once


async def delete_expired_sessions(database: Database, clock: Clock) -> None:
    """Delete them until cancelled; several processes do not wait for each other."""
    while True:
        now = clock()
        with contextlib.suppress(DatabaseUnavailable):  # the next interval makes up for it
            async with database.connection() as connection:
                await sessions.delete_expired(
                    connection, expired_by=now, attempts_before=now - FORGET_AFTER, limit=LIMIT
                )
        await asyncio.sleep(INTERVAL)
