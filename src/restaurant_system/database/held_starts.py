"""Hold the starts of orders at stations, so that they can be undone for a moment.

An order whose start is held is `received` still, because it could not return from `cooking`. The
tickets of its station show it as cooking, and no other worker can claim it. The move to `cooking`
is written later, with the time of the start, by whichever process does it first.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from restaurant_system.database.connection import Connection
from restaurant_system.database.workers import ONLINE_CONDITION
from restaurant_system.models.order import OrderType


@dataclass(frozen=True, slots=True)
class HeldStart:
    """The start of an order at a station, and the request that placed the order, with its trace."""

    order_id: int
    number: str
    order_type: OrderType
    station: str
    started_at: datetime
    request_id: str | None
    trace: Mapping[str, str] = field(default_factory=dict)


HOLD = """
UPDATE station_tickets SET started_at = $3
WHERE station = $1 AND order_id = (SELECT id FROM orders WHERE number = $2)
RETURNING order_id
"""


async def hold(tx: Connection, station: str, number: str, *, at: datetime) -> bool:
    """Hold the start of an order at a station; return `False` if it is not assigned there."""
    return await tx.fetchval(HOLD, station, number, at) is not None


# Items cannot be crossed off before the start.
UNDO = """
UPDATE station_tickets SET started_at = NULL, crossed_off = '{}'
WHERE station = $1 AND order_id = (SELECT id FROM orders WHERE number = $2)
"""


async def undo(tx: Connection, station: str, number: str) -> None:
    """Undo a start that is held."""
    await tx.execute(UNDO, station, number)


# Those of stations that are not online are due at once: other workers take over their orders.
LIST_DUE = f"""
SELECT number, started_at FROM station_tickets JOIN orders ON orders.id = order_id
WHERE started_at IS NOT NULL AND orders.status = 'received' AND order_id <> ALL ($3::bigint[])
  AND ((station = $1 AND started_at <= $2)
       OR NOT EXISTS (SELECT FROM workers WHERE name = station AND {ONLINE_CONDITION}))
ORDER BY started_at
"""


async def list_due(
    connection: Connection, station: str, *, until: datetime, excluded: Sequence[int] = ()
) -> list[tuple[str, datetime]]:
    """Return the starts at a station until then, and all those at stations that are not online.

    Each has the number of its order and its time. Orders with `excluded` ids are left out.
    """
    rows = await connection.fetch(LIST_DUE, station, until, list(excluded))
    return [(row["number"], row["started_at"]) for row in rows]


# Both rows are locked, so that a start that is undone or written meanwhile is not returned: the
# order first, as everywhere, so that the transaction that has locked it gets the ticket.
LOCK = """
WITH locked AS MATERIALIZED (
    SELECT id, number, type AS order_type, request_id, trace_context FROM orders
    WHERE number = $1 AND status = 'received' FOR NO KEY UPDATE SKIP LOCKED
)
SELECT order_id, number, order_type, station, started_at, request_id, trace_context
FROM locked JOIN station_tickets ON order_id = locked.id
WHERE started_at = $2
FOR NO KEY UPDATE OF station_tickets
"""


async def lock(tx: Connection, number: str, started_at: datetime) -> HeldStart | None:
    """Lock a start until the transaction ends.

    Returns `None` if it is not held any more, or if another transaction has locked the order.
    """
    row = await tx.fetchrow(LOCK, number, started_at)
    if row is None:
        return None
    return HeldStart(
        row["order_id"],
        row["number"],
        OrderType(row["order_type"]),
        row["station"],
        row["started_at"],
        row["request_id"],
        {} if row["trace_context"] is None else json.loads(row["trace_context"]),
    )


RELEASE = "UPDATE station_tickets SET started_at = NULL WHERE order_id = $1"


async def release(tx: Connection, order_id: int) -> None:
    """Delete the mark of a start whose move is written."""
    await tx.execute(RELEASE, order_id)
