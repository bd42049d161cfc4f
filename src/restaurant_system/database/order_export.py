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
SELECT id, number, business_date, type, status, handoff, table_number, table_label, customer_name,
       reference, channel, external_id, items_total, total_amount, amount_due, created_at, ready_at,
       promised_at, completed_at, processed_by, handed_over_at, handed_over_by
FROM orders WHERE id = ANY ($1) ORDER BY id
"""


async def orders(connection: Connection, ids: Sequence[int]) -> list[Row]:
    """Return orders by their ids, without notes, addresses and phone numbers."""
    return await connection.fetch(ORDERS, ids)
