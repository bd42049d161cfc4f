"""Queries on tickets: which orders are assigned to which station of the kitchen display."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

import asyncpg

from restaurant_system.database.connection import Connection
from restaurant_system.database.workers import ONLINE_CONDITION
from restaurant_system.models.order import OrderType
from restaurant_system.models.status import OrderStatus

RECALLABLE = 50  # bumped tickets that are kept for each station


@dataclass(frozen=True, slots=True, kw_only=True)
class TicketContents:
    """What a ticket says of its order, besides the items."""

    order_id: int
    number: str
    order_type: OrderType
    handoff: str | None
    table_number: int | None
    table_label: str | None
    customer_name: str | None
    reference: str | None
    channel: str | None
    allergy_note: str | None
    notes: str | None
    ready_at: datetime | None
    amount_due: Decimal | None
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class TicketRow(TicketContents):
    """An order, with the station it is assigned to, if any.

    An order whose start is held counts as cooking there, and as updated when it was started.
    """

    priority: int
    status: OrderStatus
    processed_by: str | None
    received_at: datetime
    rank_at: datetime | None  # None is before all times
    station: str | None
    station_is_online: bool
    rushed_at: datetime | None
    can_be_unrushed: bool | None
    crossed_off: list[int] | None
    started_at: datetime | None  # while the start is held
    cancel_reason: str | None
    bumped_at: datetime | None


# The columns of `TicketContents`.
CONTENTS = """
orders.id AS order_id, number, orders.type AS order_type, handoff, table_number, table_label,
customer_name, reference, channel, allergy_note, notes, ready_at, amount_due,
updated_at
"""
LIST_FOR_STATION = f"""
SELECT {CONTENTS}, priority, orders.status, processed_by, orders.created_at AS received_at,
       CASE WHEN isfinite(rank_at) THEN rank_at END AS rank_at, station, rushed_at, bumped_at,
       CASE WHEN orders.status = 'received' THEN started_at END AS started_at,
       CASE WHEN orders.status = 'cancelled' THEN (
           SELECT log.notes FROM order_status_log AS log
           WHERE log.order_id = orders.id AND log.status = 'cancelled' LIMIT 1
       ) END AS cancel_reason,
       rank_before_rush IS NOT NULL AS can_be_unrushed, crossed_off,
       EXISTS (SELECT FROM workers WHERE name = station AND {ONLINE_CONDITION}) AS station_is_online
FROM orders LEFT JOIN station_tickets ON order_id = orders.id
WHERE orders.id = ANY (ARRAY(
    SELECT id FROM orders WHERE number = ANY($2)
    UNION SELECT id FROM orders WHERE status = 'cooking' AND processed_by = $1
    UNION SELECT order_id FROM station_tickets
          WHERE station = $1 AND (bumped_at IS NULL OR bumped_at >= $3)
))
"""


async def list_for_station(
    connection: Connection, station: str, numbers: Sequence[str], *, bumped_since: datetime
) -> list[TicketRow]:
    """Return the orders with these numbers, and those that a station shows, cooks or has bumped."""
    rows = await connection.fetch(LIST_FOR_STATION, station, list(numbers), bumped_since)
    return [_ticket_row(row) for row in rows]


def _ticket_row(row: asyncpg.Record) -> TicketRow:
    values = dict(row)
    if row["started_at"] is not None:
        values |= {
            "status": OrderStatus.COOKING,
            "processed_by": row["station"],
            "updated_at": row["started_at"],
        }
    return TicketRow(
        **values
        | {
            "order_type": OrderType(values["order_type"]),
            "status": OrderStatus(values["status"]),
        }
    )


# The first orders of each type come from the index; the first of all are among them.
LIST_WAITING = f"""
SELECT next.id
FROM unnest(string_to_array((SELECT type FROM workers WHERE name = $1), ',')) AS wanted (type)
CROSS JOIN LATERAL (
    SELECT id, rank_at FROM orders
    WHERE status = 'received' AND type = wanted.type AND released_at >= $2
      AND NOT EXISTS (
          SELECT FROM station_tickets
          WHERE order_id = orders.id AND (started_at IS NOT NULL OR EXISTS (
              SELECT FROM workers WHERE name = station AND {ONLINE_CONDITION})))
    ORDER BY rank_at, id LIMIT $3
) AS next
ORDER BY next.rank_at, next.id LIMIT $3
"""


async def list_waiting(
    connection: Connection, station: str, *, released_since: datetime, limit: int
) -> list[int]:
    """Return the ids of the next orders that a station may claim when it has room."""
    rows = await connection.fetch(LIST_WAITING, station, released_since, limit)
    return [row["id"] for row in rows]


ASSIGN_ORDERS = """
INSERT INTO station_tickets (order_id, station, rushed_at)
SELECT id, $1, CASE rank_at WHEN '-infinity' THEN now() END FROM orders WHERE id = ANY ($2)
ON CONFLICT (order_id) DO UPDATE
    SET station = excluded.station, bumped_at = NULL,
        rushed_at = coalesce(station_tickets.rushed_at, excluded.rushed_at)
