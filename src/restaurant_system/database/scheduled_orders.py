"""Release scheduled and held orders to the kitchen, and list the scheduled ones.

A scheduled order has no `released_at` and no message. It is released by setting the one and storing
the other in one transaction. A held order was released on an earlier business day, and no cook has
started it; it is released again by a person only.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import asyncpg

from restaurant_system.database.connection import Connection
from restaurant_system.database.tickets import CONTENTS, TicketContents
from restaurant_system.models.order import OrderType


@dataclass(frozen=True, slots=True)
class ReleasedOrder:
    """An order that was released, with the request that placed it, by its id and its trace.

    If it `is_held`, it was to be ready before the current business date.
    """

    id: int
    number: str
    request_id: str | None
    trace: Mapping[str, str] = field(default_factory=dict)
    is_held: bool = False


# Reads only orders that are due, from an index. Several processes may release at once: each order
# is locked, and checked again, by one of them, and skipped by the others. An order of an earlier
# business day counts as released when it should have been ready, so that it is held.
RELEASE_DUE = """
WITH due AS MATERIALIZED (
    SELECT scheduled.id
    FROM unnest($1::text[], $2::timestamptz[]) AS wanted (type, ready_by)
    CROSS JOIN LATERAL (
        SELECT id FROM orders
        WHERE status = 'received' AND released_at IS NULL AND type = wanted.type
          AND ready_at <= wanted.ready_by
        ORDER BY ready_at LIMIT $6 FOR NO KEY UPDATE SKIP LOCKED
    ) AS scheduled
)
UPDATE orders
SET updated_at = $3,
    released_at = CASE WHEN ready_at < $4 THEN ready_at WHEN ready_at >= $5 THEN $5 ELSE $3 END
FROM due WHERE orders.id = due.id
RETURNING orders.id, number, request_id, trace_context, released_at < $4 AS is_held
"""


async def release_due(
    tx: Connection,
    lead_times: Mapping[OrderType, timedelta],
    *,
    at: datetime,
    day_started_at: datetime,
    next_day: datetime,
    limit: int,
) -> list[ReleasedOrder]:
    """Release up to `limit` scheduled orders of each type that are due within its lead time.

    The current business date started at `day_started_at`, and ends at `next_day`.
    """
    ready_by = [at + lead for lead in lead_times.values()]
    rows = await tx.fetch(
        RELEASE_DUE, list(lead_times), ready_by, at, day_started_at, next_day, limit
    )
    return [_released_order(row) for row in rows]


# A scheduled order that is wanted now is ranked as if it were placed now, or it would be cooked
# after all orders that are promised earlier. Its priority still counts. One for a later business
# date counts as released when it is to be ready, so that it is not held on the dates until then.
RELEASE = """
UPDATE orders
SET released_at = CASE WHEN ready_at >= $6 THEN ready_at ELSE $2 END, updated_at = $2,
    rank_at = CASE
        WHEN released_at IS NULL AND isfinite(rank_at)
        THEN least(rank_at, $2::timestamptz + late.age + (rank_at - promised_at))
        ELSE rank_at
    END
FROM unnest($4::text[], $5::interval[]) AS late (type, age)
WHERE number = $1 AND late.type = orders.type AND status = 'received'
  AND (released_at IS NULL OR released_at < $3)
RETURNING id, number, request_id, trace_context, false AS is_held
"""


async def release(
    tx: Connection,
    number: str,
    *,
    at: datetime,
    day_started_at: datetime,
    next_day: datetime,
    late_after: Mapping[OrderType, timedelta],
) -> ReleasedOrder | None:
    """Release a scheduled or held order; return `None` if it is neither.

    The current business date started at `day_started_at`, and ends at `next_day`.
    """
    types, ages = list(late_after), list(late_after.values())
    row = await tx.fetchrow(RELEASE, number, at, day_started_at, types, ages, next_day)
    return None if row is None else _released_order(row)


def _released_order(row: asyncpg.Record) -> ReleasedOrder:
    trace = row["trace_context"]
    return ReleasedOrder(
        row["id"],
        row["number"],
        row["request_id"],
        {} if trace is None else json.loads(trace),
        row["is_held"],
    )


SCHEDULED = f"""
SELECT {CONTENTS} FROM orders WHERE id = ANY (ARRAY(
    SELECT soonest.id
    FROM unnest($1::text[]) AS wanted (type)
    CROSS JOIN LATERAL (
        SELECT id, ready_at FROM orders
        WHERE status = 'received' AND released_at IS NULL AND ready_at IS NOT NULL
          AND type BETWEEN wanted.type AND wanted.type
        ORDER BY orders.type, ready_at LIMIT $2
    ) AS soonest
    ORDER BY soonest.ready_at, soonest.id LIMIT $2
))
ORDER BY ready_at, id
"""


async def scheduled(
    connection: Connection, order_types: Sequence[OrderType], *, limit: int
) -> list[TicketContents]:
    """Return the scheduled orders of these types, those that are to be ready soonest first."""
    rows = await connection.fetch(SCHEDULED, list(order_types), limit)
    return [
        TicketContents(**dict(row) | {"order_type": OrderType(row["order_type"])}) for row in rows
    ]


COUNT_SCHEDULED = """
SELECT count(*) FROM orders
WHERE status = 'received' AND released_at IS NULL AND ready_at IS NOT NULL
"""


async def count_scheduled(connection: Connection) -> int:
    """Count the scheduled orders."""
    count: int = await connection.fetchval(COUNT_SCHEDULED)
    return count
