"""Read the situation of the orders that are not ready, of stations and of workers."""

from dataclasses import fields
from datetime import datetime

from restaurant_system.database import workers
from restaurant_system.database.connection import Connection
from restaurant_system.database.workers import ONLINE_CONDITION
from restaurant_system.models.kitchen_warning import KitchenState, OpenOrders, OrderGroup
from restaurant_system.models.order import OrderType

MAX_NUMBERS = 50  # of overdue and of held orders, the oldest

# $1 is the start of the business date: a received order that was released before it is held.
OPEN = """
SELECT type, situation, count(*) AS orders, min(since) AS since,
       count(*) FILTER (WHERE promised_at < $2) AS overdue, min(promised_at) AS first_promised_at
FROM (
    SELECT type, promised_at, coalesce(released_at, created_at) AS since,
           CASE WHEN status = 'cooking' THEN 'cooking'
                WHEN released_at IS NULL THEN 'scheduled'
                WHEN released_at < $1 THEN 'held'
                ELSE 'waiting' END AS situation
    FROM orders WHERE status IN ('received', 'cooking')
) AS open
GROUP BY type, situation
"""
SITUATIONS_WITH_A_PROMISE = ("waiting", "cooking")


async def open_orders(connection: Connection, *, day_start: datetime, now: datetime) -> OpenOrders:
    """Count the orders that are not ready; those released before `day_start` are held."""
    by_situation: dict[str, dict[OrderType, OrderGroup]] = {
        each.name: {} for each in fields(OpenOrders)
    }
    overdue = by_situation["overdue"]
    for row in await connection.fetch(OPEN, day_start, now):
        kind, situation = OrderType(row["type"]), row["situation"]
        by_situation[situation][kind] = OrderGroup(row["orders"], row["since"])
        if row["overdue"] and situation in SITUATIONS_WITH_A_PROMISE:
            group = OrderGroup(row["overdue"], row["first_promised_at"])
            overdue[kind] = overdue[kind] + group if kind in overdue else group
    return OpenOrders(**by_situation)


OVERDUE_NUMBERS = f"""
SELECT number FROM orders
WHERE status IN ('received', 'cooking') AND (status = 'cooking' OR released_at >= $1)
  AND promised_at < $2
ORDER BY promised_at, id LIMIT {MAX_NUMBERS}
"""

HELD_NUMBERS = f"""
SELECT number FROM orders
WHERE status = 'received' AND released_at IS NOT NULL AND released_at < $1
ORDER BY released_at, id LIMIT {MAX_NUMBERS}
"""

# A ticket that was not started is left to the other workers when its station closes.
OPEN_TICKETS = f"""
SELECT station, count(*) AS tickets, max(coalesce(last_seen, orders.updated_at)) AS last_seen
FROM orders
JOIN station_tickets ON order_id = orders.id
LEFT JOIN workers ON workers.name = station
WHERE ((orders.status = 'cooking' AND station = processed_by)
       OR (orders.status = 'received' AND started_at IS NOT NULL))
  AND bumped_at IS NULL AND NOT coalesce({ONLINE_CONDITION}, false)
GROUP BY station ORDER BY station
"""


async def read(connection: Connection, *, day_start: datetime, now: datetime) -> KitchenState:
    """Read the current state; orders that were released before `day_start` are held."""
    orders = await open_orders(connection, day_start=day_start, now=now)
    overdue = await connection.fetch(OVERDUE_NUMBERS, day_start, now) if orders.overdue else []
    held = await connection.fetch(HELD_NUMBERS, day_start) if orders.held else []
    tickets = await connection.fetch(OPEN_TICKETS)
    return KitchenState(
        orders=orders,
        overdue_numbers=[row["number"] for row in overdue],
        held_numbers=[row["number"] for row in held],
        open_tickets={
            row["station"]: OrderGroup(row["tickets"], row["last_seen"]) for row in tickets
        },
        workers=await workers.list_recent(connection),
    )
