"""Orders: placing one, moving one along its life, and looking one up for the kitchen."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

from restaurant_system.database.connection import Connection
from restaurant_system.models.order import NewOrder, OrderItem, order_number
from restaurant_system.models.status import OrderStatus


@dataclass(frozen=True, slots=True)
class CurrentStatus:
    """Where an order stands, and who cooks or cooked it."""

    status: OrderStatus
    processed_by: str | None


TAKE_NUMBER = """
INSERT INTO order_counters (business_date, last_number) VALUES ($1, 1)
ON CONFLICT (business_date) DO UPDATE SET last_number = order_counters.last_number + 1
RETURNING last_number
"""


async def take_number(tx: Connection, business_date: date) -> str:
    """Return the day's next order number.

    Others wait for theirs until this transaction ends, and a rollback gives the number back: no
    gap, no repeat.
    """
    return order_number(business_date, await tx.fetchval(TAKE_NUMBER, business_date))


INSERT_ORDER = """
WITH placed AS (
    INSERT INTO orders (created_at, updated_at, number, business_date, customer_name, type,
                        table_number, delivery_address, notes, total_amount, priority)
    VALUES ($1, $1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
    RETURNING id
), listed AS (
    INSERT INTO order_items (created_at, order_id, name, quantity, price, notes)
    SELECT $1, placed.id, item.name, item.quantity, item.price, item.notes
    FROM placed, unnest($11::text[], $12::integer[], $13::numeric[], $14::text[])
        WITH ORDINALITY AS item (name, quantity, price, notes, position)
    ORDER BY item.position
)
INSERT INTO order_status_log (created_at, order_id, status, changed_by, changed_at)
SELECT $1, id, 'received', $15, $1 FROM placed
"""


async def insert(
    tx: Connection,
    order: NewOrder,
    *,
    number: str,
    business_date: date,
    placed_at: datetime,
    placed_by: str,
) -> None:
    """Store an order, its items and its first status log row."""
    await tx.execute(
        INSERT_ORDER,
        placed_at,
        number,
        business_date,
        order.customer_name,
        order.order_type,
        order.table_number,
        order.delivery_address,
        order.notes,
        order.total_amount,
        order.priority,
        *_columns(order.items),
        placed_by,
    )


def _columns(items: Sequence[OrderItem]) -> tuple[list[object], ...]:
    """Turn items into one list for each column, as `unnest` wants them."""
    return (
        [item.name for item in items],
        [item.quantity for item in items],
        [item.price for item in items],
        [item.notes for item in items],
    )


MOVE = """
WITH moved AS (
    UPDATE orders
    SET status = $3,
        updated_at = $4,
        completed_at = CASE WHEN $3 = 'ready' THEN $4 ELSE completed_at END,
        processed_by = CASE WHEN $3 = 'cooking' THEN $5 ELSE processed_by END,
        estimated_completion = $6
    -- Only whoever has an order can finish it: it may have been taken over meanwhile.
    WHERE number = $1 AND status = $2 AND ($3 <> 'ready' OR processed_by = $5)
    RETURNING id
)
INSERT INTO order_status_log (created_at, order_id, status, changed_by, changed_at, notes)
SELECT $4, id, $3, $5, $4, $7 FROM moved
RETURNING order_id
"""


async def move(
    tx: Connection,
    number: str,
    *,
    origin: OrderStatus,
    target: OrderStatus,
    at: datetime,
    by: str,
    estimated_completion: datetime | None = None,
    notes: str | None = None,
) -> bool:
    """Move an order from `origin` to `target` and log it, if it stands at `origin`.

    Only the worker that an order is processed by moves it to `ready`. Returns whether it moved; if
    not, somebody else was first and nothing has changed.
    """
    moved = await tx.fetchval(MOVE, number, origin, target, at, by, estimated_completion, notes)
    return moved is not None


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
