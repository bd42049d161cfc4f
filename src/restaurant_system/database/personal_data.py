"""Find, export and erase the personal data of customers."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg
import jiter

from restaurant_system.database.connection import Connection
from restaurant_system.errors import ErasureRefused
from restaurant_system.models.privacy import (
    ERASED_ADDRESS,
    ERASED_FINGERPRINT,
    ERASED_NAME,
    READY_ENDS_AFTER,
)
from restaurant_system.models.status import OrderStatus


@dataclass(frozen=True, slots=True)
class CustomerOrder:
    """An order of a customer; `is_finished` if its personal data is not needed any more."""

    id: int
    number: str
    status: OrderStatus
    customer_name: str | None
    is_finished: bool
    is_erased: bool
    reference: str | None = None
    phone: str | None = None
    diners: Sequence[str] = ()

    @property
    def names(self) -> list[str]:
        """The names that the order may have: the customer's, the reference, and the diners'."""
        return [name for name in (self.customer_name, self.reference, *self.diners) if name]


# A CASE, because with OR the planner would use the index of all orders to be erased.
IS_FINISHED = """
CASE status WHEN 'completed' THEN true WHEN 'cancelled' THEN true
            WHEN 'ready' THEN updated_at < {ready_before} ELSE false END
"""
CUSTOMER_ORDER_COLUMNS = f"""
id, number, status, customer_name, reference, phone, erased_at IS NOT NULL AS is_erased,
ARRAY(
    SELECT item.guest FROM order_items AS item
    WHERE order_id = orders.id AND item.guest IS NOT NULL
) AS diners,
{IS_FINISHED.format(ready_before="$1")} AS is_finished
"""
NEXT_ORDERS = f"""
SELECT {CUSTOMER_ORDER_COLUMNS} FROM orders WHERE id > $2 ORDER BY id LIMIT $3
"""


async def next_orders(
    connection: Connection, *, after: int, limit: int, at: datetime
) -> list[CustomerOrder]:
    """Return up to `limit` orders with an id above `after`, by ascending id."""
    rows = await connection.fetch(NEXT_ORDERS, at - READY_ENDS_AFTER, after, limit)
    return [_customer_order(row) for row in rows]


ORDERS_BY_NUMBER = f"""
SELECT {CUSTOMER_ORDER_COLUMNS} FROM orders WHERE number = ANY($2) ORDER BY id
"""


async def orders_by_number(
    connection: Connection, numbers: Sequence[str], *, at: datetime
) -> list[CustomerOrder]:
    """Return the orders with these numbers, by ascending id; unknown numbers are left out."""
    rows = await connection.fetch(ORDERS_BY_NUMBER, at - READY_ENDS_AFTER, list(numbers))
    return [_customer_order(row) for row in rows]


def _customer_order(row: asyncpg.Record) -> CustomerOrder:
    return CustomerOrder(**dict(row) | {"status": OrderStatus(row["status"])})


# Whole rows, so that a new column is exported without a change here. Left out are the names of the
# staff, the ids of rows, requests and traces, and the secret of the tracking link, which is the
# customer's.
EXPORT = """
SELECT (
    to_jsonb(orders)
    - '{id, processed_by, handed_over_by, tracking_token, request_id, trace_context}'::text[]
    || jsonb_build_object(
    'items', (
        SELECT coalesce(jsonb_agg(to_jsonb(item) - '{id, order_id}'::text[] ORDER BY item.id), '[]')
        FROM order_items AS item WHERE item.order_id = orders.id
    ),
    'history', (
        SELECT coalesce(jsonb_agg(
            to_jsonb(log) - '{id, order_id, created_at, changed_by}'::text[] ORDER BY log.id), '[]')
        FROM order_status_log AS log WHERE log.order_id = orders.id
    )
))::text AS fields
FROM orders WHERE id = ANY($1) ORDER BY id
"""


async def export(connection: Connection, ids: Sequence[int]) -> list[dict[str, Any]]:
    """Return everything that is stored about these orders, with their items and history."""
    rows = await connection.fetch(EXPORT, list(ids))
    return [jiter.from_json(row["fields"].encode()) for row in rows]


# Locked rows are skipped: another process erases them, or they are being changed.
LOCK_DUE = """
SELECT id FROM orders
WHERE erased_at IS NULL AND status IN ('ready', 'completed', 'cancelled') AND updated_at < $1
  AND id <> ALL ($3::bigint[])
