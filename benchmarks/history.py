"""Generate up to two years of finished orders in an empty database.

A few statements generate it in the server, which is fast. They bypass triggers and foreign keys,
which needs a superuser. The same day and number of orders give the same history.
"""

import argparse
import asyncio
from datetime import UTC, datetime, timedelta

import asyncpg

from restaurant_system.database.connection_factory import UnpooledConnection

PER_DAY = 1_000  # orders of a business date, unless there are more than those of DAYS
DAYS = 730  # at most
CHUNK = 20_000  # orders of one statement, which the server has in memory
SEED = 0.42

# Triggers refuse orders that are inserted with a final status. CHECK constraints still apply.
PREPARE = "SET session_replication_role = replica; SET timezone = 'UTC'"

CREATE_MONTHS = """
SELECT create_order_month(month::date)
FROM generate_series(date_trunc('month', $1::date), $2::date, interval '1 month') AS month
"""

INSERT_ORDERS = """
WITH random_values AS MATERIALIZED (
    SELECT n, $3::date + (n / $4::bigint)::integer AS business_date, n % $4 AS position,
           random() AS kind, random() AS outcome, random() AS delay, random() AS customer,
           random() AS waiting, ceil(random() * 4)::integer AS item_count
    FROM generate_series($1::bigint, $2::bigint) AS n
), items AS MATERIALIZED (
    SELECT n, item, quantity,
           (ARRAY['Margherita', 'Tiramisù', 'Lasagne', 'Bruschetta', 'Risotto', 'Espresso',
                  'Calzone', 'Ossobuco'])[dish] AS name,
           (ARRAY[9.50, 6.00, 13.20, 5.40, 14.90, 2.20, 11.00, 26.50])[dish] AS price
    FROM (
        SELECT n, item, ceil(random() * 8)::integer AS dish,
               ceil(random() * random() * 5)::integer AS quantity
        FROM random_values CROSS JOIN LATERAL generate_series(1, item_count) AS item
    ) AS random_items
), totals AS (
    SELECT n, sum(price * quantity) AS total FROM items GROUP BY n
), kinds AS (
    SELECT *,
           CASE WHEN kind < 0.5 THEN 'dine_in' WHEN kind < 0.8 THEN 'takeout' ELSE 'delivery' END
               AS type,
           business_date + interval '10 hours' + position * interval '13 hours' / $4
               AS received_at,
           -- Three in a hundred are cancelled, half of these while they cook.
           outcome >= 0.03 AS served, outcome >= 0.015 AS begun
    FROM random_values JOIN totals USING (n)
), finished_orders AS MATERIALIZED (
    SELECT *, first_order_id(business_date) + n + 1 AS id, 'cook_' || (n % 8 + 1) AS cook,
           received_at + (5 + delay * 300) * interval '1 second' AS cooking_at,
           received_at + (13 + delay * 300) * interval '1 second' AS ready_at,
           received_at + (60 + delay * 300 + waiting * 600) * interval '1 second' AS finished_at
    FROM kinds
), placed AS (
    INSERT INTO orders (id, created_at, updated_at, number, business_date, customer_name, type,
                        table_number, delivery_address, total_amount, priority, status,
                        processed_by, completed_at, erased_at)
    OVERRIDING SYSTEM VALUE
    SELECT id, received_at, finished_at,
           'ORD_' || to_char(business_date, 'YYYYMMDD') || '_'
               || lpad((position + 1)::text, greatest(3, length((position + 1)::text)), '0'),
           business_date,
           (ARRAY['Ada', 'Grace', 'Linus', 'Barbara', 'Edsger'])[ceil(customer * 5)] || ' '
               || (ARRAY['Rossi', 'Bianchi', 'Verdi', 'Neri'])[ceil(delay * 4)],
           type,
           CASE WHEN type = 'dine_in' THEN ceil(customer * 40)::integer END,
           CASE WHEN type = 'delivery' THEN ceil(customer * 900) || ' Garibaldi Street' END,
           total,
           CASE WHEN total > 100 THEN 10 WHEN total >= 50 THEN 5 ELSE 1 END,
           CASE WHEN served THEN 'completed' ELSE 'cancelled' END,
           CASE WHEN begun THEN cook END,
           CASE WHEN served THEN ready_at END,
           finished_at + interval '30 days'  -- so that the order service does not erase them now
    FROM finished_orders ORDER BY n
), counted AS (
    INSERT INTO order_counters (business_date, last_number)
    SELECT business_date, count(*) FROM random_values GROUP BY business_date
), listed AS (
    INSERT INTO order_items (created_at, order_id, name, quantity, price)
    SELECT received_at, id, name, quantity, price
    FROM items JOIN finished_orders USING (n) ORDER BY n, item
)
INSERT INTO order_status_log (created_at, order_id, status, changed_by, changed_at)
SELECT at, id, status, by, at
FROM finished_orders CROSS JOIN LATERAL (VALUES
    ('received', received_at, 'order-service', true),
    ('cooking', cooking_at, cook, begun),
    ('ready', ready_at, cook, served),
    (CASE WHEN served THEN 'completed' ELSE 'cancelled' END, finished_at, 'order-service', true)
) AS step (status, at, by, happened)
WHERE happened ORDER BY n, at
"""


