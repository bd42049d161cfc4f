"""Measure the bloat of tables whose rows are inserted and deleted at a high rate.

Messages are owed and struck off, keys taken and forgotten, at a steady rate on a migrated database.
Every few seconds one line says how large the tables and their indexes are, how much in them is
dead, and how long the outbox's own questions take meanwhile.
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
UNDER_WAY = 8  # batches that are owed before the first of them is struck off
KEY_LIFETIME = timedelta(seconds=20)  # a day, in a hurry
FORGETTING_INTERVAL = 5.0  # s
LOOK_INTERVAL = 10.0  # s

OWE = """
INSERT INTO outbox (stream, exchange, routing_key, type, body, message_id, correlation_id, app_id,
                    timestamp, priority)
SELECT 'orders_topic/ORD_20241216_' || $1 * $2 + n, 'orders_topic', 'kitchen.takeout.1',
       'order.received', convert_to(repeat('x', 300), 'UTF8'), gen_random_uuid(), 'request',
       'order-service', now(), 1
FROM generate_series(1, $2::bigint) AS n
RETURNING id
"""

TAKE_KEYS = """
INSERT INTO idempotency_keys (key, fingerprint, order_id)
SELECT gen_random_uuid(), sha256(n::text::bytea), $1 * $2 + n
FROM generate_series(1, $2::bigint) AS n
"""

COUNT = """
INSERT INTO order_counters (business_date, last_number) VALUES (current_date, $1)
ON CONFLICT (business_date) DO UPDATE SET last_number = order_counters.last_number + $1
"""

STRIKE_OFF = "DELETE FROM outbox WHERE id = ANY ($1::bigint[])"


async def live(line: Connection, rate: int) -> None:
    """Place and publish so many orders a second, for as long as it runs."""
    owed: list[list[int]] = []
    begin = time.perf_counter()
    batch = 0
    while True:
        batch += 1
        await asyncio.sleep(begin + batch * BATCH / rate - time.perf_counter())
        async with line.transaction():
            await line.execute(COUNT, BATCH)
            await line.execute(TAKE_KEYS, batch, BATCH)
            owed.append([row["id"] for row in await line.fetch(OWE, batch, BATCH)])
        if len(owed) > UNDER_WAY:
            await line.execute(STRIKE_OFF, owed.pop(0))


async def forget(line: Connection) -> None:
    """Forget expired keys now and then, for as long as it runs."""
    while True:
        await asyncio.sleep(FORGETTING_INTERVAL)
        while await idempotency.delete_expired(line, KEY_LIFETIME, 5_000):
            pass


SIZES = """
SELECT pg_table_size('outbox') / 1024, pg_indexes_size('outbox') / 1024,
       (SELECT n_dead_tup FROM pg_stat_user_tables WHERE relname = 'outbox'),
       pg_table_size('idempotency_keys') / 1024, pg_indexes_size('idempotency_keys') / 1024,
       pg_table_size('order_counters') / 1024
"""
HEAD = ("s", "outbox kB", "indexes kB", "dead", "keys kB", "indexes kB", "counters kB")
QUESTIONS = ("sweep ms", "backlog ms")


async def look(line: Connection) -> AsyncIterator[tuple[float, ...]]:
    """Yield a line of figures now and then."""
    begin = time.perf_counter()
    while True:
        await asyncio.sleep(LOOK_INTERVAL)
        sizes = await line.fetchrow(SIZES) or ()
        asked = time.perf_counter()
        async with line.transaction():
            await outbox.claim_overdue(line, timedelta(seconds=5), 200)
        swept = time.perf_counter()
        await outbox.backlog(line)
        counted = time.perf_counter()
        yield (asked - begin, *sizes, (swept - asked) * 1000, (counted - swept) * 1000)


async def run(dsn: str, seconds: float, rate: int) -> None:
    """Print figures for so long."""
    async with (
        asyncpg.create_pool(dsn, min_size=3, max_size=3, server_settings=PLANNER_SETTINGS) as pool,
        pool.acquire() as writer,
        pool.acquire() as cleaner,
        pool.acquire() as observer,
        asyncio.TaskGroup() as group,
    ):
        tasks = [group.create_task(live(writer, rate)), group.create_task(forget(cleaner))]
        console.print(*(f"{title:>12}" for title in HEAD + QUESTIONS))
        async for figures in look(observer):
            console.print(*(f"{figure:12.1f}" for figure in figures))
            if figures[0] >= seconds:
                break
        for task in tasks:
            task.cancel()


def main() -> None:
    """Read the command line, and run."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bloat", description=__doc__)
    parser.add_argument("dsn", help="a migrated database")
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--rate", type=int, default=2_000, help="orders a second")
    arguments = parser.parse_args()
    asyncio.run(run(arguments.dsn, arguments.seconds, arguments.rate))


if __name__ == "__main__":
    main()
