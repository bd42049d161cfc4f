"""Delete expired sessions, forgotten failures and old entries of the record at intervals."""

import asyncio
import contextlib
from datetime import timedelta

from restaurant_system.database import audit, sessions
from restaurant_system.database.connection import Database
from restaurant_system.errors import DatabaseUnavailable
from restaurant_system.logger import get_logger
from restaurant_system.models.clock import Clock
from restaurant_system.models.lock_out import FORGET_AFTER

INTERVAL = 600.0  # s
LIMIT = 5_000  # rows that are deleted at once

log = get_logger()


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


async def delete_old_entries(database: Database, kept_for: timedelta) -> None:
    """Delete entries of the record of what people have done, at intervals until cancelled."""
    while True:
        total = 0
        with contextlib.suppress(DatabaseUnavailable):
            deleted = LIMIT
            while deleted == LIMIT:
                async with database.connection() as connection:
                    deleted = await audit.delete_old(connection, kept_for, LIMIT)
                total += deleted
        if total:
            log.info("audit_entries_deleted", message=f"Deleted {total} old entries of audit_log.")
        await asyncio.sleep(INTERVAL)
