"""Remove workers that are not used any more, so that their table does not grow for ever."""

import asyncio
import contextlib
from datetime import timedelta

from restaurant_system.config import KitchenSettings
from restaurant_system.database import workers
from restaurant_system.database.connection import Database
from restaurant_system.errors import DatabaseUnavailable
from restaurant_system.logger import get_logger
from restaurant_system.services.order.service import NAME

INTERVAL = 600.0  # s between two removals
SLICE = 1_000  # workers that are removed in one transaction

log = get_logger(NAME)


async def remove_unused_workers(database: Database, kitchen: KitchenSettings) -> None:
    """Remove unused workers at intervals until cancelled.

    Any number of processes may do so at once. While the database is unavailable, nothing is
    removed; the next interval makes up for it.
    """
    unused_for = timedelta(hours=kitchen.unused_worker_hours)
    used_for = timedelta(days=kitchen.used_worker_days)
    while True:
        removed = 0
        with contextlib.suppress(DatabaseUnavailable):
            while some := await _remove_some(database, unused_for, used_for):
                removed += some
        if removed:
            log.info("workers_removed", message=f"Removed {removed} unused workers.")
        await asyncio.sleep(INTERVAL)


async def _remove_some(database: Database, unused_for: timedelta, used_for: timedelta) -> int:
    async with database.connection() as connection:
        return await workers.delete_unused(connection, unused_for, used_for, SLICE)
