"""What has to be said again when messages are lost: orders that stand still, and recent moves."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime

import asyncpg

from restaurant_system.database import tracking
from restaurant_system.database.connection import Connection
from restaurant_system.models.message import OrderReceived, StatusChanged
from restaurant_system.models.order import OrderType
from restaurant_system.models.standstill import Standing
from restaurant_system.models.status import OrderStatus

# Any number that nobody else locks; held by whoever says something again, until it is committed.
LOCK = 7_278_110_043

TAKE_TURN = "SELECT pg_try_advisory_xact_lock($1)"


async def take_turn(tx: Connection) -> bool:
    """Keep others from saying the same again until this transaction ends; `False`: one is at it."""
    turn: bool = await tx.fetchval(TAKE_TURN, LOCK)
    return turn


# Received, or not ready though they should be; what still stands in the outbox has yet to be sent.
# (An order without items, written by hand, is nothing that could be sent.)
WAITING = """
FROM (
    SELECT id, number, type, status, created_at AS since FROM orders WHERE status = 'received'
    UNION ALL
    SELECT id, number, type, status, coalesce(estimated_completion, updated_at) AS since
    FROM orders WHERE status = 'cooking' AND coalesce(estimated_completion, updated_at) < $2
) AS waiting
LEFT JOIN order_resends ON order_resends.order_id = waiting.id
WHERE NOT EXISTS (SELECT FROM outbox WHERE outbox.stream = $1 || '/' || waiting.number)
  AND EXISTS (SELECT FROM order_items WHERE order_items.order_id = waiting.id)
"""

COUNT_STANDING = f"SELECT type, count(*) AS orders {WAITING} GROUP BY type"


async def count_standing(
    connection: Connection, *, exchange: str, overdue_before: datetime
) -> Counter[OrderType]:
    """Count, by type, the orders that `standing` would return."""
    rows = await connection.fetch(COUNT_STANDING, exchange, overdue_before)
    return Counter({OrderType(row["type"]): row["orders"] for row in rows})


# Whose cook is overdue was taken from the queue before those that are still received.
STANDING = f"""
SELECT id, number, type, status, since, coalesce(resends, 0) AS resends, resent_at {WAITING}
  AND ($3::bigint[] IS NULL OR id = ANY($3))
ORDER BY status = 'received', id
"""


async def standing(
    connection: Connection,
    *,
    exchange: str,
    overdue_before: datetime,
    among: Sequence[int] | None = None,
) -> list[Standing]:
    """Return the orders that wait for a message, those first that have waited longest for one.

    They are received, or should have been ready before `overdue_before`; and their message is not
    among those still owed to `exchange`. Only orders `among` these ids, if any are given.
    """
    rows = await connection.fetch(STANDING, exchange, overdue_before, among)
    return [_standing(row) for row in rows]


ORDERS = """
SELECT id, number AS order_number, customer_name, type AS order_type, table_number,
       delivery_address, notes, total_amount, priority
FROM orders WHERE id = ANY($1) ORDER BY id
"""


async def as_received(tx: Connection, ids: Sequence[int]) -> list[OrderReceived]:
    """Return orders as the kitchen was told of them, oldest first."""
    items = await tracking.items(tx, ids)
    return [
        OrderReceived(**dict(row), items=items[row["id"]]) for row in await tx.fetch(ORDERS, ids)
    ]


NOTE_RESENT = """
INSERT INTO order_resends (order_id, resent_at) SELECT id, $2 FROM unnest($1::bigint[]) AS id
ON CONFLICT (order_id) DO UPDATE
    SET resent_at = excluded.resent_at, resends = order_resends.resends + 1
"""


async def note_resent(tx: Connection, ids: Sequence[int], at: datetime) -> None:
    """Remember that these orders were sent again."""
    await tx.execute(NOTE_RESENT, ids, at)


HAS_MOVED = """
SELECT EXISTS (
    SELECT FROM order_status_log WHERE changed_at >= $1 AND status <> 'received'
)
"""


async def has_moved(connection: Connection, since: datetime) -> bool:
    """Tell whether any order was moved since then."""
    moved: bool = await connection.fetchval(HAS_MOVED, since)
    return moved


# Nobody moves one of these orders until what is said again stands in the outbox: a later move must
# be told later.
HOLD_MOVED = """
SELECT id FROM orders
WHERE id IN (SELECT order_id FROM order_status_log WHERE changed_at >= $1)
ORDER BY id FOR SHARE
"""

MOVES = """
SELECT number AS order_number, old_status, moves.status AS new_status, changed_by,
       changed_at AS timestamp,
       CASE WHEN moves.status = 'cooking' AND orders.status = 'cooking'
            THEN estimated_completion END AS estimated_completion
FROM (
    SELECT id, order_id, status, changed_by, changed_at,
           lag(status) OVER (PARTITION BY order_id ORDER BY id) AS old_status
    FROM order_status_log WHERE order_id = ANY($1)
) AS moves
JOIN orders ON orders.id = moves.order_id
WHERE old_status IS NOT NULL AND changed_at >= $2
ORDER BY moves.id
"""


async def moves_since(tx: Connection, since: datetime) -> list[StatusChanged]:
    """Return the moves made since then, in order; no more are made until this transaction ends."""
    ids = [row["id"] for row in await tx.fetch(HOLD_MOVED, since)]
    return [StatusChanged(**row) for row in await tx.fetch(MOVES, ids, since)]


def _standing(row: asyncpg.Record) -> Standing:
    return Standing(
        id=row["id"],
        number=row["number"],
        order_type=OrderType(row["type"]),
        status=OrderStatus(row["status"]),
        since=row["since"],
        resends=row["resends"],
        resent_at=row["resent_at"],
    )
