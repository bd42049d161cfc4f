"""What guests look at, over and over again: the board, and the steps of the orders they follow."""

from collections.abc import Sequence
from datetime import datetime
from typing import TypeAlias

import asyncpg

from restaurant_system.database.connection import Connection
from restaurant_system.models.order import OrderType
from restaurant_system.models.status import OrderStatus

Row: TypeAlias = asyncpg.Record

BEING_PREPARED = (OrderStatus.COOKING, OrderStatus.RECEIVED)

# The index has the orders of each status and type at hand, by age. It alone has them so, for the
# type is looked for as a range, of one value. With an `=` the primary key would do as well, and by
# night's statistics, which know nothing of tonight, it seems shorter: it leads through years.
PREPARING = """
SELECT oldest.number, oldest.type, oldest.status
FROM unnest($1::text[]) WITH ORDINALITY AS wanted (status, place)
CROSS JOIN unnest($2::text[]) AS sought (type)
CROSS JOIN LATERAL (
    SELECT id, number, type, status FROM orders
    WHERE status = wanted.status AND type BETWEEN sought.type AND sought.type
    ORDER BY orders.type DESC, id LIMIT $3
) AS oldest
ORDER BY wanted.place, oldest.id LIMIT $3
"""


async def preparing(connection: Connection, *, limit: int) -> list[Row]:
    """Return the orders that cook, and then those that wait, the oldest first."""
    return await connection.fetch(PREPARING, BEING_PREPARED, list(OrderType), limit)


# Where nobody completes orders all of the past is ready, and only the newest of it are looked at.
# An order is passed over once as many of its type that came after it are ready: hours later.
# The type is a range here as well.
READY_SCAN_LIMIT = 300
READY = f"""
SELECT newest.number, newest.type, newest.status, newest.completed_at
FROM unnest($1::text[]) AS sought (type)
CROSS JOIN LATERAL (
    SELECT number, type, status, completed_at FROM orders
    WHERE status = 'ready' AND type BETWEEN sought.type AND sought.type
    ORDER BY orders.type, id DESC LIMIT {READY_SCAN_LIMIT}
) AS newest
WHERE newest.completed_at >= $2
ORDER BY newest.completed_at DESC LIMIT $3
"""


async def ready(connection: Connection, *, since: datetime, limit: int) -> list[Row]:
    """Return the orders that became ready since then and are still there, latest first."""
    return await connection.fetch(READY, list(OrderType), since, limit)


STEPS = """
SELECT orders.number, orders.type, log.status, log.changed_at
FROM orders JOIN order_status_log log ON log.order_id = orders.id
WHERE orders.number = ANY($1) ORDER BY log.id
"""


async def steps(connection: Connection, numbers: Sequence[str]) -> dict[str, list[Row]]:
    """Return the moves of these orders by number, oldest first; a number that is none is left out.

    Each has the order's type beside it.
    """
    by_order: dict[str, list[Row]] = {}
    for row in await connection.fetch(STEPS, numbers):
        by_order.setdefault(row["number"], []).append(row)
    return by_order
