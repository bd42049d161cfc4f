"""Delete at intervals what is not needed: old keys, unused workers, old orders and their data."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from datetime import date, timedelta

from restaurant_system.config import HistorySettings, KitchenSettings
from restaurant_system.database import idempotency, workers
from restaurant_system.database.connection import Database
from restaurant_system.database.order_months import OrderMonths
from restaurant_system.errors import DeadLettersLocked, ErasureRefused
from restaurant_system.logger import get_logger
from restaurant_system.models.business_day import BusinessDay
from restaurant_system.models.clock import Clock
from restaurant_system.services.order.periodic import log_failed_pass
from restaurant_system.services.order.privacy import PersonalData
from restaurant_system.services.order.service import NAME

INTERVAL = 600.0  # s between two cleanups
ERASURE_INTERVAL = 3600.0  # s between two erasures
REPEAT_DELAY = 5.0  # s until an erasure is repeated that has found orders
ERASURE_PAUSE = 0.2  # s between two batches, so that the first erasure of years delays no order
KEYS_BATCH_SIZE = 5_000  # keys that are deleted in one transaction
WORKERS_BATCH_SIZE = 1_000  # workers that are deleted in one transaction

log = get_logger(NAME)


async def delete_expired_keys(database: Database, lifetime: timedelta) -> None:
    """Delete idempotency keys that are older than `lifetime`, at intervals until cancelled."""

    async def delete_batch() -> int:
        async with database.connection() as connection:
            return await idempotency.delete_expired(connection, lifetime, KEYS_BATCH_SIZE)

    while True:
        deleted = await _process_all(delete_batch)
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
        removed = await _process_all(delete_batch)
        if removed:
            log.info("workers_removed", message=f"Removed {removed} unused workers.")
        await asyncio.sleep(INTERVAL)


async def erase_personal_data(personal_data: PersonalData, retention: timedelta | None) -> None:
    """Erase the personal data of old orders and their messages, at intervals until cancelled.

    Without a `retention` no order becomes due; what is left of erased orders is still deleted.
    """
    refused: dict[int, ErasureRefused] = {}  # of this pass

    async def erase_batch() -> int:
        if retention is None:
            return 0
        erased = await personal_data.erase_due(retention, refused)
        if erased:
            await asyncio.sleep(ERASURE_PAUSE)
        return erased

    while True:
        refused.clear()
        erased = await _process_all(erase_batch)
        if refused:
            error = next(iter(refused.values()))
            log.error("erasure_failed", message=str(error), count=len(refused))
        if erased:
            log.info("personal_data_erased", message=f"Erased the data of {erased} old orders.")
        with (
            log_failed_pass("erasure_failed", "Messages of erased orders could not be deleted."),
            contextlib.suppress(DeadLettersLocked),
        ):
            deleted = await personal_data.delete_messages(retention)
            if deleted:
                log.info("messages_erased", message=f"Deleted {deleted} messages of erased orders.")
        # Another process that does the same may have had their dead letters locked.
        await asyncio.sleep(REPEAT_DELAY if erased else ERASURE_INTERVAL)


async def keep_months(
    months: OrderMonths, history: HistorySettings, business_day: BusinessDay, clock: Clock
) -> None:
    """Create the next month's partitions and delete old ones, at intervals until cancelled."""
    kept: dict[str, str] = {}
    while True:
        today = business_day.date_of(clock())
        with log_failed_pass("cleanup_failed", "The months of orders could not be renewed."):
            await months.ensure(add_months(today, 1))
            if history.months is not None:
                # A clock that is years ahead deletes nothing as long as it has placed no order.
                latest = min(today, await months.latest_date() or today)
                await _delete_months(months, add_months(latest, -history.months), kept)
                kept = months.kept
        await asyncio.sleep(INTERVAL)


def add_months(to: date, months: int) -> date:
    """Return the first day of the month that is so many months after that of a date."""
    years, month = divmod(to.month - 1 + months, 12)
    return date(to.year + years, month + 1, 1)


async def _delete_months(months: OrderMonths, first: date, known: Mapping[str, str]) -> None:
    """Delete the orders before a month, and log that, and newly why some are kept."""
    for each in await months.delete_before(first):
        log.info("month_deleted", message=f"Deleted the {each.orders:,} orders of {each.month}.")
    for month, reason in months.kept.items():
        if month not in known:
            message = f"The orders of {month} cannot be deleted yet: {reason}."
            log.warning("month_kept", message=message)


async def _process_all(process_batch: Callable[[], Awaitable[int]]) -> int:
    """Process rows in batches until none is left; return their number.

    Several processes may do so at once. While the database is unavailable, nothing is done, and an
    unexpected error is logged; the next interval makes up for it.
    """
    total = 0
    with log_failed_pass("cleanup_failed", "Rows that are not needed could not be deleted."):
        while processed := await process_batch():
            total += processed
    return total
