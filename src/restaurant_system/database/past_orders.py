"""Count the orders of past business dates by time of day, to compare a date with them."""

from collections.abc import Sequence
from datetime import date, time

from restaurant_system.database.connection import Connection
from restaurant_system.database.tracking_queries import Row

# By the clock on the wall, so that dates compare on which clocks change.
PER_MINUTE = """
SELECT business_date, count(*) AS orders,
       coalesce(sum(total_amount) FILTER (WHERE status <> 'cancelled'), 0) AS amount,
       floor(extract(epoch FROM
           (created_at AT TIME ZONE $2) - (business_date + $3::time)) / 60)::integer AS minute
FROM orders WHERE business_date = ANY ($1) GROUP BY business_date, minute
"""


async def per_minute(
    connection: Connection, dates: Sequence[date], timezone: str, day_start: time
) -> list[Row]:
    """Count orders by date and minute since its start; amounts are without cancelled orders."""
    return await connection.fetch(PER_MINUTE, dates, timezone, day_start)
