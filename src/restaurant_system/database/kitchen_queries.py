"""Read the state of the kitchen, from which completion times are estimated."""

from collections.abc import Sequence
from datetime import datetime
from typing import TypeAlias

import asyncpg

from restaurant_system.database.connection import Connection
from restaurant_system.models.forecast import WaitingOrders
from restaurant_system.models.order import OrderType

Row: TypeAlias = asyncpg.Record

COOKING = """
SELECT processed_by, type, updated_at, estimated_completion FROM orders
WHERE status = 'cooking' AND processed_by = ANY($1)
"""


async def cooking(connection: Connection, cooks: Sequence[str]) -> list[Row]:
    """Return the orders that these cooks cook now, with their cooks and times."""
    return await connection.fetch(COOKING, cooks)


# Two arrays for each type instead of a row for each order, which would take ten times as long to
# decode. The type is compared as a range of one value so that the index is used, which is sorted.
_TO_COOK = """
FROM orders
WHERE status = 'received' AND type BETWEEN wanted.type AND wanted.type AND released_at >= $2
ORDER BY orders.type, rank_at, id
"""
WAITING = f"""
SELECT wanted.type,
       ARRAY(SELECT extract(epoch FROM rank_at)::float8 {_TO_COOK}) AS ranks,
       ARRAY(SELECT id {_TO_COOK}) AS ids
FROM unnest($1::text[]) AS wanted (type)
"""


async def waiting(
    connection: Connection, released_since: datetime
) -> dict[OrderType, WaitingOrders]:
    """Return the orders that wait for a cook and were released since then, by type."""
    rows = await connection.fetch(WAITING, list(OrderType), released_since)
    return {OrderType(row["type"]): WaitingOrders(row["ranks"], row["ids"]) for row in rows}