async def _write(connection: UnpooledConnection, orders: int) -> None:
    today = datetime.now(UTC).date()
    per_day = max(PER_DAY, -(-orders // DAYS))
    first_date = today - timedelta(days=-(-orders // per_day))
    await connection.execute(CREATE_MONTHS, first_date, today)
    await connection.execute("SELECT setseed($1)", SEED)
    chunk = per_day * max(1, CHUNK // per_day)  # whole days
    for first in range(0, orders, chunk):
        last = min(first + chunk, orders) - 1
        await connection.execute(INSERT_ORDERS, first, last, first_date, per_day)


ADVANCE_SEQUENCE = "SELECT setval('orders_id_seq', count(*)) FROM orders"

INSERT_WORKERS = """
INSERT INTO workers (name, type, status, last_seen, orders_processed, heartbeat_interval, session)
SELECT processed_by, 'dine_in,takeout,delivery', 'offline', max(updated_at),
       count(*) FILTER (WHERE status = 'completed'), interval '30 seconds', gen_random_uuid()
FROM orders WHERE processed_by IS NOT NULL GROUP BY processed_by ORDER BY processed_by
"""

INSERT_KEYS = """
INSERT INTO idempotency_keys (key, created_at, fingerprint, order_id)
SELECT 'key of ' || number, created_at, sha256(number::bytea), id
FROM orders WHERE business_date >= current_date - 1 AND created_at > now() - interval '24 hours'
"""


SELECT_FILLED = """
SELECT string_agg(oid::regclass::text, ', ') FROM pg_class
WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND pg_relation_size(oid) > 0
"""


async def generate(dsn: str, orders: int) -> None:
    """Fill an empty, migrated database with finished orders, as a superuser.

    Afterwards its tables are vacuumed and analysed, and all their pages are on disk.
    """
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(PREPARE)
        await _write(connection, orders)
        for statement in (
            ADVANCE_SEQUENCE,
            INSERT_WORKERS,
            INSERT_KEYS,
        ):
            await connection.execute(statement)
        # As autovacuum does: a plan for a partition that is known to be empty may use any index.
        filled = await connection.fetchval(SELECT_FILLED)
        await connection.execute(f"VACUUM ANALYZE {filled}")
        await connection.execute("CHECKPOINT")
    finally:
        await connection.close()


def main() -> None:
    """Generate a history with the options of the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.history", description=__doc__)
    parser.add_argument("dsn", help="URL of an empty, migrated database, as a superuser")
    parser.add_argument("--orders", type=int, default=1_000_000)
    arguments = parser.parse_args()
    asyncio.run(generate(arguments.dsn, arguments.orders))


if __name__ == "__main__":
    main()
