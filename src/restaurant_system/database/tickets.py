"""Queries on tickets: which orders are assigned to which station of the kitchen display."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import asyncpg

from restaurant_system.database.connection import Connection
from restaurant_system.database.workers import ONLINE_CONDITION
from restaurant_system.models.order import OrderType
from restaurant_system.models.status import OrderStatus

RECALLABLE = 50  # bumped tickets that are kept for each station


@dataclass(frozen=True, slots=True, kw_only=True)
class TicketRow:
    """An order, with the station it is assigned to, if any."""

    order_id: int
    number: str
    order_type: OrderType
    table_number: int | None
    notes: str | None
    priority: int
    status: OrderStatus
    processed_by: str | None
    received_at: datetime
    updated_at: datetime
    station: str | None
    station_is_online: bool
    rushed_at: datetime | None
    bumped_at: datetime | None


LIST_FOR_STATION = f"""
SELECT orders.id AS order_id, number, orders.type AS order_type, table_number, notes, priority,
       orders.status, processed_by, orders.created_at AS received_at, updated_at,
       station, rushed_at, bumped_at,
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
    return TicketRow(
        **values
        | {
            "order_type": OrderType(values["order_type"]),
            "status": OrderStatus(values["status"]),
        }
    )


ASSIGN_ORDERS = """
INSERT INTO station_tickets (order_id, station) SELECT unnest($2::bigint[]), $1
ON CONFLICT (order_id) DO UPDATE
    SET station = excluded.station, rushed_at = NULL, bumped_at = NULL
"""


async def assign_orders(connection: Connection, station: str, order_ids: Sequence[int]) -> None:
    """Assign orders to a station, also those that are assigned to another one."""
    await connection.execute(ASSIGN_ORDERS, station, list(order_ids))


UNASSIGN_ORDERS = "DELETE FROM station_tickets WHERE station = $1 AND order_id = ANY($2)"


async def unassign_orders(connection: Connection, station: str, order_ids: Sequence[int]) -> None:
    """Delete the assignments of orders to a station."""
    await connection.execute(UNASSIGN_ORDERS, station, list(order_ids))


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


RUSH = """
UPDATE station_tickets SET rushed_at = $3
WHERE station = $1 AND order_id = (SELECT id FROM orders WHERE number = $2)
RETURNING order_id
"""


async def rush(tx: Connection, station: str, number: str, *, at: datetime) -> bool:
    """Mark an order as rushed; return `False` if it is not assigned to the station."""
    return await tx.fetchval(RUSH, station, number, at) is not None


UNASSIGN_ORDER = """
DELETE FROM station_tickets
WHERE station = $1 AND order_id = (SELECT id FROM orders WHERE number = $2)
"""


async def unassign_order(tx: Connection, station: str, number: str) -> None:
    """Delete the assignment of an order to a station."""
    await tx.execute(UNASSIGN_ORDER, station, number)


@dataclass(frozen=True, slots=True)
class LockedOrder:
    """An order whose row is locked until the transaction ends."""

    order_type: OrderType
    status: OrderStatus
    processed_by: str | None
    updated_at: datetime


LOCK_ORDER = """
SELECT type AS order_type, status, processed_by, updated_at FROM orders WHERE number = $1
FOR NO KEY UPDATE
"""


async def lock_order(tx: Connection, number: str) -> LockedOrder | None:
    """Lock an order's row until the transaction ends; return `None` when there is no such order."""
    row = await tx.fetchrow(LOCK_ORDER, number)
    if row is None:
        return None
    return LockedOrder(
        OrderType(row["order_type"]),
        OrderStatus(row["status"]),
        row["processed_by"],
        row["updated_at"],
    )


@dataclass(frozen=True, slots=True)
class BumpedRow:
    """An order that a station has bumped and that is still ready."""

    order_id: int
    number: str
    order_type: OrderType
    table_number: int | None
    bumped_at: datetime
    updated_at: datetime


LIST_BUMPED = """
SELECT order_id, number, type AS order_type, table_number, bumped_at, updated_at
FROM station_tickets JOIN orders ON orders.id = order_id
WHERE station = $1 AND bumped_at IS NOT NULL AND status = 'ready' ORDER BY bumped_at DESC
"""


async def list_bumped(connection: Connection, station: str) -> list[BumpedRow]:
    """Return the orders that a station can recall, the latest first."""
    rows = await connection.fetch(LIST_BUMPED, station)
    return [BumpedRow(**dict(row) | {"order_type": OrderType(row["order_type"])}) for row in rows]
