"""What has to be said again when messages are lost: orders that stand still, and recent moves."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import asyncpg

from restaurant_system.database import tracking_queries
from restaurant_system.database.connection import Connection
from restaurant_system.database.workers import ONLINE_CONDITION
from restaurant_system.models.message import OrderReceived, StatusChanged
from restaurant_system.models.order import OrderType
from restaurant_system.models.status import OrderStatus

# Any number that nobody else locks; held by whoever says something again, until it is committed.
LOCK = 7_278_110_043

TRY_LOCK = "SELECT pg_try_advisory_xact_lock($1)"


async def try_lock(tx: Connection) -> bool:
    """Keep others from saying the same again until this transaction ends; `False`: one is at it."""
    turn: bool = await tx.fetchval(TRY_LOCK, LOCK)
    return turn


@dataclass(frozen=True, slots=True)
class ScanBounds:
    """What is looked at: orders up to the `newest`, and who should have been ready by a moment.

    It stays the same from look to look, so that nobody comes in who was not there at the first.
    """

    newest: int
    overdue_before: datetime


NEWEST = "SELECT coalesce(max(id), 0) FROM orders"


async def scan_bounds(connection: Connection, overdue_before: datetime) -> ScanBounds:
    """Take in all orders that there are now."""
    return ScanBounds(await connection.fetchval(NEWEST), overdue_before)


# Received, or not ready though they should be, and not before people, who take the time they need.
# Whose cook is overdue was taken from the queue before those that are still received. (An order
# without items, written by hand, is nothing that could be sent.)
WAITING = f"""(
    SELECT * FROM (
        SELECT id, number, type, status, created_at AS since, 1 AS turn
        FROM orders WHERE status = 'received' AND id <= $1
        UNION ALL
        SELECT id, number, type, status, coalesce(estimated_completion, updated_at) AS since, 0
        FROM orders
        WHERE status = 'cooking' AND id <= $1 AND coalesce(estimated_completion, updated_at) < $2
    ) AS unfinished
    WHERE EXISTS (SELECT FROM order_items WHERE order_id = unfinished.id)
      AND NOT EXISTS (
          SELECT FROM station_tickets JOIN workers ON workers.name = station
          WHERE order_id = unfinished.id AND bumped_at IS NULL AND {ONLINE_CONDITION})
) AS waiting"""


@dataclass(frozen=True, slots=True)
class Waiting:
    """How many orders of each type wait for a message, and whose is `owed`: in the outbox still."""

    orders: Counter[OrderType]
    owed: Counter[OrderType]


COUNT_WAITING = f"""
SELECT type, count(*) AS orders, count(stream) AS owed FROM {WAITING}
LEFT JOIN (SELECT DISTINCT stream FROM outbox WHERE exchange = $3) AS owed
    ON stream = $3 || '/' || number
