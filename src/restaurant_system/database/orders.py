"""Orders: moving them along their life, and looking them up for the kitchen."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from restaurant_system.database import outbox
from restaurant_system.database.connection import Connection
from restaurant_system.database.message_columns import COLUMNS, parameters, values
from restaurant_system.database.outbox import PREVIOUS_ID, OutboxMessage
from restaurant_system.models.message import Message
from restaurant_system.models.status import OrderStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class MoveOrder:
    """A move of an order from `origin` to `target`, and the message that tells everyone."""

    number: str
    origin: OrderStatus
    target: OrderStatus
    at: datetime
    by: str
    message: Message
    estimated_completion: datetime | None = None
    notes: str | None = None


@dataclass(frozen=True, slots=True)
class CurrentStatus:
    """Where an order stands, and who cooks or cooked it."""

    status: OrderStatus
    processed_by: str | None


# Orders are locked by number, as everyone locks them, whatever the plan: a join would lock them in
# the order in which it finds them, and two cooks with the same orders wait for each other. What
# is compared is the order once it is locked, not as it was when the statement began.
MOVE = f"""
WITH asked AS MATERIALIZED (
    SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[], $5::text[],
                         $6::timestamptz[], $7::text[], $8::text[], {parameters(9)})
        AS asked (number, origin, target, at, by, estimated_completion, notes, stream, {COLUMNS})
), locked AS (
    SELECT id, number, status, processed_by FROM orders WHERE number = ANY ($1)
    ORDER BY number FOR NO KEY UPDATE
), moved AS (
    UPDATE orders
    SET status = asked.target,
        updated_at = asked.at,
        completed_at = CASE asked.target WHEN 'ready' THEN asked.at WHEN 'cooking' THEN NULL
                                         ELSE completed_at END,
        processed_by = CASE WHEN asked.target = 'cooking' THEN asked.by
                            ELSE orders.processed_by END,
        estimated_completion = asked.estimated_completion
    FROM asked JOIN locked USING (number)
    WHERE orders.id = locked.id AND locked.status = asked.origin
      -- Only whoever has an order can finish it, or take that back: it may have been taken over.
      AND (locked.processed_by = asked.by
           OR (asked.origin, asked.target) NOT IN (('cooking', 'ready'), ('ready', 'cooking')))
    RETURNING orders.id, asked.*
), logged AS (
    INSERT INTO order_status_log (created_at, order_id, status, changed_by, changed_at, notes)
    SELECT at, id, target, by, at, notes FROM moved
), credited AS (
    UPDATE workers SET orders_processed = greatest(orders_processed + cooked.orders, 0)
    FROM (
        SELECT by, sum(CASE target WHEN 'ready' THEN 1 ELSE -1 END) AS orders FROM moved
        WHERE (origin, target) IN (('cooking', 'ready'), ('ready', 'cooking')) GROUP BY by
    ) AS cooked
    WHERE workers.name = cooked.by
), owed AS (
    INSERT INTO outbox (stream, {COLUMNS}) SELECT stream, {COLUMNS} FROM moved
    RETURNING id, message_id, {PREVIOUS_ID} AS previous_id
)
SELECT number, owed.id, owed.previous_id FROM moved JOIN owed USING (message_id)
"""


async def move(connection: Connection, moves: Sequence[MoveOrder]) -> list[OutboxMessage | None]:
    """Move orders, each if it stands at its origin, log it and owe everyone the news.

    `None` stands for an order that somebody else moved first: it is unchanged, and nothing is
    announced. Only the worker that an order is processed by moves it to `ready`, and is credited
    with it, or takes it back from there. No two moves may be of the same order. All take effect
    together or, with an error, none.
    """
    streams = [outbox.stream_name(each.message, each.number) for each in moves]
    rows = await connection.fetch(
        MOVE, *_columns(moves), streams, *values([each.message for each in moves])
    )
    moved = {row["number"]: row for row in rows}
    return [
        OutboxMessage(
            row["id"],
            outbox.stream_name(each.message, each.number),
            each.message,
            row["previous_id"],
        )
        if (row := moved.get(each.number))
        else None
        for each in moves
    ]


def _columns(moves: Sequence[MoveOrder]) -> tuple[list[object], ...]:
    """Turn moves into one list for each column, as `unnest` wants them."""
    return (
        [each.number for each in moves],
        [each.origin for each in moves],
        [each.target for each in moves],
        [each.at for each in moves],
        [each.by for each in moves],
        [each.estimated_completion for each in moves],
        [each.notes for each in moves],
    )


TAKE_OVER = """
UPDATE orders SET processed_by = $3, estimated_completion = $4, updated_at = $5
WHERE number = $1 AND status = 'cooking' AND processed_by = $2
RETURNING id
"""


async def take_over(
    tx: Connection,
    number: str,
    *,
    from_worker: str,
    to_worker: str,
    estimated_completion: datetime,
    at: datetime,
) -> bool:
    """Hand an order that is cooking to another worker; return whether it was there to take."""
    taken = await tx.fetchval(TAKE_OVER, number, from_worker, to_worker, estimated_completion, at)
    return taken is not None


SELECT_STATUS = "SELECT status, processed_by FROM orders WHERE number = $1"


async def current_status(connection: Connection, number: str) -> CurrentStatus | None:
    """Return where an order stands, `None` when there is no such order."""
    row = await connection.fetchrow(SELECT_STATUS, number)
    return None if row is None else CurrentStatus(OrderStatus(row["status"]), row["processed_by"])


SELECT_CANCELLED = "SELECT number FROM orders WHERE number = ANY($1) AND status = 'cancelled'"


async def cancelled_among(connection: Connection, numbers: Sequence[str]) -> set[str]:
    """Return those of `numbers` that have been cancelled."""
    return {row["number"] for row in await connection.fetch(SELECT_CANCELLED, list(numbers))}
