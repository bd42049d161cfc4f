"""Read-only queries on orders: status, history, lists and statistics."""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from itertools import accumulate
from typing import Any, NamedTuple, TypeAlias

import asyncpg

from restaurant_system.database.connection import Connection
from restaurant_system.models.order import OrderType
from restaurant_system.models.status import OrderStatus

Row: TypeAlias = asyncpg.Record


class QueuePosition(NamedTuple):
    """The position of a waiting order: after those of higher priority, and older equal ones."""

    priority: int
    order_id: int


STATUSES = """
SELECT id, number, type, priority, status, updated_at, estimated_completion, processed_by
FROM orders WHERE number = ANY($1)
"""


async def statuses(connection: Connection, numbers: Sequence[str]) -> dict[str, Row]:
    """Return the status of these orders by number; unknown numbers are left out."""
    return {row["number"]: row for row in await connection.fetch(STATUSES, numbers)}


# Scans each waiting order once, however many positions are given: `width_bucket` tells between
# which two of the given ids it is. Orders after the last given position are ahead of none.
AHEAD = """
SELECT type, priority, width_bucket(id, $1::bigint[]) AS gap, count(*) AS orders FROM orders
WHERE status = 'received' AND (priority > $2 OR (priority = $2 AND id < $3))
GROUP BY type, priority, gap
"""


async def waiting_ahead(
    connection: Connection, positions: Sequence[QueuePosition]
) -> list[dict[OrderType, int]]:
    """Count the waiting orders before each queue position, by type."""
    ids = sorted({position.order_id for position in positions})
    last = max(positions, key=lambda position: (-position.priority, position.order_id))
    rows = await connection.fetch(AHEAD, ids, last.priority, last.order_id)
    gaps: dict[tuple[OrderType, int], list[int]] = {}
    for row in rows:
        kind = OrderType(row["type"]), row["priority"]
        gaps.setdefault(kind, [0] * (len(ids) + 1))[row["gap"]] = row["orders"]
    up_to = {kind: list(accumulate(counts)) for kind, counts in gaps.items()}
    return [_ahead(each.priority, bisect_left(ids, each.order_id), up_to) for each in positions]


def _ahead(
    priority: int, gap: int, up_to: Mapping[tuple[OrderType, int], Sequence[int]]
) -> dict[OrderType, int]:
    """Sum the waiting orders of higher priority, and those of equal priority before a position."""
    ahead = dict.fromkeys(OrderType, 0)
    for (order_type, other_priority), counts in up_to.items():
        if other_priority > priority:
            ahead[order_type] += counts[-1]
        elif other_priority == priority:
            ahead[order_type] += counts[gap]
    return ahead


COOKING_UNTIL = """
SELECT processed_by, estimated_completion FROM orders
WHERE status = 'cooking' AND processed_by = ANY($1) AND estimated_completion IS NOT NULL
"""


async def cooking_until(connection: Connection, cooks: Sequence[str]) -> list[tuple[str, datetime]]:
    """Return the cook and the estimated completion of each order that these cooks cook now."""
    rows = await connection.fetch(COOKING_UNTIL, cooks)
    return [(row["processed_by"], row["estimated_completion"]) for row in rows]


HISTORY = """
SELECT log.status, log.changed_at, log.changed_by
FROM order_status_log log JOIN orders ON orders.id = log.order_id
WHERE orders.number = $1 ORDER BY log.id
"""


async def history(connection: Connection, number: str) -> list[asyncpg.Record]:
    """Return the status log of an order, oldest first; empty if there is no such order."""
    return await connection.fetch(HISTORY, number)


ORDER_COLUMNS = """
id, number, customer_name, type, table_number, delivery_address, notes, total_amount, priority,
status, processed_by, created_at, updated_at, completed_at, estimated_completion
"""
# The newest orders of each status and type come from an index; the newest of all are among them. A
# filter applied row by row would scan years if only old orders match it.
ORDERS = f"""
SELECT {ORDER_COLUMNS} FROM orders
WHERE id = ANY (ARRAY(
    SELECT newest.id
    FROM unnest($1::text[]) AS wanted (status) CROSS JOIN unnest($2::text[]) AS wanted_types (type)
    CROSS JOIN LATERAL (
        SELECT id FROM orders
        WHERE status = wanted.status AND type = wanted_types.type AND id < $3
        ORDER BY id DESC LIMIT $4
    ) AS newest
    ORDER BY newest.id DESC LIMIT $4
))
ORDER BY id DESC
"""
MAX_ID = 2**63 - 1