ORDER BY updated_at LIMIT $2 FOR NO KEY UPDATE SKIP LOCKED
"""


async def lock_due(
    tx: Connection, finished_before: datetime, limit: int, excluded: Collection[int] = ()
) -> list[int]:
    """Lock up to `limit` orders that finished before that time and are not erased; return ids.

    Those with `excluded` ids are left out. An order that is still ready counts as finished when it
    became ready. They stay locked until the transaction ends.
    """
    rows = await tx.fetch(LOCK_DUE, finished_before, limit, list(excluded))
    return [row["id"] for row in rows]


# `updated_at` stays, because it is the time at which the order finished. The names of old items may
# contain characters that a later constraint refuses in every updated row; they are replaced. The
# customer may have cancelled the order in person, so that the log has the name. A message to the
# kitchen that is still in the outbox has no effect on a finished order.
ERASE = f"""
WITH finished AS MATERIALIZED (
    SELECT id, number, customer_name FROM orders
    WHERE id = ANY($1) AND erased_at IS NULL AND {IS_FINISHED.format(ready_before="$2")}
    ORDER BY number FOR NO KEY UPDATE
), erased AS (
    UPDATE orders
    SET customer_name = $3, notes = NULL, erased_at = $5, tracking_token = NULL,
        phone = NULL, allergy_note = NULL, reference = NULL,
        delivery_address = CASE WHEN delivery_address IS NOT NULL THEN $4 END,
        handed_over_by = CASE WHEN lower(handed_over_by) = lower(orders.customer_name) THEN $3
                              ELSE handed_over_by END
    FROM finished WHERE orders.id = finished.id AND orders.id = ANY($1)
), erased_items AS (
    UPDATE order_items
    SET notes = NULL, guest = NULL, modifiers = erase_instructions(modifiers, $3),
        name = regexp_replace(
            order_items.name,
            '[\\x80-\\x9f\\u061c\\u200e\\u200f\\u2028-\\u202e\\u2066-\\u2069]', '?', 'g')
    FROM finished
    WHERE order_id = finished.id AND order_id = ANY($1)
      AND num_nonnulls(order_items.notes, guest, modifiers) > 0
), erased_log AS (
    UPDATE order_status_log
    SET notes = NULL,
        changed_by = CASE WHEN lower(changed_by) = lower(customer_name) THEN $3 ELSE changed_by END
    FROM finished
    WHERE order_id = finished.id AND order_id = ANY($1)
      AND (order_status_log.notes IS NOT NULL OR lower(changed_by) = lower(customer_name))
), unsent AS (
    DELETE FROM outbox USING finished
    WHERE stream = ANY (ARRAY(SELECT $6 || '/' || number FROM finished))
      AND stream = $6 || '/' || number
)
SELECT number FROM finished
"""


async def erase(
    connection: Connection, ids: Sequence[int], *, at: datetime, exchange: str
) -> list[str]:
    """Erase the personal data of those of these orders that are finished; return their numbers.

    Their messages to `exchange` are deleted from the outbox. Raises `ErasureRefused` if a
    constraint or trigger that is not ours refuses the change.
    """
    try:
        rows = await connection.fetch(
            ERASE, list(ids), at - READY_ENDS_AFTER, ERASED_NAME, ERASED_ADDRESS, at, exchange
        )
    except (asyncpg.IntegrityConstraintViolationError, asyncpg.RaiseError) as error:
        raise ErasureRefused(error.constraint_name or error.sqlstate) from None
    return [row["number"] for row in rows]


ERASE_FINGERPRINTS = """
UPDATE idempotency_keys SET fingerprint = $2
WHERE order_id = ANY (ARRAY(SELECT id FROM orders WHERE id = ANY($1) AND erased_at IS NOT NULL))
"""


async def erase_fingerprints(connection: Connection, ids: Sequence[int]) -> None:
    """Replace the hash of each of these orders, if it is erased, in its idempotency key.

    The key keeps its answer.
    """
    await connection.execute(ERASE_FINGERPRINTS, list(ids), ERASED_FINGERPRINT)


ERASE_EXTERNAL_FINGERPRINTS = """
UPDATE external_orders SET fingerprint = $2
WHERE order_id = ANY (ARRAY(SELECT id FROM orders WHERE id = ANY($1) AND erased_at IS NOT NULL))
"""


async def erase_external_fingerprints(connection: Connection, ids: Sequence[int]) -> None:
    """Replace the hash of each of these orders, if it is erased, under its channel's id.

    The id stays taken, and keeps its answer.
    """
    await connection.execute(ERASE_EXTERNAL_FINGERPRINTS, list(ids), ERASED_FINGERPRINT)


WHICH_ARE_ERASED = """
SELECT number, erased_at IS NOT NULL AS is_erased FROM orders WHERE number = ANY($1)
"""


async def which_are_erased(connection: Connection, numbers: Sequence[str]) -> dict[str, bool]:
    """Return whether each of these orders is erased; unknown numbers are left out."""
    rows = await connection.fetch(WHICH_ARE_ERASED, list(numbers))
    return {row["number"]: row["is_erased"] for row in rows}