"""


async def assign_orders(connection: Connection, station: str, order_ids: Sequence[int]) -> None:
    """Assign orders to a station, also those that are assigned to another one."""
    await connection.execute(ASSIGN_ORDERS, station, list(order_ids))


UNASSIGN_ORDERS = "DELETE FROM station_tickets WHERE station = $1 AND order_id = ANY($2)"


async def unassign_orders(connection: Connection, station: str, order_ids: Sequence[int]) -> None:
    """Delete the assignments of orders to a station."""
    await connection.execute(UNASSIGN_ORDERS, station, list(order_ids))


UNASSIGN_OTHERS = """
DELETE FROM station_tickets USING orders
WHERE station = $1 AND order_id <> ALL ($2) AND orders.id = order_id AND status = 'received'
  AND started_at IS NULL
"""


async def unassign_others(connection: Connection, station: str, order_ids: Sequence[int]) -> None:
    """Delete the assignments of received orders to a station, except of those with these ids.

    An order whose start is held stays at the station.
    """
    await connection.execute(UNASSIGN_OTHERS, station, list(order_ids))


RECORD_BUMP = """
INSERT INTO station_tickets (order_id, station, bumped_at)
SELECT id, $1, $3 FROM orders WHERE number = $2
ON CONFLICT (order_id) DO UPDATE
    SET station = excluded.station, bumped_at = excluded.bumped_at
"""
DELETE_OLD_BUMPED = f"""
DELETE FROM station_tickets WHERE order_id = ANY (ARRAY(
    SELECT order_id FROM station_tickets WHERE station = $1 AND bumped_at IS NOT NULL
    ORDER BY bumped_at DESC OFFSET {RECALLABLE}
))
"""


async def record_bump(tx: Connection, station: str, number: str, at: datetime) -> None:
    """Record that a station has bumped an order; keep its last `RECALLABLE` records."""
    await tx.execute(RECORD_BUMP, station, number, at)
    await tx.execute(DELETE_OLD_BUMPED, station)


RECORD_RECALL = """
UPDATE station_tickets SET bumped_at = NULL
WHERE station = $1 AND order_id = (SELECT id FROM orders WHERE number = $2)
"""


async def record_recall(tx: Connection, station: str, number: str) -> None:
    """Record that a station has recalled an order: it is on the screen again."""
    await tx.execute(RECORD_RECALL, station, number)


SHOW_AGAIN = """
UPDATE station_tickets SET bumped_at = NULL
WHERE order_id = (SELECT id FROM orders WHERE number = $1)
"""


async def show_again(tx: Connection, number: str) -> None:
    """Put a bumped order back on the screens of its station, if a station has bumped it."""
    await tx.execute(SHOW_AGAIN, number)


# The rank outlives the assignment: a rushed order is also claimed first.
RUSH = """
WITH ranked AS (UPDATE orders SET rank_at = '-infinity' WHERE number = $1 RETURNING id)
UPDATE station_tickets
SET rushed_at = $2,
    rank_before_rush = coalesce(rank_before_rush, nullif(before.rank_at, '-infinity'))
FROM ranked JOIN orders AS before USING (id) -- as of the start of the statement
WHERE order_id = ranked.id
"""


async def rush(tx: Connection, number: str, *, at: datetime) -> None:
    """Rank an order before all others, and show that on the station it is assigned to, if any."""
    await tx.execute(RUSH, number, at)


UNRUSH = """
WITH rushed AS (
    SELECT order_id, rank_before_rush FROM station_tickets JOIN orders ON orders.id = order_id
    WHERE number = $1 AND rank_before_rush IS NOT NULL
), cleared AS (
    UPDATE station_tickets SET rushed_at = NULL, rank_before_rush = NULL
    FROM rushed WHERE station_tickets.order_id = rushed.order_id
)
UPDATE orders SET rank_at = rank_before_rush FROM rushed WHERE id = order_id
"""


async def unrush(tx: Connection, number: str) -> None:
    """Give an order that was rushed at a station the rank that it had before."""
    await tx.execute(UNRUSH, number)


CROSS_OFF = """
UPDATE station_tickets
SET crossed_off = CASE WHEN $4 THEN array_append(array_remove(crossed_off, $3), $3)
                       ELSE array_remove(crossed_off, $3) END