async def orders(
    connection: Connection,
    *,
    status: str | None,
    order_type: str | None,
    before: int | None,
    limit: int,
) -> list[asyncpg.Record]:
    """Return orders with an id below `before`, newest first."""
    statuses = list(OrderStatus) if status is None else [status]
    types = list(OrderType) if order_type is None else [order_type]
    return await connection.fetch(ORDERS, statuses, types, before or MAX_ID, limit)


ORDER = f"SELECT {ORDER_COLUMNS} FROM orders WHERE number = $1"


async def order(connection: Connection, number: str) -> asyncpg.Record | None:
    """Return an order without its items; `None` if there is no such order."""
    return await connection.fetchrow(ORDER, number)


TRACKING_LINK = "SELECT tracking_token FROM orders WHERE number = $1"


async def tracking_token(connection: Connection, number: str) -> bytes | None:
    """Return the token of an order's tracking link; `None` if it has none, or does not exist."""
    token: bytes | None = await connection.fetchval(TRACKING_LINK, number)
    return token


ITEMS = """
SELECT order_id, name, quantity, price, notes FROM order_items
WHERE order_id = ANY($1) ORDER BY order_id, id
"""


async def items(
    connection: Connection, order_ids: Sequence[int]
) -> dict[int, list[dict[str, Any]]]:
    """Return the items of these orders by order id."""
    by_order: dict[int, list[dict[str, Any]]] = {order_id: [] for order_id in order_ids}
    for row in await connection.fetch(ITEMS, list(order_ids)):
        item = dict(row)
        by_order[item.pop("order_id")].append(item)
    return by_order


# When an order counts as late is defined by `Lateness` in models/timing.py.
COUNTS = """
SELECT status, type, count(*) AS orders,
       count(*) FILTER (WHERE coalesce(completed_at, $2) - created_at >= late.age) AS late
FROM orders JOIN unnest($3::text[], $4::interval[]) AS late (type, age) USING (type)
WHERE business_date = $1 GROUP BY status, type
"""


async def counts(
    connection: Connection,
    business_date: date,
    now: datetime,
    late_after: Mapping[OrderType, timedelta],
) -> list[asyncpg.Record]:
    """Count a day's orders, and the late ones among them, by status and type."""
    types, ages = list(late_after), list(late_after.values())
    return await connection.fetch(COUNTS, business_date, now, types, ages)


OPEN = """
SELECT status, type, count(*) AS orders FROM orders
WHERE status IN ('received', 'cooking') GROUP BY status, type
"""


async def open_orders(connection: Connection) -> dict[OrderStatus, dict[OrderType, int]]:
    """Count the received and the cooking orders of all days by type."""
    found = {
        status: dict.fromkeys(OrderType, 0)
        for status in (OrderStatus.RECEIVED, OrderStatus.COOKING)
    }
    for row in await connection.fetch(OPEN):
        found[OrderStatus(row["status"])][OrderType(row["type"])] = row["orders"]
    return found


PREPARATION = """
SELECT type,
       percentile_cont(ARRAY[0.5, 0.9, 0.99]) WITHIN GROUP (
           ORDER BY extract(epoch FROM completed_at - created_at)::float) AS percentiles
FROM orders WHERE business_date = $1 AND completed_at IS NOT NULL
GROUP BY type
"""


async def preparation_percentiles(
    connection: Connection, business_date: date
) -> dict[OrderType, list[float]]:
    """Return p50, p90 and p99 of a day's seconds from received to ready, by type."""
    rows = await connection.fetch(PREPARATION, business_date)
    return {OrderType(row["type"]): row["percentiles"] for row in rows}


PER_HOUR = """
SELECT date_trunc('hour', created_at, $2) AS hour, count(*) AS orders
FROM orders WHERE business_date = $1 GROUP BY hour ORDER BY hour
"""


async def per_hour(
    connection: Connection, business_date: date, timezone: str
) -> dict[datetime, int]:
    """Count a day's orders by hour in a time zone; hours without orders are left out."""
    rows = await connection.fetch(PER_HOUR, business_date, timezone)
    return {row["hour"]: row["orders"] for row in rows}
