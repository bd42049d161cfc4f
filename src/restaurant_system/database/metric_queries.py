"""Figures of the whole system for Prometheus."""

from collections.abc import Mapping
from datetime import datetime

from restaurant_system.database.connection import Connection
from restaurant_system.models.order import OrderType

OLDEST_WAITING = """
SELECT wanted.type, extract(epoch FROM $2::timestamptz - oldest.created_at)::float AS seconds
FROM unnest($1::text[]) AS wanted (type) CROSS JOIN LATERAL (
    SELECT created_at FROM orders
    WHERE status = 'received' AND orders.type = wanted.type ORDER BY id LIMIT 1
) AS oldest
"""


async def oldest_waiting_seconds(
    connection: Connection, now: datetime
) -> Mapping[OrderType, float]:
    """Return the age in seconds of the oldest waiting order of each type; 0 if there is none."""
    rows = await connection.fetch(OLDEST_WAITING, list(OrderType), now)
    ages = {OrderType(row["type"]): max(0.0, row["seconds"]) for row in rows}
    return {order_type: ages.get(order_type, 0.0) for order_type in OrderType}
