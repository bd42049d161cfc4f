"""Claim the orders that are cooked next, for a simulated cook or for a station.

Of the released orders of its types, a worker gets those with the lowest `rank_at`. Rows that
another worker is about to claim are skipped, so that no worker waits for another one and no order
is claimed twice. See docs/decisions/009-what-is-cooked-next.md.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import asyncpg

from restaurant_system.database.connection import Connection
from restaurant_system.database.message_columns import message_from_row
from restaurant_system.database.orders import (
    MOVE_REQUESTED,
    MovedOrder,
    seconds_since_sent,
)
from restaurant_system.database.workers import ONLINE_CONDITION
from restaurant_system.models.message import StatusChanged
from restaurant_system.models.order import OrderType

# Orders that are read in addition to those that are wanted, because other workers may have locked
# the first ones.
SPARE = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What a worker may claim: up to `limit` orders of its types, not those with `excluded` ids.

    Orders that were released before `released_since`, the start of the business date, are held for
    a person's decision. `cooking_times` has the time that an order of each type takes.
    """

    worker: str
    order_types: Sequence[OrderType]
    cooking_times: Mapping[OrderType, timedelta]
    released_since: datetime
    at: datetime
    limit: int
    excluded: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class ClaimedOrder:
    """An order that a worker has claimed, with the request that placed it and its trace."""

    id: int
    number: str
    order_type: OrderType
    request_id: str
    trace: Mapping[str, str] = field(default_factory=dict)
    was_cooking: bool = False


# The first orders of each type come from the index; the first of all are among them. They are
# locked in a second step, because the first one reads more than are wanted. The conditions are
# repeated there: an order may have been moved meanwhile. An order whose start is held is not
# chosen, whatever has become of its station: the start is written first.
CHOSEN = f"""
chosen AS MATERIALIZED (
    SELECT id, number, type, status, processed_by, rank_at, request_id, trace_context FROM orders
    WHERE id = ANY (ARRAY(
        SELECT first.id FROM unnest($2::text[]) AS wanted (type) CROSS JOIN LATERAL (
            SELECT id, rank_at FROM orders
            WHERE status = 'received' AND type = wanted.type AND released_at >= $3
              AND id <> ALL ($5::bigint[])
              AND NOT EXISTS (
                  SELECT FROM station_tickets
                  WHERE order_id = orders.id AND (started_at IS NOT NULL OR station <> $1 AND EXISTS
                      (SELECT FROM workers WHERE name = station AND {ONLINE_CONDITION})))
            ORDER BY rank_at, id LIMIT $4 + {SPARE}
        ) AS first
        ORDER BY first.rank_at, first.id LIMIT $4 + {SPARE}
    )) AND status = 'received' AND released_at >= $3
    ORDER BY rank_at, id LIMIT $4 FOR NO KEY UPDATE SKIP LOCKED
)
"""

CLAIMED = "id AS order_id, number, type AS order_type, request_id, trace_context"

# Starts the chosen orders. The update about each contains its number, which is added here.
START = f"""
WITH {CHOSEN}, requested AS MATERIALIZED (
    SELECT number, 'received' AS origin, 'cooking' AS target, $6::timestamptz AS at, $1 AS by,
           $6 + cooking_time AS estimated_completion, NULL AS notes,
           $9 || '/' || number AS stream, $9 AS exchange, '' AS routing_key,
           '{StatusChanged.TYPE}' AS type,
           convert_to('{{"order_number":"' || number || '",', 'UTF8') || unnumbered_body AS body,
           gen_random_uuid() AS message_id,
           coalesce(request_id, gen_random_uuid()::text) AS correlation_id, $10 AS app_id,
           $6 AS timestamp, 0::smallint AS priority,
           coalesce(trace_context, '{{}}') AS headers
    FROM chosen JOIN unnest($2, $7::interval[], $8::bytea[])
        AS kind (type, cooking_time, unnumbered_body) USING (type)
), locked AS (
    SELECT id, number, status, processed_by FROM chosen
), {MOVE_REQUESTED}
SELECT moved.id AS order_id, moved.number, order_type, placed_at, queued.*
FROM moved JOIN queued USING (message_id)
"""


async def start_next(
    connection: Connection, claim: Claim, *, exchange: str, app_id: str
) -> list[tuple[ClaimedOrder, MovedOrder]]:
    """Move the next orders to `cooking`, log that, and store an update to `exchange` about each."""
    times = [claim.cooking_times[kind] for kind in claim.order_types]
    bodies = [
        StatusChanged.encode_start(by=claim.worker, at=claim.at, until=claim.at + time)
        for time in times
    ]
    rows = await connection.fetch(
        START,
        *_choice(claim),
        claim.at,
        times,
        bodies,
        exchange,
        app_id,
    )
    return [(_started_order(row), _moved_order(row, claim.at)) for row in rows]


