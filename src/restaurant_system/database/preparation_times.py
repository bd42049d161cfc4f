"""Learn from recent orders how long orders of each type take from their start until ready."""

import time

from restaurant_system.config import KitchenSettings
from restaurant_system.database.connection import Connection
from restaurant_system.database.reader import Reader
from restaurant_system.models.order import OrderType
from restaurant_system.models.timing import PreparationTimes

REFRESH_INTERVAL = 5.0  # s between two queries of the recent orders
RECENT_ORDERS = 50  # of each type

# The newest orders that are ready and those that are completed come from an index. The type is
# compared as a range of one value, so that the planner cannot use the primary key instead: with
# `=`, statistics from before a busy period make that look cheaper.
_NEWEST = f"""
SELECT id, completed_at FROM orders
WHERE status = '{{status}}' AND type BETWEEN wanted.type AND wanted.type
ORDER BY orders.type, id DESC LIMIT {RECENT_ORDERS}
"""
RECENT = f"""
SELECT wanted.type, extract(epoch FROM completed_at - started_at)::float8 AS seconds
FROM unnest($1::text[]) AS wanted (type)
CROSS JOIN LATERAL (
    SELECT id, completed_at
    FROM (({_NEWEST.format(status="ready")}) UNION ALL ({_NEWEST.format(status="completed")}))
        AS newest
    WHERE completed_at IS NOT NULL ORDER BY completed_at DESC LIMIT {RECENT_ORDERS}
) AS recent
CROSS JOIN LATERAL (
    SELECT min(changed_at) AS started_at FROM order_status_log
    WHERE order_id = recent.id AND status = 'cooking'
) AS started
WHERE started_at <= completed_at
"""


async def recent_seconds(connection: Connection) -> dict[OrderType, list[float]]:
    """Return the seconds from the start until ready of the last orders of each type."""
    found: dict[OrderType, list[float]] = {kind: [] for kind in OrderType}
    for row in await connection.fetch(RECENT, list(OrderType)):
        found[OrderType(row["type"])].append(row["seconds"])
    return found


class LearnedTimes:
    """The preparation times of recent orders, read from the database every few seconds at most.

    They are never less than the time of a simulated cook.
    """

    def __init__(self, database: Reader, kitchen: KitchenSettings) -> None:
        self._database = database
        self._minimum = {kind: kitchen.cooking_time(kind).total_seconds() for kind in OrderType}
        self._known = PreparationTimes(self._minimum)
        self._refresh_at = 0.0

    @property
    def known(self) -> PreparationTimes:
        """The times as of the last call of `latest`; before the first one, the minimum."""
        return self._known

    async def latest(self) -> PreparationTimes:
        """Return the times as of `REFRESH_INTERVAL` ago at most; raises `DatabaseUnavailable`."""
        if time.monotonic() >= self._refresh_at:
            recent = await self._database.read(recent_seconds)
            self._known = PreparationTimes(self._minimum, recent)
            self._refresh_at = time.monotonic() + REFRESH_INTERVAL
        return self._known
