"""Generate years of finished orders in an empty database.

Written by a handful of statements on the server's side, which is fast, past the triggers and
foreign keys, which is why it takes a superuser. The same day and number of orders give the same
history.
"""

import argparse
import asyncio
from datetime import UTC, datetime, timedelta

import asyncpg

from restaurant_system.database.connection_factory import UnpooledConnection

PER_DAY = 1_000  # orders of a business date
CHUNK = 20 * PER_DAY  # orders written by one statement: what the server has in memory at a time
SEED = 0.42

# The triggers would refuse orders that are over without having lived here. CHECKs still hold.
PREPARE = "SET session_replication_role = replica; SET timezone = 'UTC'"

CHAPTER = f"""
WITH dice AS MATERIALIZED (
    SELECT n, $3::date + (n / {PER_DAY})::integer AS business_date, n % {PER_DAY} AS place,
           random() AS kind, random() AS luck, random() AS haste, random() AS customer,
           random() AS patience, ceil(random() * 4)::integer AS lines
    FROM generate_series($1::bigint, $2::bigint) AS n
), items AS MATERIALIZED (
    SELECT n, line, quantity,
           (ARRAY['Margherita', 'Tiramisù', 'Lasagne', 'Bruschetta', 'Risotto', 'Espresso',
                  'Calzone', 'Ossobuco'])[dish] AS name,
           (ARRAY[9.50, 6.00, 13.20, 5.40, 14.90, 2.20, 11.00, 26.50])[dish] AS price
    FROM (
        SELECT n, line, ceil(random() * 8)::integer AS dish,
               ceil(random() * random() * 5)::integer AS quantity
        FROM dice CROSS JOIN LATERAL generate_series(1, lines) AS line
    ) AS picked
), bills AS (
    SELECT n, sum(price * quantity) AS total FROM items GROUP BY n
), kinds AS (
    SELECT *,
           CASE WHEN kind < 0.5 THEN 'dine_in' WHEN kind < 0.8 THEN 'takeout' ELSE 'delivery' END
               AS type,
           business_date + interval '10 hours' + place * interval '13 hours' / {PER_DAY}
               AS received_at,
           -- Three in a hundred are cancelled, half of these while they cook.
           luck >= 0.03 AS served, luck >= 0.015 AS begun
    FROM dice JOIN bills USING (n)
), orders_over AS MATERIALIZED (
    SELECT *, 'cook_' || (n % 8 + 1) AS cook,
           received_at + (5 + haste * 300) * interval '1 second' AS cooking_at,
           received_at + (13 + haste * 300) * interval '1 second' AS ready_at,
           received_at + (60 + haste * 300 + patience * 600) * interval '1 second' AS over_at
    FROM kinds
), placed AS (
    INSERT INTO orders (id, created_at, updated_at, number, business_date, customer_name, type,
                        table_number, delivery_address, total_amount, priority, status,
                        processed_by, completed_at)
    OVERRIDING SYSTEM VALUE
    SELECT n + 1, received_at, over_at,
           'ORD_' || to_char(business_date, 'YYYYMMDD') || '_'
               || lpad((place + 1)::text, greatest(3, length((place + 1)::text)), '0'),
           business_date,
           (ARRAY['Ada', 'Grace', 'Linus', 'Barbara', 'Edsger'])[ceil(customer * 5)] || ' '
               || (ARRAY['Rossi', 'Bianchi', 'Verdi', 'Neri'])[ceil(haste * 4)],
           type,
           CASE WHEN type = 'dine_in' THEN ceil(customer * 40)::integer END,
           CASE WHEN type = 'delivery' THEN ceil(customer * 900) || ' Garibaldi Street' END,
           total,
           CASE WHEN total > 100 THEN 10 WHEN total >= 50 THEN 5 ELSE 1 END,
           CASE WHEN served THEN 'completed' ELSE 'cancelled' END,
           CASE WHEN begun THEN cook END,
           CASE WHEN served THEN ready_at END
    FROM orders_over ORDER BY n
), counted AS (
    INSERT INTO order_counters (business_date, last_number)
    SELECT business_date, count(*) FROM dice GROUP BY business_date
), listed AS (
    INSERT INTO order_items (created_at, order_id, name, quantity, price)
    SELECT received_at, n + 1, name, quantity, price
    FROM items JOIN orders_over USING (n) ORDER BY n, line
)
INSERT INTO order_status_log (created_at, order_id, status, changed_by, changed_at)
SELECT at, n + 1, status, by, at
FROM orders_over CROSS JOIN LATERAL (VALUES
    ('received', received_at, 'order-service', true),
    ('cooking', cooking_at, cook, begun),
    ('ready', ready_at, cook, served),
    (CASE WHEN served THEN 'completed' ELSE 'cancelled' END, over_at, 'order-service', true)
) AS step (status, at, by, happened)
WHERE happened ORDER BY n, at
"""  # noqa: S608 - a constant of this module only


async def _write(line: UnpooledConnection, orders: int) -> None:
    first_date = datetime.now(UTC).date() - timedelta(days=-(-orders // PER_DAY))
    await line.execute("SELECT setseed($1)", SEED)
    for first in range(0, orders, CHUNK):
        last = min(first + CHUNK, orders) - 1
        await line.execute(CHAPTER, first, last, first_date)


GO_ON = "SELECT setval(pg_get_serial_sequence('orders', 'id'), max(id)) FROM orders"

ENTER_COOKS = """
INSERT INTO workers (name, type, status, last_seen, orders_processed, heartbeat_interval, session)
SELECT processed_by, 'dine_in,takeout,delivery', 'offline', max(updated_at),
       count(*) FILTER (WHERE status = 'completed'), interval '30 seconds', gen_random_uuid()
FROM orders WHERE processed_by IS NOT NULL GROUP BY processed_by ORDER BY processed_by
"""

ENTER_KEYS = """
INSERT INTO idempotency_keys (key, created_at, fingerprint, order_id)
SELECT 'key of ' || number, created_at, sha256(number::bytea), id
FROM orders WHERE business_date >= current_date - 1 AND created_at > now() - interval '24 hours'
"""


async def generate(dsn: str, orders: int) -> None:
    """Fill an empty, migrated database with finished orders, as a superuser.

    Afterwards it is as autovacuum would have left it, and nothing of it waits to be written.
    """
    line = await asyncpg.connect(dsn)
    try:
        await line.execute(PREPARE)
        await _write(line, orders)
        for statement in (GO_ON, ENTER_COOKS, ENTER_KEYS, "VACUUM ANALYZE", "CHECKPOINT"):
            await line.execute(statement)
    finally:
        await line.close()


def main() -> None:
    """Read the command line, and write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.history", description=__doc__)
    parser.add_argument("dsn", help="an empty, migrated database; its user is a superuser")
    parser.add_argument("--orders", type=int, default=1_000_000)
    arguments = parser.parse_args()
    asyncio.run(generate(arguments.dsn, arguments.orders))


if __name__ == "__main__":
    main()
