"""What may be asked about orders; nothing here changes anything."""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any

import asyncpg

from restaurant_system.database.connection import Connection
from restaurant_system.models.order import OrderType
from restaurant_system.models.status import OrderStatus

STATUS = """
SELECT id, number, type, priority, status, updated_at, estimated_completion, processed_by
FROM orders WHERE number = $1
"""


async def status(connection: Connection, number: str) -> asyncpg.Record | None:
    """Return where an order stands."""
    return await connection.fetchrow(STATUS, number)


AHEAD = """
SELECT type, count(*) AS orders FROM orders
WHERE status = 'received' AND type = ANY($1)
  AND (priority > $2 OR (priority = $2 AND id < $3))
GROUP BY type
"""


async def waiting_ahead(
    connection: Connection, types: Sequence[OrderType], *, priority: int, order_id: int
) -> dict[OrderType, int]:
    """Count, by type, the waiting orders of these types that come before this one."""
    rows = await connection.fetch(AHEAD, list(types), priority, order_id)
    return {OrderType(row["type"]): row["orders"] for row in rows}


COOKING_UNTIL = """
SELECT estimated_completion FROM orders
WHERE status = 'cooking' AND processed_by = ANY($1) AND estimated_completion IS NOT NULL
"""


async def cooking_until(connection: Connection, cooks: Sequence[str]) -> list[datetime]:
    """Return when the orders that these cooks have in hand are due."""
    rows = await connection.fetch(COOKING_UNTIL, list(cooks))
    return [row["estimated_completion"] for row in rows]


HISTORY = """
SELECT log.status, log.changed_at, log.changed_by
FROM order_status_log log JOIN orders ON orders.id = log.order_id
WHERE orders.number = $1 ORDER BY log.id
"""


async def history(connection: Connection, number: str) -> list[asyncpg.Record]:
    """Return an order's moves, oldest first; none when there is no such order."""
    return await connection.fetch(HISTORY, number)


ORDER_COLUMNS = """
id, number, customer_name, type, table_number, delivery_address, notes, total_amount, priority,
status, processed_by, created_at, updated_at, completed_at, estimated_completion
"""
# Each status and type has its newest orders at hand in the index; the newest of all are among them.
# A filter that is looked at row by row would read years where only old orders pass it.
ORDERS = f"""
SELECT {ORDER_COLUMNS} FROM orders
WHERE id = ANY (ARRAY(
    SELECT newest.id
    FROM unnest($1::text[]) AS wanted (status) CROSS JOIN unnest($2::text[]) AS sought (type)
    CROSS JOIN LATERAL (
        SELECT id FROM orders
        WHERE status = wanted.status AND type = sought.type AND id < $3
        ORDER BY id DESC LIMIT $4
    ) AS newest
    ORDER BY newest.id DESC LIMIT $4
))
ORDER BY id DESC
"""
BEYOND_ALL = 2**63 - 1  # an id that no order has


async def orders(
    connection: Connection,
    *,
    status: str | None,
    order_type: str | None,
    before: int | None,
    limit: int,
) -> list[asyncpg.Record]:
    """Return orders, newest first, from just before the id `before` on."""
    statuses = list(OrderStatus) if status is None else [status]
    types = list(OrderType) if order_type is None else [order_type]
    return await connection.fetch(ORDERS, statuses, types, before or BEYOND_ALL, limit)


ORDER = f"SELECT {ORDER_COLUMNS} FROM orders WHERE number = $1"


async def order(connection: Connection, number: str) -> asyncpg.Record | None:
    """Return a whole order, its items apart."""
    return await connection.fetchrow(ORDER, number)


ITEMS = """
SELECT order_id, name, quantity, price, notes FROM order_items
WHERE order_id = ANY($1) ORDER BY order_id, id
"""


async def items(
    connection: Connection, order_ids: Sequence[int]
) -> dict[int, list[dict[str, Any]]]:
    """Return the items of these orders, by order."""
    by_order: dict[int, list[dict[str, Any]]] = {order_id: [] for order_id in order_ids}
    for row in await connection.fetch(ITEMS, list(order_ids)):
        item = dict(row)
        by_order[item.pop("order_id")].append(item)
    return by_order


COUNTS = """
SELECT status, type, count(*) AS orders FROM orders
WHERE business_date = $1 GROUP BY status, type
"""


async def counts(connection: Connection, business_date: date) -> list[asyncpg.Record]:
    """Count a day's orders by status and type."""
    return await connection.fetch(COUNTS, business_date)


PREPARATION = """
SELECT type,
       percentile_cont(ARRAY[0.5, 0.9, 0.99]) WITHIN GROUP (
           ORDER BY extract(epoch FROM completed_at - created_at)::float) AS percentiles
FROM orders WHERE business_date = $1 AND completed_at IS NOT NULL
GROUP BY type
"""


async def preparation_percentiles(
    connection: Connection, business_date: date
) -> dict[str, list[float]]:
    """Return p50, p90 and p99 of the seconds from received to ready, by type, for a day."""
    rows = await connection.fetch(PREPARATION, business_date)
    return {row["type"]: row["percentiles"] for row in rows}


PER_HOUR = """
SELECT date_trunc('hour', created_at) AS hour, count(*) AS orders
FROM orders WHERE business_date = $1 GROUP BY hour ORDER BY hour
"""


async def per_hour(connection: Connection, business_date: date) -> list[asyncpg.Record]:
    """Count a day's orders by the hour in which they came, UTC, empty hours left out."""
    return await connection.fetch(PER_HOUR, business_date)
