"""Delete expired idempotency keys and unused workers at intervals, so that tables do not grow."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from datetime import timedelta

from restaurant_system.config import KitchenSettings
from restaurant_system.database import idempotency, workers
from restaurant_system.database.connection import Database
from restaurant_system.errors import DatabaseUnavailable
from restaurant_system.logger import get_logger
from restaurant_system.services.order.service import NAME

INTERVAL = 600.0  # s between two cleanups
KEYS_BATCH_SIZE = 5_000  # keys that are deleted in one transaction
WORKERS_BATCH_SIZE = 1_000  # workers that are deleted in one transaction

log = get_logger(NAME)


async def delete_expired_keys(database: Database, lifetime: timedelta) -> None:
    """Delete idempotency keys that are older than `lifetime`, at intervals until cancelled."""

    async def delete_batch() -> int:
        async with database.connection() as connection:
            return await idempotency.delete_expired(connection, lifetime, KEYS_BATCH_SIZE)

    while True:
        deleted = await _delete_all(delete_batch)
        if deleted:
            log.info("keys_deleted", message=f"Deleted {deleted} expired idempotency keys.")
        await asyncio.sleep(INTERVAL)


async def remove_unused_workers(database: Database, kitchen: KitchenSettings) -> None:
    """Remove unused workers, at intervals until cancelled."""
    unused_for = timedelta(hours=kitchen.unused_worker_hours)
    used_for = timedelta(days=kitchen.used_worker_days)

    async def delete_batch() -> int:
        async with database.connection() as connection:
            return await workers.delete_unused(connection, unused_for, used_for, WORKERS_BATCH_SIZE)

    while True:
        removed = await _delete_all(delete_batch)
        if removed:
            log.info("workers_removed", message=f"Removed {removed} unused workers.")
        await asyncio.sleep(INTERVAL)


async def _delete_all(delete_batch: Callable[[], Awaitable[int]]) -> int:
    """Delete rows in batches until none is left; return their number.

    Several processes may do so at once. While the database is unavailable, nothing is deleted; the
    next interval makes up for it.
    """
    total = 0
    with contextlib.suppress(DatabaseUnavailable):
        while deleted := await delete_batch():
            total += deleted
    return total