WHERE station = $1 AND order_id = (SELECT id FROM orders WHERE number = $2)
  AND $3 < (SELECT count(*) FROM order_items AS item WHERE item.order_id = station_tickets.order_id)
RETURNING order_id
"""


async def cross_off(tx: Connection, station: str, number: str, item: int, *, is_done: bool) -> bool:
    """Mark one item of an order at a station as done, or as not done; return whether it exists."""
    return await tx.fetchval(CROSS_OFF, station, number, item, is_done) is not None


UNASSIGN_ORDER = """
DELETE FROM station_tickets
WHERE station = $1 AND order_id = (SELECT id FROM orders WHERE number = $2)
"""


async def unassign_order(tx: Connection, station: str, number: str) -> None:
    """Delete the assignment of an order to a station."""
    await tx.execute(UNASSIGN_ORDER, station, number)


@dataclass(frozen=True, slots=True)
class LockedOrder:
    """An order whose row is locked until the transaction ends, as a station sees it.

    `is_assigned` tells whether it is assigned to the station, `is_taken` whether the station takes
    orders of its type, and `is_online` whether the station is online. An order whose start is held
    (`is_start_held`) counts as cooking at its station, and as updated when it was started. One that
    was handed over (`is_handed_over`) is ready until that cannot be undone any more.
    """

    order_type: OrderType
    status: OrderStatus
    processed_by: str | None
    updated_at: datetime
    released_at: datetime | None
    is_assigned: bool
    is_taken: bool
    is_online: bool
    is_start_held: bool
    is_handed_over: bool

    def is_waiting(self, *, released_since: datetime) -> bool:
        """Tell whether any worker may claim it: it is neither scheduled nor held."""
        return (
            self.status is OrderStatus.RECEIVED
            and self.released_at is not None
            and self.released_at >= released_since
        )


LOCK_ORDER = """
SELECT id, type, status, processed_by, updated_at, released_at, handed_over_at
FROM orders WHERE number = $1 FOR NO KEY UPDATE
"""
# Read after the lock is held: a tap that was waited for may have changed it.
AT_STATIONS = f"""
SELECT station, started_at, workers.type AS order_types,
       coalesce({ONLINE_CONDITION}, false) AS is_online
FROM (SELECT $1::bigint AS id) AS locked
LEFT JOIN station_tickets ON order_id = locked.id
LEFT JOIN workers ON workers.name = $2
"""


async def lock_order(tx: Connection, station: str, number: str) -> LockedOrder | None:
    """Lock an order's row until the transaction ends; return `None` when there is no such order."""
    order = await tx.fetchrow(LOCK_ORDER, number)
    if order is None:
        return None
    (at,) = await tx.fetch(AT_STATIONS, order["id"], station)
    status = OrderStatus(order["status"])
    is_start_held = status is OrderStatus.RECEIVED and at["started_at"] is not None
    return LockedOrder(
        order_type=OrderType(order["type"]),
        status=OrderStatus.COOKING if is_start_held else status,
        processed_by=at["station"] if is_start_held else order["processed_by"],
        updated_at=at["started_at"] if is_start_held else order["updated_at"],
        released_at=order["released_at"],
        is_assigned=at["station"] == station,
        is_taken=order["type"] in (at["order_types"] or "").split(","),
        is_online=at["is_online"],
        is_start_held=is_start_held,
        is_handed_over=status is OrderStatus.READY and order["handed_over_at"] is not None,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class BumpedRow(TicketContents):
    """An order that a station has bumped and that is still ready."""

    bumped_at: datetime


LIST_BUMPED = f"""
SELECT {CONTENTS}, bumped_at
FROM station_tickets JOIN orders ON orders.id = order_id
WHERE station = $1 AND bumped_at IS NOT NULL AND status = 'ready' AND handed_over_at IS NULL
ORDER BY bumped_at DESC
"""


async def list_bumped(connection: Connection, station: str) -> list[BumpedRow]:
    """Return the orders that a station can recall, the latest first."""
    rows = await connection.fetch(LIST_BUMPED, station)
    return [BumpedRow(**dict(row) | {"order_type": OrderType(row["order_type"])}) for row in rows]