GROUP BY type
"""


async def count_waiting(connection: Connection, within: ScanBounds, exchange: str) -> Waiting:
    """Count the orders that wait for a message, and those of them still owed to `exchange`."""
    rows = await connection.fetch(COUNT_WAITING, within.newest, within.overdue_before, exchange)
    return Waiting(
        Counter({OrderType(row["type"]): row["orders"] for row in rows}),
        Counter({OrderType(row["type"]): row["owed"] for row in rows}),
    )


@dataclass(frozen=True, slots=True)
class Position:
    """Where an order stands among those of its type that wait; who waits longest is first."""

    turn: int
    id: int


START = Position(0, 0)

# An order that was sent again keeps its place, also while it is owed: nobody else is sent instead.
NTH_POSITION = f"""
SELECT turn, id FROM (
    SELECT turn, id FROM {WAITING}
    WHERE type = $4 AND (
        NOT EXISTS (SELECT FROM outbox WHERE stream = $3 || '/' || number)
        OR EXISTS (SELECT FROM order_resends WHERE order_id = id)
    )
    ORDER BY turn, id LIMIT $5
) AS oldest
ORDER BY turn DESC, id DESC LIMIT 1
"""


async def nth_position(
    connection: Connection, nth: int, order_type: OrderType, within: ScanBounds, exchange: str
) -> Position:
    """Return the place of the n-th order that lacks a message or was sent one again."""
    row = await connection.fetchrow(
        NTH_POSITION, within.newest, within.overdue_before, exchange, order_type, nth
    )
    return START if row is None else Position(**row)


NEXT_POSITIONS = f"""
SELECT turn, id FROM {WAITING}
WHERE type = $3 AND (turn, id) > ($4, $5) AND (turn, id) <= ($6, $7)
ORDER BY turn, id LIMIT $8
"""


async def next_positions(
    connection: Connection,
    order_type: OrderType,
    within: ScanBounds,
    *,
    after: Position,
    last: Position,
    limit: int,
) -> list[Position]:
    """Return the next places of orders that wait, in order."""
    rows = await connection.fetch(
        NEXT_POSITIONS,
        within.newest,
        within.overdue_before,
        order_type,
        *(after.turn, after.id),
        *(last.turn, last.id),
        limit,
    )
    return [Position(**row) for row in rows]


@dataclass(frozen=True, slots=True, kw_only=True)
class StuckOrder:
    """An order that goes on only when a message about it reaches a cook.

    It stands `since` it was placed or, if its cook did not finish it, since it should be ready.
    """

    id: int
    number: str
    order_type: OrderType
    status: OrderStatus
    since: datetime
    resends: int = 0
    resent_at: datetime | None = None

    def is_due(self, now: datetime, after: timedelta) -> bool:
        """Tell whether it has stood for over `after`; twice as long each time it was sent again."""
        last = max(self.since, self.resent_at or self.since)
        return now - last > after * (1 << self.resends)


STUCK_ORDERS = f"""
SELECT id, number, type, status, since, coalesce(resends, 0) AS resends, resent_at FROM {WAITING}
LEFT JOIN order_resends ON order_id = id
WHERE id = ANY($4) AND NOT EXISTS (SELECT FROM outbox WHERE stream = $3 || '/' || number)
ORDER BY turn, id
"""


async def stuck_orders(
    connection: Connection, among: Sequence[int], within: ScanBounds, exchange: str
) -> list[StuckOrder]:
    """Return those `among` these orders that wait for a message which is not owed any more."""
    rows = await connection.fetch(
        STUCK_ORDERS, within.newest, within.overdue_before, exchange, list(among)
    )
    return [_stuck_order(row) for row in rows]


ORDERS = """
SELECT id, number AS order_number, customer_name, type AS order_type, table_number,
       delivery_address, notes, total_amount, priority
FROM orders WHERE id = ANY($1) ORDER BY id
"""


async def order_bodies(tx: Connection, ids: Sequence[int]) -> list[OrderReceived]:
    """Return orders as the kitchen was told of them, oldest first."""
    items = await tracking_queries.items(tx, ids)
    return [
        OrderReceived(**dict(row), items=items[row["id"]]) for row in await tx.fetch(ORDERS, ids)
    ]


RECORD_RESENDS = """
INSERT INTO order_resends (order_id, resent_at) SELECT id, $2 FROM unnest($1::bigint[]) AS id
ON CONFLICT (order_id) DO UPDATE
    SET resent_at = excluded.resent_at, resends = order_resends.resends + 1
"""


async def record_resends(tx: Connection, ids: Sequence[int], at: datetime) -> None:
    """Remember that these orders were sent again."""
    await tx.execute(RECORD_RESENDS, ids, at)


# Counted, for EXISTS would have the server try its luck from the beginning of the log.
ANY_MOVED = """
SELECT count(*) > 0 FROM order_status_log WHERE changed_at >= $1 AND status <> 'received'
"""


async def any_moved_since(connection: Connection, since: datetime) -> bool:
    """Tell whether any order was moved since then."""
    moved: bool = await connection.fetchval(ANY_MOVED, since)
    return moved


MOVED = """
SELECT array_agg(DISTINCT order_id ORDER BY order_id) FROM order_status_log
WHERE changed_at >= $1 AND status <> 'received'
"""


async def orders_moved_since(connection: Connection, since: datetime) -> list[int]:
    """Return the orders that were moved since then."""
    return await connection.fetchval(MOVED, since) or []


# Nobody moves one of these orders until what is said again stands in the outbox: a later move must
# be told later.
HOLD = "SELECT FROM orders WHERE id = ANY($1) ORDER BY id FOR SHARE"

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


async def status_changes_since(
    tx: Connection, since: datetime, among: Sequence[int]
) -> list[StatusChanged]:
    """Return the moves of these orders since then, in order.

    Nobody moves one of them until this transaction ends.
    """
    ids = list(among)
    await tx.execute(HOLD, ids)
    return [StatusChanged(**row) for row in await tx.fetch(MOVES, ids, since)]


def _stuck_order(row: asyncpg.Record) -> StuckOrder:
    return StuckOrder(
        id=row["id"],
        number=row["number"],
        order_type=OrderType(row["type"]),
        status=OrderStatus(row["status"]),
        since=row["since"],
        resends=row["resends"],
        resent_at=row["resent_at"],
    )
