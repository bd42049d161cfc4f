"""Mark orders that are ready as handed over or as not fetched, and find those to complete."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from restaurant_system.database.connection import Connection
from restaurant_system.models.order import OrderType
from restaurant_system.models.status import OrderStatus


@dataclass(frozen=True, slots=True)
class LockedOrder:
    """An order whose row is locked until the transaction ends, with its marks."""

    order_type: OrderType
    status: OrderStatus
    handed_over_at: datetime | None
    uncollected_at: datetime | None
    updated_at: datetime


LOCK = """
SELECT type, status, handed_over_at, uncollected_at, updated_at FROM orders
WHERE number = $1 FOR NO KEY UPDATE
"""


async def lock(tx: Connection, number: str) -> LockedOrder | None:
    """Lock an order's row until the transaction ends; return `None` if there is no such order."""
    row = await tx.fetchrow(LOCK, number)
    if row is None:
        return None
    return LockedOrder(
        OrderType(row["type"]),
        OrderStatus(row["status"]),
        row["handed_over_at"],
        row["uncollected_at"],
        row["updated_at"],
    )


HAND_OVER = """
UPDATE orders SET handed_over_at = $2, handed_over_by = $3, updated_at = $2 WHERE number = $1
"""


async def hand_over(tx: Connection, number: str, *, at: datetime, by: str) -> None:
    """Mark a ready order as handed over by a person."""
    await tx.execute(HAND_OVER, number, at, by)


UNDO_HAND_OVER = """
UPDATE orders SET handed_over_at = NULL, handed_over_by = NULL, updated_at = $2 WHERE number = $1
"""


async def undo_hand_over(tx: Connection, number: str, *, at: datetime) -> None:
    """Remove the mark that an order was handed over."""
    await tx.execute(UNDO_HAND_OVER, number, at)


MARK_UNCOLLECTED = "UPDATE orders SET uncollected_at = $2, updated_at = $3 WHERE number = $1"


async def mark_uncollected(
    tx: Connection, number: str, *, since: datetime | None, at: datetime
) -> None:
    """Mark a ready order as not fetched; `None` removes the mark."""
    await tx.execute(MARK_UNCOLLECTED, number, since, at)


@dataclass(frozen=True, slots=True)
class HandedOver:
    """An order to complete, with the request that placed it, by its id and its trace."""

    number: str
    by: str
    request_id: str | None
    trace: Mapping[str, str] = field(default_factory=dict)


# Any number of processes may complete orders: each order is locked, and checked again, by one of
# them, and skipped by the others. They are locked in the order of their numbers, as by every move.
LOCK_HANDED_OVER = """
SELECT number, handed_over_by, request_id, trace_context FROM orders
WHERE status = 'ready' AND handed_over_at IS NOT NULL AND handed_over_at <= $1
ORDER BY number LIMIT $2 FOR NO KEY UPDATE SKIP LOCKED
"""


async def lock_handed_over(tx: Connection, *, until: datetime, limit: int) -> list[HandedOver]:
    """Lock up to `limit` ready orders that were handed over until then."""
    return [
        HandedOver(
            row["number"],
            row["handed_over_by"],
            row["request_id"],
            {} if row["trace_context"] is None else json.loads(row["trace_context"]),
        )
        for row in await tx.fetch(LOCK_HANDED_OVER, until, limit)
    ]


@dataclass(frozen=True, slots=True)
class Recall:
    """When an order went back to the kitchen, and since when it had been ready."""

    at: datetime
    ready_since: datetime


LAST_MOVES = """
SELECT log.status, log.changed_at
FROM order_status_log AS log JOIN orders ON orders.id = log.order_id
WHERE orders.number = $1 ORDER BY log.id DESC LIMIT 2
"""


async def last_recall(tx: Connection, number: str) -> Recall | None:
    """Return the recall of an order that cooks since; `None` if it cooks for another reason."""
    moves = await tx.fetch(LAST_MOVES, number)
    if [row["status"] for row in moves] != [OrderStatus.COOKING, OrderStatus.READY]:
        return None
    cooking, ready = moves
    return Recall(cooking["changed_at"], ready["changed_at"])


READY_AS_BEFORE = """
WITH ready AS (
    UPDATE orders SET completed_at = $2, uncollected_at = uncollected_before WHERE number = $1
    RETURNING id
)
UPDATE station_tickets SET bumped_at = $2 FROM ready WHERE order_id = ready.id
"""


async def ready_as_before(tx: Connection, number: str, *, since: datetime) -> None:
    """Let a ready order be ready since an earlier time, at its station, if it has one, too.

    It is not fetched if it was so before it was recalled.
    """
    await tx.execute(READY_AS_BEFORE, number, since)
