"""Queries of the live views for customers: the board, and the steps of the orders they track."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, TypeAlias

import asyncpg

from restaurant_system.database.connection import Connection
from restaurant_system.database.order_months import numbers_and_ids, with_numbers
from restaurant_system.database.tracking_queries import decode_json
from restaurant_system.models.board import BoardSelection
from restaurant_system.models.order import Handoff, OrderType
from restaurant_system.models.order_items import ModifierKind

Row: TypeAlias = asyncpg.Record

# The index on (status, type, id) has these orders sorted by age. The type is compared as a range of
# one value, so that the planner cannot use the primary key instead: with `=`, statistics from
# before a busy period make that look cheaper, and it would scan the orders of years.
COOKING = """
SELECT oldest.number, oldest.status, oldest.reference
FROM unnest($1::text[], $2::boolean[]) AS requested (type, is_whole)
CROSS JOIN LATERAL (
    SELECT id, number, status, reference FROM orders
    WHERE status = 'cooking' AND type BETWEEN requested.type AND requested.type
      AND (requested.is_whole OR handoff = ANY ($3))
    ORDER BY orders.type DESC, id LIMIT $4
) AS oldest
ORDER BY oldest.id LIMIT $4
"""
# Neither those that are scheduled for later nor those of earlier business dates. The first of each
# type are in an index.
WAITING = """
SELECT number, status, reference FROM orders WHERE id = ANY (ARRAY(
    SELECT next.id
    FROM unnest($1::text[], $2::boolean[]) AS requested (type, is_whole)
    CROSS JOIN LATERAL (
        SELECT id, rank_at FROM orders
        WHERE status = 'received' AND type = requested.type AND released_at >= $5
          AND (requested.is_whole OR handoff = ANY ($3))
        ORDER BY rank_at, id LIMIT $4
    ) AS next
    ORDER BY next.rank_at, next.id LIMIT $4
))
ORDER BY rank_at, id
"""


async def preparing(
    connection: Connection, selection: BoardSelection, *, released_since: datetime, limit: int
) -> list[Row]:
    """Return the cooking orders, oldest first, then the waiting ones in the sequence of cooking."""
    selected = _parameters(selection)
    cooking = await connection.fetch(COOKING, *selected, limit)
    waiting = await connection.fetch(WAITING, *selected, limit - len(cooking), released_since)
    return [*cooking, *waiting]


def _parameters(
    selection: BoardSelection,
) -> tuple[Sequence[OrderType], Sequence[bool], Sequence[Handoff]]:
    """Return the types to search, whether all orders of each are selected, and the handoffs."""
    whole = selection.order_types
    types = list(OrderType) if selection.handoffs else whole
    return types, [each in whole for each in types], selection.handoffs


# In a restaurant that does not complete orders, all past orders are ready, so only the newest of
# each type are scanned. An order is missed once this many later ones of its type are ready, which
# takes hours.
# The type is compared as a range for the same reason as above.
READY_SCAN_LIMIT = 300
READY = f"""
SELECT newest.number, newest.status, newest.completed_at, newest.reference
FROM unnest($1::text[], $2::boolean[]) AS requested (type, is_whole)
CROSS JOIN LATERAL (
    SELECT number, status, completed_at, reference, handoff, handed_over_at, uncollected_at
    FROM orders
    WHERE status = 'ready' AND type BETWEEN requested.type AND requested.type
    ORDER BY orders.type, id DESC LIMIT {READY_SCAN_LIMIT}
) AS newest
WHERE newest.completed_at >= $4 AND newest.handed_over_at IS NULL AND newest.uncollected_at IS NULL
  AND (requested.is_whole OR newest.handoff = ANY ($3))
ORDER BY newest.completed_at DESC LIMIT $5
"""


async def ready(
    connection: Connection, selection: BoardSelection, *, since: datetime, limit: int
) -> list[Row]:
    """Return the orders that became ready since then and wait to be fetched, latest first."""
    return await connection.fetch(READY, *_parameters(selection), since, limit)


STEPS = f"""
SELECT orders.*, log.status, log.changed_at
FROM {with_numbers("id, number, type, handoff, ready_at")}
JOIN order_status_log AS log ON log.order_id = orders.id
ORDER BY log.id
"""


async def steps(connection: Connection, numbers: Sequence[str]) -> dict[str, list[Row]]:
    """Return the status changes of these orders, oldest first, by order number.

    Each row has the order's type and `ready_at`. Unknown numbers are left out.
    """
    by_order: dict[str, list[Row]] = {}
    for row in await connection.fetch(STEPS, *numbers_and_ids(numbers)):
        by_order.setdefault(row["number"], []).append(row)
    return by_order


# Neither notes nor names of customers: these are personal data. An order whose link has ended
# meanwhile has no token.
ITEMS = f"""
SELECT orders.number, orders.total_amount, orders.charges, orders.amount_due,
       item.name, item.quantity, item.price, item.modifiers
FROM {with_numbers("id, number, total_amount, charges, amount_due, tracking_token")}
JOIN order_items AS item ON item.order_id = orders.id
WHERE orders.tracking_token IS NOT NULL ORDER BY item.id
"""


async def items(connection: Connection, numbers: Sequence[str]) -> dict[str, list[Row]]:
    """Return the items of these orders by order number, without their notes.

    Each row has the order's total, its charges and its amount due. Orders without a tracking link
    are left out.
    """
    by_order: dict[str, list[Row]] = {}
    for row in await connection.fetch(ITEMS, *numbers_and_ids(numbers)):
        by_order.setdefault(row["number"], []).append(row)
    return by_order


def charges(row: Row) -> list[dict[str, Any]]:
    """Return the charges of an order."""
    return [] if row["charges"] is None else decode_json(row["charges"])


def public_modifiers(row: Row) -> list[dict[str, Any]]:
    """Return the modifiers of an item without instructions, which are free text like notes."""
    if row["modifiers"] is None:
        return []
    return _without_instructions(decode_json(row["modifiers"]))


def _without_instructions(modifiers: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        each | {"modifiers": _without_instructions(each["modifiers"])}
        for each in modifiers
        if each["kind"] != ModifierKind.INSTRUCTION
    ]
