"""Move orders from one status to another, and look them up for the kitchen."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from restaurant_system.database import outbox
from restaurant_system.database.connection import Connection
from restaurant_system.database.message_columns import COLUMNS, TYPES, parameters, values
from restaurant_system.database.order_months import numbers_and_ids, with_numbers
from restaurant_system.database.outbox import PREVIOUS_ID, OutboxMessage
from restaurant_system.models.message import Message
from restaurant_system.models.order import OrderType
from restaurant_system.models.status import OrderStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class MoveOrder:
    """A command to move an order from `origin` to `target`, with its message to the subscribers."""

    number: str
    origin: OrderStatus
    target: OrderStatus
    at: datetime
    by: str
    message: Message
    estimated_completion: datetime | None = None
    notes: str | None = None


@dataclass(frozen=True, slots=True)
class MovedOrder(OutboxMessage):
    """The message of a move that took effect, and how long after its placement an order moved.

    The time of a scheduled order begins when it is released.
    """

    order_type: OrderType = field(kw_only=True)
    seconds_since_placed: float = field(kw_only=True)


@dataclass(frozen=True, slots=True)
class CurrentStatus:
    """The status of an order, and the worker that cooks or cooked it."""

    status: OrderStatus
    processed_by: str | None


# When an order was sent to the kitchen: a scheduled one later than it was placed.
SENT_AT = """
CASE WHEN orders.ready_at IS NULL THEN orders.created_at
     ELSE greatest(orders.released_at, orders.created_at) END
"""

# Only the worker of an order can finish or recall it: another may have taken it over.
BY_ITS_WORKER = """
(locked.processed_by = requested.by
 OR (requested.origin, requested.target) NOT IN (('cooking', 'ready'), ('ready', 'cooking')))
"""
BY_ANYBODY = "true"


def _move_requested(condition: str) -> str:
    """Return the part of a statement that moves orders: the rows of `requested`.

    Moved are those whose order, locked in `locked`, has the origin status and meets the condition.
    """
    return f"""
moved AS (
    UPDATE orders
    SET status = requested.target,
        updated_at = requested.at,
        completed_at = CASE requested.target WHEN 'ready' THEN requested.at
                                             WHEN 'completed' THEN completed_at END,
        processed_by = CASE WHEN requested.origin = 'received' AND requested.target = 'cooking'
                            THEN requested.by ELSE orders.processed_by END,
        estimated_completion = requested.estimated_completion
    FROM requested JOIN locked USING (number)
    WHERE orders.id = locked.id AND locked.status = requested.origin AND {condition}
    RETURNING orders.id, orders.type AS order_type, {SENT_AT} AS placed_at,
              orders.processed_by AS worker, requested.*
), logged AS (
    INSERT INTO order_status_log (created_at, order_id, status, changed_by, changed_at, notes)
    SELECT at, id, target, by, at, notes FROM moved
), credited AS (
    UPDATE workers SET orders_processed = greatest(orders_processed + cooked.orders, 0)
    FROM (
        SELECT worker, sum(CASE target WHEN 'ready' THEN 1 ELSE -1 END) AS orders FROM moved
        WHERE (origin, target) IN (('cooking', 'ready'), ('ready', 'cooking')) GROUP BY worker
    ) AS cooked
    WHERE workers.name = cooked.worker
), queued AS (
    INSERT INTO outbox (stream, {COLUMNS}) SELECT stream, {COLUMNS} FROM moved
    RETURNING id, stream, {COLUMNS}, {PREVIOUS_ID} AS previous_id
)
"""


MOVE_REQUESTED = _move_requested(BY_ITS_WORKER)
LOCKED = "id, number, status, processed_by"


# Every transaction locks orders by ascending number, whatever the plan: a join would lock them as
# it finds them, and two statements with the same orders could deadlock. The compared status is that
# of the locked row, not the one as of the statement's start.
def _move(moved: str) -> str:
    """Return the statement that moves orders; `moved` is the result of `_move_requested`."""
    return f"""
WITH requested AS MATERIALIZED (
    SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[], $5::text[],
                         $6::timestamptz[], $7::text[], $8::text[], {parameters(9)})
        AS requested (number, origin, target, at, by, estimated_completion, notes, stream,
                      {COLUMNS})
), locked AS MATERIALIZED (
    SELECT orders.* FROM {with_numbers(LOCKED, 9 + len(TYPES), lock="FOR NO KEY UPDATE")}
), {moved}
SELECT number, order_type, placed_at, queued.id, queued.previous_id
FROM moved JOIN queued USING (message_id)
"""


MOVE = _move(MOVE_REQUESTED)
MOVE_BY_PEOPLE = _move(_move_requested(BY_ANYBODY))


async def move(
    connection: Connection, moves: Sequence[MoveOrder], *, by_people: bool = False
) -> list[MovedOrder | None]:
    """Move each order that is in its origin status, log the move and store its message.

    The result is `None` for an order that is not: it is unchanged, and no message is stored. Only
    the worker that processes an order can move it to `ready`, or back from there, unless the move
    is one `by_people`; both count for that worker. No two moves may be of the same order. All take
    effect, or, with an error, none.
    """
    streams = [outbox.stream_name(each.message, each.number) for each in moves]
    statement = MOVE_BY_PEOPLE if by_people else MOVE
    rows = await connection.fetch(
        statement,
        *_move_values(moves),
        streams,
        *values([each.message for each in moves]),
        *numbers_and_ids([each.number for each in moves]),
    )
    moved = {row["number"]: row for row in rows}
    return [
        MovedOrder(
            row["id"],
            outbox.stream_name(each.message, each.number),
            each.message,
            row["previous_id"],
            order_type=OrderType(row["order_type"]),
            seconds_since_placed=seconds_since_sent(row["placed_at"], each.at),
        )
        if (row := moved.get(each.number))
        else None
        for each in moves
    ]


def seconds_since_sent(sent_at: datetime, at: datetime) -> float:
    """Return how long an order has been in the kitchen.

    One for the next business date counts as released when that starts, and may be started before.
    """
    return max((at - sent_at).total_seconds(), 0.0)


def _move_values(moves: Sequence[MoveOrder]) -> tuple[list[object], ...]:
    """Return one list of values for each column of the moves, for `unnest`."""
    return (
        [each.number for each in moves],
        [each.origin for each in moves],
        [each.target for each in moves],
        [each.at for each in moves],
        [each.by for each in moves],
        [each.estimated_completion for each in moves],
        [each.notes for each in moves],
    )


SELECT_STATUS = "SELECT status, processed_by FROM orders WHERE number = $1"


async def current_status(connection: Connection, number: str) -> CurrentStatus | None:
    """Return the status of an order; `None` if there is no such order."""
    row = await connection.fetchrow(SELECT_STATUS, number)
    return None if row is None else CurrentStatus(OrderStatus(row["status"]), row["processed_by"])


SELECT_CANCELLED = "SELECT number FROM orders WHERE number = ANY($1) AND status = 'cancelled'"


async def cancelled_among(connection: Connection, numbers: Sequence[str]) -> set[str]:
    """Return those of `numbers` that are cancelled."""
    return {row["number"] for row in await connection.fetch(SELECT_CANCELLED, list(numbers))}


SELECT_KNOWN = "SELECT number FROM orders WHERE number = ANY($1)"


async def unknown_among(connection: Connection, numbers: Sequence[str]) -> set[str]:
    """Return those of `numbers` that no order has."""
    rows = await connection.fetch(SELECT_KNOWN, list(numbers))
    return set(numbers).difference(row["number"] for row in rows)
