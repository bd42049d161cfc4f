"""Queries of the live views for customers: the board, and the steps of the orders they track."""

from collections.abc import Sequence
from datetime import datetime
from typing import TypeAlias

import asyncpg

from restaurant_system.database.connection import Connection
from restaurant_system.models.order import OrderType
from restaurant_system.models.status import OrderStatus

Row: TypeAlias = asyncpg.Record

BEING_PREPARED = (OrderStatus.COOKING, OrderStatus.RECEIVED)

# The index on (status, type, id) has these orders sorted by age. The type is compared as a range of
# one value, so that the planner cannot use the primary key instead: with `=`, statistics from
# before a busy period make that look cheaper, and it would scan the orders of years.
PREPARING = """
SELECT oldest.number, oldest.status
FROM unnest($1::text[]) WITH ORDINALITY AS wanted (status, place)
CROSS JOIN unnest($2::text[]) AS requested (type)
CROSS JOIN LATERAL (
    SELECT id, number, status FROM orders
    WHERE status = wanted.status AND type BETWEEN requested.type AND requested.type
    ORDER BY orders.type DESC, id LIMIT $3
) AS oldest
ORDER BY wanted.place, oldest.id LIMIT $3
"""


async def preparing(connection: Connection, *, limit: int) -> list[Row]:
    """Return the cooking orders, then the waiting ones, each oldest first."""
    return await connection.fetch(PREPARING, BEING_PREPARED, list(OrderType), limit)


# In a restaurant that does not complete orders, all past orders are ready, so only the newest of
# each type are scanned. An order is missed once this many later ones of its type are ready, which
# takes hours.
# The type is compared as a range for the same reason as above.
READY_SCAN_LIMIT = 300
READY = f"""
SELECT newest.number, newest.status, newest.completed_at
FROM unnest($1::text[]) AS requested (type)
CROSS JOIN LATERAL (
    SELECT number, status, completed_at FROM orders
    WHERE status = 'ready' AND type BETWEEN requested.type AND requested.type
    ORDER BY orders.type, id DESC LIMIT {READY_SCAN_LIMIT}
) AS newest
WHERE newest.completed_at >= $2
ORDER BY newest.completed_at DESC LIMIT $3
"""


async def ready(connection: Connection, *, since: datetime, limit: int) -> list[Row]:
    """Return the orders that became ready since then and still are, latest first."""
    return await connection.fetch(READY, list(OrderType), since, limit)


STEPS = """
SELECT orders.number, orders.type, log.status, log.changed_at
FROM orders JOIN order_status_log log ON log.order_id = orders.id
WHERE orders.number = ANY($1) ORDER BY log.id
"""


async def steps(connection: Connection, numbers: Sequence[str]) -> dict[str, list[Row]]:
    """Return the status changes of these orders, oldest first, by order number.

    Each row has the order's type. Unknown numbers are left out.
    """
    by_order: dict[str, list[Row]] = {}
    for row in await connection.fetch(STEPS, numbers):
        by_order.setdefault(row["number"], []).append(row)
    return by_order


# Neither notes nor names of customers: these are personal data. An order whose link has ended
# meanwhile has no token.
ITEMS = """
SELECT orders.number, orders.total_amount, item.name, item.quantity, item.price
FROM orders JOIN order_items AS item ON item.order_id = orders.id
WHERE orders.number = ANY($1) AND orders.tracking_token IS NOT NULL ORDER BY item.id
"""


async def items(connection: Connection, numbers: Sequence[str]) -> dict[str, list[Row]]:
    """Return the items of these orders by order number, without their notes.

    Each row has the order's total. Orders without a tracking link are left out.
    """
    by_order: dict[str, list[Row]] = {}
    for row in await connection.fetch(ITEMS, numbers):
        by_order.setdefault(row["number"], []).append(row)
    return by_order
