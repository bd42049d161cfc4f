"""Read the orders of a business date in parts."""

from collections.abc import Sequence
from datetime import date

from restaurant_system.database.connection import Connection
from restaurant_system.database.tracking_queries import Row

ORDER_IDS = "SELECT id FROM orders WHERE business_date = $1 ORDER BY id"


async def order_ids(connection: Connection, business_date: date) -> list[int]:
    """Return the ids of the orders of a business date, oldest first."""
    return [row["id"] for row in await connection.fetch(ORDER_IDS, business_date)]


ORDERS = """
SELECT orders.id, number, business_date, type, orders.status, handoff, table_number, table_label,
       customer_name, reference, channel, external_id, items_total, total_amount, amount_due,
       orders.created_at, ready_at,
       promised_at, completed_at, processed_by,
       coalesce(handed_over_at, completion.changed_at) AS handed_over_at,
       coalesce(handed_over_by, completion.changed_by) AS handed_over_by
FROM orders
LEFT JOIN LATERAL (
    SELECT changed_at, changed_by FROM order_status_log
    WHERE order_id = orders.id AND order_status_log.status = 'completed'
    ORDER BY changed_at DESC, order_status_log.id DESC LIMIT 1
) AS completion ON handed_over_at IS NULL
WHERE orders.id = ANY ($1) ORDER BY orders.id
"""


async def orders(connection: Connection, ids: Sequence[int]) -> list[Row]:
    """Return orders by their ids, without notes, addresses and phone numbers.

    One that was completed without a mark was handed over then.
    """
    return await connection.fetch(ORDERS, ids)
