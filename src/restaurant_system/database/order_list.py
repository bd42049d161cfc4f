"""Queries of the live list of orders for staff."""

from collections.abc import Collection
from datetime import date, datetime

from restaurant_system.database.connection import Connection
from restaurant_system.database.tracking_queries import Row
from restaurant_system.models.order import OrderType
from restaurant_system.models.status import OrderStatus

UNFINISHED = (OrderStatus.RECEIVED, OrderStatus.COOKING, OrderStatus.READY)
MAX_UNFINISHED = 500  # of each status and type, the newest
MAX_FINISHED = 3000  # since a business date began, the newest

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


# The ready orders of the list that are not handed over.
COUNT_READY = f"""
SELECT count(*) FILTER (WHERE uncollected_since IS NULL) AS ready,
       count(uncollected_since) AS uncollected, min(uncollected_since) AS uncollected_since
FROM (
    SELECT CASE WHEN uncollected_at IS NOT NULL OR completed_at < $4
                THEN coalesce(uncollected_at, completed_at) END AS uncollected_since
    FROM unnest($1::text[]) AS kinds (type)
    CROSS JOIN LATERAL (
        SELECT business_date, completed_at, handed_over_at, uncollected_at FROM orders
        WHERE status = 'ready' AND type BETWEEN kinds.type AND kinds.type
        ORDER BY orders.type, id DESC LIMIT {MAX_UNFINISHED}
    ) AS newest
    WHERE handed_over_at IS NULL AND (business_date = $2 OR completed_at >= $3)
) AS listed
"""


async def count_ready(
    connection: Connection, business_date: date, *, ready_since: datetime, fetched_since: datetime
) -> Row:
    """Count the ready orders of the list, and those of them that were not fetched, and since when.

    Not fetched are those that were marked so, or have been ready since before `fetched_since`.
    """
    (row,) = await connection.fetch(
        COUNT_READY, list(OrderType), business_date, ready_since, fetched_since
    )
    return row


LATEST_COMPLETION = """
SELECT max(updated_at)
FROM unnest($1::text[]) AS kinds (type)
CROSS JOIN LATERAL (
    SELECT updated_at FROM orders
    WHERE status = 'completed' AND type BETWEEN kinds.type AND kinds.type
    ORDER BY orders.type, id DESC LIMIT 1
) AS newest
"""


async def latest_completion(connection: Connection) -> datetime | None:
    """Return when one of the newest completed orders was completed; `None` without any."""
    at: datetime | None = await connection.fetchval(LATEST_COMPLETION, list(OrderType))
    return at


# An order that is finished only changes when its personal data is erased. Those that were finished
# since the business date began include orders of earlier dates.
SELECT_FINISHED = f"""
SELECT {COLUMNS} FROM orders
WHERE id = ANY (ARRAY(
    SELECT id FROM orders
    WHERE updated_at >= $2 AND erased_at IS NULL AND status IN ('completed', 'cancelled')
      AND NOT EXISTS (SELECT FROM unnest($3::bigint[]) AS known (id) WHERE known.id = orders.id)
    UNION ALL
    SELECT id FROM orders
    WHERE erased_at IS NOT NULL AND status IN ('completed', 'cancelled')
      AND (business_date = $1 OR id = ANY ($3::bigint[]))
    ORDER BY id DESC LIMIT {MAX_FINISHED}
))
"""


async def finished(
    connection: Connection, business_date: date, *, since: datetime, known: Collection[int]
) -> list[Row]:
    """Return the orders that were completed or cancelled since the business date began.

    Those with `known` ids are left out, unless they have been erased.
    """
    return await connection.fetch(SELECT_FINISHED, business_date, since, list(known))