# Assigns the chosen orders to a station. An order that another station was assigned meanwhile stays
# there while that one is online.
ASSIGN = f"""
WITH {CHOSEN}, assigned AS (
    INSERT INTO station_tickets (order_id, station, rushed_at)
    SELECT id, $1, CASE rank_at WHEN '-infinity' THEN now() END FROM chosen
    ON CONFLICT (order_id) DO UPDATE
        SET station = excluded.station, bumped_at = NULL,
            rushed_at = coalesce(station_tickets.rushed_at, excluded.rushed_at)
        WHERE station_tickets.started_at IS NULL
          AND (station_tickets.station = excluded.station
               OR NOT EXISTS (SELECT FROM workers
                              WHERE name = station_tickets.station AND {ONLINE_CONDITION}))
    RETURNING order_id AS id
)
SELECT {CLAIMED} FROM chosen JOIN assigned USING (id)
"""


async def assign_next(connection: Connection, claim: Claim) -> list[ClaimedOrder]:
    """Assign the next orders to a station, on which they wait for people to start them."""
    return [_claimed_order(row) for row in await connection.fetch(ASSIGN, *_choice(claim))]


# An order is abandoned if its worker is offline, or does not process it: it was restarted, or the
# answer to its claim was lost. An order that the worker itself started keeps its `updated_at`,
# because it has not changed for others.
ABANDONED = f"""
abandoned AS (
    SELECT id, number, type, request_id, trace_context FROM orders
    WHERE status = 'cooking' AND id <> ALL ($4::bigint[])
      AND (processed_by = $1 OR (type = ANY ($2::text[]) AND NOT EXISTS (
          SELECT FROM workers WHERE name = processed_by AND {ONLINE_CONDITION})))
    ORDER BY rank_at, id LIMIT $3 FOR NO KEY UPDATE SKIP LOCKED
)
"""

TAKE_OVER = f"""
WITH {ABANDONED}
UPDATE orders
SET processed_by = $1,
    estimated_completion = greatest(estimated_completion, $5::timestamptz + cooking_time),
    updated_at = CASE WHEN processed_by = $1 THEN updated_at ELSE $5 END
FROM abandoned, unnest($6::text[], $7::interval[]) AS kind (type, cooking_time)
WHERE orders.id = abandoned.id AND kind.type = orders.type
RETURNING orders.id AS order_id, orders.number, orders.type AS order_type, orders.request_id,
          orders.trace_context
"""


async def take_over_abandoned(connection: Connection, claim: Claim) -> list[ClaimedOrder]:
    """Take over abandoned orders in `cooking`; no log row or message is written.

    What the worker started itself, it gets whatever its type is.
    """
    rows = await connection.fetch(
        TAKE_OVER,
        *_abandonment(claim),
        claim.at,
        list(claim.cooking_times),
        list(claim.cooking_times.values()),
    )
    return [_claimed_order(row, was_cooking=True) for row in rows]


FIRST = f"WITH {CHOSEN} SELECT {CLAIMED} FROM chosen"


async def first_waiting(connection: Connection, claim: Claim) -> list[ClaimedOrder]:
    """Return the orders that would be claimed now, and change nothing."""
    return [_claimed_order(row) for row in await connection.fetch(FIRST, *_choice(claim))]


FIRST_ABANDONED = f"WITH {ABANDONED} SELECT {CLAIMED} FROM abandoned"


async def first_abandoned(connection: Connection, claim: Claim) -> list[ClaimedOrder]:
    """Return the orders that would be taken over now, and change nothing."""
    return [
        _claimed_order(row) for row in await connection.fetch(FIRST_ABANDONED, *_abandonment(claim))
    ]


def _abandonment(claim: Claim) -> tuple[object, ...]:
    """Return the parameters of `ABANDONED`."""
    return claim.worker, list(claim.order_types), claim.limit, list(claim.excluded)


def _choice(claim: Claim) -> tuple[object, ...]:
    """Return the parameters of `CHOSEN`."""
    types, excluded = list(claim.order_types), list(claim.excluded)
    return claim.worker, types, claim.released_since, claim.limit, excluded


def _claimed_order(row: asyncpg.Record, *, was_cooking: bool = False) -> ClaimedOrder:
    trace = row["trace_context"]
    return ClaimedOrder(
        row["order_id"],
        row["number"],
        OrderType(row["order_type"]),
        row["request_id"] or "",
        {} if trace is None else json.loads(trace),
        was_cooking,
    )


def _started_order(row: asyncpg.Record) -> ClaimedOrder:
    headers = json.loads(row["headers"])
    kind = OrderType(row["order_type"])
    return ClaimedOrder(row["order_id"], row["number"], kind, row["correlation_id"], headers)


def _moved_order(row: asyncpg.Record, at: datetime) -> MovedOrder:
    return MovedOrder(
        row["id"],
        row["stream"],
        message_from_row(row),
        row["previous_id"],
        order_type=OrderType(row["order_type"]),
        seconds_since_placed=seconds_since_sent(row["placed_at"], at),
    )
