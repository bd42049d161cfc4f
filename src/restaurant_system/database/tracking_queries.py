"""What may be asked about orders; nothing here changes anything."""

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
    """Where an order waits: behind all that is more urgent, or as urgent and older."""

    priority: int
    order_id: int


STATUSES = """
SELECT id, number, type, priority, status, updated_at, estimated_completion, processed_by
FROM orders WHERE number = ANY($1)
"""


async def statuses(connection: Connection, numbers: Sequence[str]) -> dict[str, Row]:
    """Return where these orders stand, by number; a number that is none is left out."""
    return {row["number"]: row for row in await connection.fetch(STATUSES, numbers)}


# Each waiting order once, however many are asked about: it falls between two of these, by its id.
# Whoever comes after the last in line of them is ahead of nobody.
AHEAD = """
SELECT type, priority, width_bucket(id, $1::bigint[]) AS gap, count(*) AS orders FROM orders
WHERE status = 'received' AND (priority > $2 OR (priority = $2 AND id < $3))
GROUP BY type, priority, gap
"""


async def waiting_ahead(
    connection: Connection, places: Sequence[QueuePosition]
) -> list[dict[OrderType, int]]:
    """Count, for each place in line, the waiting orders that come before it, by type."""
    ids = sorted({place.order_id for place in places})
    last = max(places, key=lambda place: (-place.priority, place.order_id))
    rows = await connection.fetch(AHEAD, ids, last.priority, last.order_id)
    gaps: dict[tuple[OrderType, int], list[int]] = {}
    for row in rows:
        kind = OrderType(row["type"]), row["priority"]
        gaps.setdefault(kind, [0] * (len(ids) + 1))[row["gap"]] = row["orders"]
    up_to = {kind: list(accumulate(counts)) for kind, counts in gaps.items()}
    return [_ahead(place.priority, bisect_left(ids, place.order_id), up_to) for place in places]


def _ahead(
    priority: int, gap: int, up_to: Mapping[tuple[OrderType, int], Sequence[int]]
) -> dict[OrderType, int]:
    """Add up all that is more urgent, and what is as urgent up to this gap."""
    ahead = dict.fromkeys(OrderType, 0)
    for (order_type, urgency), counts in up_to.items():
        if urgency > priority:
            ahead[order_type] += counts[-1]
        elif urgency == priority:
            ahead[order_type] += counts[gap]
    return ahead


COOKING_UNTIL = """
SELECT processed_by, estimated_completion FROM orders
WHERE status = 'cooking' AND processed_by = ANY($1) AND estimated_completion IS NOT NULL
"""


async def cooking_until(connection: Connection, cooks: Sequence[str]) -> list[tuple[str, datetime]]:
    """Return when each order that these cooks have in hand is due, with its cook."""
    rows = await connection.fetch(COOKING_UNTIL, cooks)
    return [(row["processed_by"], row["estimated_completion"]) for row in rows]


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


# Whether an order is late, and counts, is said in models/lateness.py.
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
    """Count a day's orders by status and type, and those that are late, or were."""
    types, ages = list(late_after), list(late_after.values())
    return await connection.fetch(COUNTS, business_date, now, types, ages)


OPEN = """
SELECT status, type, count(*) AS orders FROM orders
WHERE status IN ('received', 'cooking') GROUP BY status, type
"""


async def open_orders(connection: Connection) -> dict[OrderStatus, dict[OrderType, int]]:
    """Count what waits and what cooks, of whatever day, by type."""
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
    """Return p50, p90 and p99 of the seconds from received to ready, by type, for a day."""
    rows = await connection.fetch(PREPARATION, business_date)
    return {OrderType(row["type"]): row["percentiles"] for row in rows}


PER_HOUR = """
SELECT date_trunc('hour', created_at, $2) AS hour, count(*) AS orders
FROM orders WHERE business_date = $1 GROUP BY hour ORDER BY hour
"""


async def per_hour(
    connection: Connection, business_date: date, timezone: str
) -> dict[datetime, int]:
    """Count a day's orders by the hour of a zone in which they came, empty hours left out."""
    rows = await connection.fetch(PER_HOUR, business_date, timezone)
    return {row["hour"]: row["orders"] for row in rows}
