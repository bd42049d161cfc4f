"""Queries of the live list of orders for staff."""

from collections.abc import Collection
from datetime import date, datetime

from restaurant_system.database.connection import Connection
from restaurant_system.database.tracking_queries import Row
from restaurant_system.models.order import OrderType
from restaurant_system.models.status import OrderStatus

UNFINISHED = (OrderStatus.RECEIVED, OrderStatus.COOKING, OrderStatus.READY)
MAX_UNFINISHED = 500  # of each status and type, the newest
MAX_FINISHED = 3000  # of a business date, the newest

COLUMNS = """
id, number, status, type, handoff, customer_name, reference, channel, table_number, table_label,
created_at, updated_at, completed_at, ready_at, released_at, total_amount, amount_due,
allergy_note, processed_by, handed_over_at, handed_over_by,
uncollected_at, promised_at
"""
# Not every restaurant completes its orders: then all past ones are ready, of which only the newest
# are read, and those of earlier dates that have been ready for long are left out. The type is
# compared as a range of one value for the same reason as in live_view_queries.py.
SELECT_UNFINISHED = f"""
SELECT {COLUMNS} FROM orders
WHERE id = ANY (ARRAY(
    SELECT newest.id
    FROM unnest($1::text[]) AS wanted (status) CROSS JOIN unnest($2::text[]) AS kinds (type)
    CROSS JOIN LATERAL (
        SELECT id FROM orders
        WHERE status = wanted.status AND type BETWEEN kinds.type AND kinds.type
        ORDER BY orders.type, id DESC LIMIT {MAX_UNFINISHED}
    ) AS newest
)) AND (status <> 'ready' OR business_date = $3 OR completed_at >= $4)
"""


async def unfinished(
    connection: Connection, business_date: date, *, ready_since: datetime
) -> list[Row]:
    """Return the orders that are neither completed nor cancelled.

    Those of earlier business dates that have been ready for longer are left out.
    """
    return await connection.fetch(
        SELECT_UNFINISHED, list(UNFINISHED), list(OrderType), business_date, ready_since
    )


# An order that is finished only changes when its personal data is erased.
SELECT_FINISHED = f"""
SELECT {COLUMNS} FROM orders
WHERE business_date = $1 AND status IN ('completed', 'cancelled')
  AND (erased_at IS NOT NULL
       OR NOT EXISTS (SELECT FROM unnest($2::bigint[]) AS known (id) WHERE known.id = orders.id))
ORDER BY id DESC LIMIT {MAX_FINISHED}
"""


async def finished(
    connection: Connection, business_date: date, *, known: Collection[int]
) -> list[Row]:
    """Return the completed and the cancelled orders of a business date.

    Those with `known` ids are left out, unless they have been erased.
    """
    return await connection.fetch(SELECT_FINISHED, business_date, list(known))
