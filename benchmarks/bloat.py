"""Measure the bloat of tables whose rows are inserted and deleted at a high rate.

Outbox messages and idempotency keys are inserted and deleted at a steady rate on a migrated
database. Every few seconds one line shows the sizes of the tables and their indexes, their dead
rows, and how long the queries of the outbox take.
"""

import argparse
import asyncio
import time
from collections.abc import AsyncIterator
from datetime import timedelta

import asyncpg
from rich.console import Console

from restaurant_system.database import idempotency, outbox
from restaurant_system.database.connection import Connection
from restaurant_system.database.connection_factory import PLANNER_SETTINGS

console = Console(width=140, highlight=False)

BATCH = 64  # orders that share a transaction
IN_FLIGHT = 8  # batches that are inserted before the first of them is deleted
KEY_LIFETIME = timedelta(seconds=20)  # instead of a day
CLEANUP_INTERVAL = 5.0  # s
REPORT_INTERVAL = 10.0  # s

INSERT_MESSAGES = """
INSERT INTO outbox (stream, exchange, routing_key, type, body, message_id, correlation_id, app_id,
                    timestamp, priority)
SELECT 'orders_topic/ORD_20241216_' || $1 * $2 + n, 'orders_topic', 'kitchen.takeout.1',
       'order.received', convert_to(repeat('x', 300), 'UTF8'), gen_random_uuid(), 'request',
       'order-service', now(), 1
FROM generate_series(1, $2::bigint) AS n
RETURNING id
"""

INSERT_KEYS = """
INSERT INTO idempotency_keys (key, fingerprint, order_id)
SELECT gen_random_uuid(), sha256(n::text::bytea), $1 * $2 + n
FROM generate_series(1, $2::bigint) AS n
"""

COUNT = """
INSERT INTO order_counters (business_date, last_number) VALUES (current_date, $1)
ON CONFLICT (business_date) DO UPDATE SET last_number = order_counters.last_number + $1
"""

DELETE_MESSAGES = "DELETE FROM outbox WHERE id = ANY ($1::bigint[])"


async def place_orders(connection: Connection, rate: int) -> None:
    """Insert and delete the rows of `rate` orders per second, until cancelled."""
    inserted: list[list[int]] = []
    begin = time.perf_counter()
    batch = 0
    while True:
        batch += 1
        await asyncio.sleep(begin + batch * BATCH / rate - time.perf_counter())
        async with connection.transaction():
            await connection.execute(COUNT, BATCH)
            await connection.execute(INSERT_KEYS, batch, BATCH)
            inserted.append(
                [row["id"] for row in await connection.fetch(INSERT_MESSAGES, batch, BATCH)]
            )
        if len(inserted) > IN_FLIGHT:
            await connection.execute(DELETE_MESSAGES, inserted.pop(0))


async def delete_expired_keys(connection: Connection) -> None:
    """Delete expired keys at intervals, until cancelled."""
    while True:
        await asyncio.sleep(CLEANUP_INTERVAL)
        while await idempotency.delete_expired(connection, KEY_LIFETIME, 5_000):
            pass


SIZES = """
SELECT pg_table_size('outbox') / 1024, pg_indexes_size('outbox') / 1024,
       (SELECT n_dead_tup FROM pg_stat_user_tables WHERE relname = 'outbox'),
       pg_table_size('idempotency_keys') / 1024, pg_indexes_size('idempotency_keys') / 1024,
       pg_table_size('order_counters') / 1024
"""
HEAD = ("s", "outbox kB", "indexes kB", "dead", "keys kB", "indexes kB", "counters kB")
DURATIONS = ("sweep ms", "backlog ms")


async def measure(connection: Connection) -> AsyncIterator[tuple[float, ...]]:
    """Yield sizes in kB and durations in ms at intervals."""
    begin = time.perf_counter()
    while True:
        await asyncio.sleep(REPORT_INTERVAL)
        sizes = await connection.fetchrow(SIZES) or ()
        started = time.perf_counter()
        async with connection.transaction():
            await outbox.claim_overdue(connection, timedelta(seconds=5), 200)
        swept = time.perf_counter()
        await outbox.backlog(connection)
        counted = time.perf_counter()
        yield (started - begin, *sizes, (swept - started) * 1000, (counted - swept) * 1000)


async def run(dsn: str, seconds: float, rate: int) -> None:
    """Insert and delete rows for some seconds, and print measurements at intervals."""
    async with (
        asyncpg.create_pool(dsn, min_size=3, max_size=3, server_settings=PLANNER_SETTINGS) as pool,
        pool.acquire() as writer,
        pool.acquire() as cleaner,
        pool.acquire() as observer,
        asyncio.TaskGroup() as group,
    ):
        tasks = [
            group.create_task(place_orders(writer, rate)),
            group.create_task(delete_expired_keys(cleaner)),
        ]
        console.print(*(f"{title:>12}" for title in HEAD + DURATIONS))
        async for values in measure(observer):
            console.print(*(f"{value:12.1f}" for value in values))
            if values[0] >= seconds:
                break
        for task in tasks:
            task.cancel()


def main() -> None:
    """Run the measurement with the options of the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bloat", description=__doc__)
    parser.add_argument("dsn", help="URL of a migrated database")
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--rate", type=int, default=2_000, help="orders a second")
    arguments = parser.parse_args()
    asyncio.run(run(arguments.dsn, arguments.seconds, arguments.rate))


if __name__ == "__main__":
    main()
