"""Find the orders and status changes to publish again after a broker has lost messages."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import asyncpg
from pydantic import ValidationError

from restaurant_system.database import outbox, tracking_queries
from restaurant_system.database.connection import Connection
from restaurant_system.database.orders import SENT_AT
from restaurant_system.database.workers import ONLINE_CONDITION
from restaurant_system.logger import get_logger
from restaurant_system.models.fields import without_unset
from restaurant_system.models.message import OrderReceived, StatusChanged
from restaurant_system.models.order import OPTIONAL_OF_ORDER, OrderType
from restaurant_system.models.status import OrderStatus

log = get_logger()

# The key of an advisory lock, held by a transaction that publishes something again.
LOCK = 7_278_110_043

TRY_LOCK = "SELECT pg_try_advisory_xact_lock($1)"


async def try_lock(tx: Connection) -> bool:
    """Lock reconciliation until this transaction ends; return `False` if it is locked already."""
    is_locked: bool = await tx.fetchval(TRY_LOCK, LOCK)
    return is_locked


@dataclass(frozen=True, slots=True)
class ScanBounds:
    """The orders that a reconciliation covers: up to the id `newest`, overdue at `overdue_before`.

    Received orders are covered if they were released at `released_since`, the start of the business
    date, or later: earlier ones are held. All queries of one check use the same bounds, so that no
    order is added while it runs.
    """

    newest: int
    overdue_before: datetime
    released_since: datetime


NEWEST = "SELECT coalesce(max(id), 0) FROM orders"


async def scan_bounds(
    connection: Connection, overdue_before: datetime, released_since: datetime
) -> ScanBounds:
    """Return scan bounds that cover all orders of this moment."""
    return ScanBounds(await connection.fetchval(NEWEST), overdue_before, released_since)


def _waiting(released_since: int) -> str:
    """Return a subquery for the orders that need a message; the parameter has this number.

    These are orders that are received and released, or overdue in cooking, unless they are on the
    screen of an online station, where people take the time they need. Overdue orders come first:
    their messages left the queue before those of the received ones. An order without items,
    inserted by hand, cannot be published. With `id + 0`, the planner does not read a range of ids.
    """
    return f"""(
    SELECT * FROM (
        SELECT id, number, type, status, {SENT_AT} AS since, 1 AS overdue_rank
        FROM orders
        WHERE status = 'received' AND id + 0 <= $1 AND released_at >= ${released_since}
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
    """The numbers, by type, of orders that need a message, and of those with one in the outbox."""

    orders: Counter[OrderType]
    in_outbox: Counter[OrderType]


FIRST_QUEUED = outbox.first_in_stream("$3 || '/' || number")

COUNT_WAITING = f"""
SELECT type, count(*) AS orders, count({FIRST_QUEUED}) AS in_outbox FROM {_waiting(4)}
GROUP BY type
"""


async def count_waiting(connection: Connection, within: ScanBounds, exchange: str) -> Waiting:
    """Count the orders that need a message, and those with one to `exchange` in the outbox."""
    rows = await connection.fetch(
        COUNT_WAITING, within.newest, within.overdue_before, exchange, within.released_since
    )
    return Waiting(
        Counter({OrderType(row["type"]): row["orders"] for row in rows}),
        Counter({OrderType(row["type"]): row["in_outbox"] for row in rows}),
    )


@dataclass(frozen=True, slots=True)
class Position:
    """The position of an order among those of its type.

    Overdue orders have the rank 0, received ones 1; within a rank they are sorted by id.
    """

    overdue_rank: int
    id: int


START = Position(0, 0)

# An order that was published again keeps its position while its message is in the outbox, so that
# no other order is published in its place.
NTH_POSITION = f"""
SELECT overdue_rank, id FROM (
    SELECT overdue_rank, id FROM {_waiting(6)}
    WHERE type = $4 AND (
        {FIRST_QUEUED} IS NULL
        OR EXISTS (SELECT FROM order_resends WHERE order_id = id)
    )
    ORDER BY overdue_rank, id LIMIT $5
) AS oldest
ORDER BY overdue_rank DESC, id DESC LIMIT 1
"""


async def nth_position(
    connection: Connection, nth: int, order_type: OrderType, within: ScanBounds, exchange: str
) -> Position:
    """Return the position of the n-th order that has no message, or was published again."""
    row = await connection.fetchrow(
        NTH_POSITION,
        within.newest,
        within.overdue_before,
        exchange,
        order_type,
        nth,
        within.released_since,
    )
    return START if row is None else Position(**row)


NEXT_POSITIONS = f"""
SELECT overdue_rank, id FROM {_waiting(9)}
WHERE type = $3 AND (overdue_rank, id) > ($4, $5) AND (overdue_rank, id) <= ($6, $7)
ORDER BY overdue_rank, id LIMIT $8
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
    """Return the next positions of orders between `after` and `last`, in order."""
    rows = await connection.fetch(
        NEXT_POSITIONS,
        within.newest,
        within.overdue_before,
        order_type,
        *(after.overdue_rank, after.id),
        *(last.overdue_rank, last.id),
        limit,
        within.released_since,
    )
    return [Position(**row) for row in rows]


@dataclass(frozen=True, slots=True, kw_only=True)
class StuckOrder:
    """An order that continues only once a message about it reaches a worker.

    It is stuck `since` it was placed, or since it should have been ready.
    """

    id: int
    number: str
    order_type: OrderType
    status: OrderStatus
    since: datetime
    resends: int = 0
    resent_at: datetime | None = None

    def is_due(self, now: datetime, after: timedelta) -> bool:
        """Return whether the order is stuck for longer than `after`, doubled with each resend."""
        last = max(self.since, self.resent_at or self.since)
        return now - last > after * (1 << self.resends)


STUCK_ORDERS = f"""
SELECT id, number, type, status, since, coalesce(resends, 0) AS resends, resent_at
FROM {_waiting(5)}
LEFT JOIN order_resends ON order_id = id
WHERE id = ANY($4) AND {FIRST_QUEUED} IS NULL
ORDER BY overdue_rank, id
"""


async def stuck_orders(
    connection: Connection, among: Sequence[int], within: ScanBounds, exchange: str
) -> list[StuckOrder]:
    """Return those of these orders that need a message and have none in the outbox."""
    rows = await connection.fetch(
        STUCK_ORDERS,
        within.newest,
        within.overdue_before,
        exchange,
        list(among),
        within.released_since,
    )
    return [_stuck_order(row) for row in rows]


ORDERS = """
SELECT id, number AS order_number, customer_name, type AS order_type, table_number,
       delivery_address, notes, total_amount, priority, handoff, table_label AS table,
       allergy_note, reference, channel, external_id, phone, ready_at, charges, amount_due
FROM orders WHERE id = ANY($1) ORDER BY id
"""


async def order_bodies(tx: Connection, ids: Sequence[int]) -> list[OrderReceived]:
    """Return the message bodies of these orders, in the order of their ids.

    An order whose rows make no valid message is left out, and logged: workers find it without one.
    """
    items = await tracking_queries.items(tx, ids)
    bodies = (_order_body(row, items.get(row["id"], [])) for row in await tx.fetch(ORDERS, ids))
    return [body for body in bodies if body is not None]


def _order_body(row: asyncpg.Record, items: Sequence[Any]) -> OrderReceived | None:
    fields = without_unset(dict(row), OPTIONAL_OF_ORDER) | tracking_queries.optional_fields(row)
    try:
        return OrderReceived(**fields, items=items)
    except ValidationError:  # its text contains no values
        number = row["order_number"]
        log.exception(
            "order_message_invalid",
            message=f"Order {number} has no valid message; correct its rows in the database.",
            order_number=number,
        )
        return None


RECORD_ATTEMPTS = """
INSERT INTO order_resends (order_id, resent_at) SELECT id, $2 FROM unnest($1::bigint[]) AS id
ON CONFLICT (order_id) DO UPDATE
    SET resent_at = excluded.resent_at, resends = order_resends.resends + 1
"""


async def record_attempts(tx: Connection, ids: Sequence[int], at: datetime) -> None:
    """Record an attempt to publish these orders again."""
    await tx.execute(RECORD_ATTEMPTS, ids, at)


# Counted instead of EXISTS, for which the planner would scan the log from its beginning.
ANY_MOVED = """
SELECT count(*) > 0 FROM order_status_log WHERE changed_at >= $1 AND status <> 'received'
"""


async def any_moved_since(connection: Connection, since: datetime) -> bool:
    """Return whether any order has changed its status since then."""
    moved: bool = await connection.fetchval(ANY_MOVED, since)
    return moved


MOVED = """
SELECT array_agg(DISTINCT order_id ORDER BY order_id) FROM order_status_log
WHERE changed_at >= $1 AND status <> 'received'
"""


async def orders_moved_since(connection: Connection, since: datetime) -> list[int]:
    """Return the ids of the orders that have changed their status since then."""
    return await connection.fetchval(MOVED, since) or []


# Locks the orders until the repeated messages are in the outbox, so that the message of a later
# move comes after them.
LOCK_ORDERS = "SELECT FROM orders WHERE id = ANY($1) ORDER BY id FOR SHARE"

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
WHERE orders.id = ANY($1) AND old_status IS NOT NULL AND changed_at >= $2
ORDER BY moves.id
"""


async def status_changes_since(
    tx: Connection, since: datetime, among: Sequence[int]
) -> list[StatusChanged]:
    """Return the status changes of these orders since then, oldest first.

    The orders stay locked against moves until this transaction ends.
    """
    ids = list(among)
    await tx.execute(LOCK_ORDERS, ids)
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
