"""Queries on registered workers. A heartbeat extends a worker's lease on its name and its orders.

Leases use the database's clock, which is the same for all processes.
"""

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

import asyncpg

from restaurant_system.database.connection import Connection
from restaurant_system.database.connection_factory import AnyConnection
from restaurant_system.models.order import OrderType
from restaurant_system.models.worker import Worker, WorkerStatus

RECENT_LIMIT = 200  # workers in the list, in addition to those that are online

# `lease_until` is `last_seen` and two heartbeat intervals; the index workers_by_lease serves this.
ONLINE_CONDITION = "(workers.status = 'online' AND workers.lease_until >= now())"

REGISTER = f"""
INSERT INTO workers
    (name, type, status, last_seen, heartbeat_interval, session, capacity, is_station)
VALUES ($1, $2, 'online', now(), $3, $4, $5, $6)
ON CONFLICT (name) DO UPDATE
    SET type = excluded.type, status = 'online', last_seen = now(),
        heartbeat_interval = excluded.heartbeat_interval, session = excluded.session,
        capacity = excluded.capacity, is_station = excluded.is_station
    WHERE NOT {ONLINE_CONDITION} OR workers.session = excluded.session
RETURNING id
"""


async def register(
    connection: Connection,
    name: str,
    order_types: Sequence[OrderType],
    heartbeat_interval: timedelta,
    session: UUID,
    *,
    capacity: int = 1,
    is_station: bool = False,
) -> bool:
    """Mark a worker online, under a new name or one that is offline or whose lease has expired.

    Returns `False` if another worker with this name is online. May be repeated when the answer was
    lost.
    """
    types = ",".join(order_types)
    registered = await connection.fetchval(
        REGISTER, name, types, heartbeat_interval, session, capacity, is_station
    )
    return registered is not None


HEARTBEAT = """
UPDATE workers SET status = 'online', last_seen = now() WHERE name = $1 AND session = $2
RETURNING id
"""


async def heartbeat(connection: Connection, name: str, session: UUID) -> bool:
    """Extend the lease; return `False` if the name is no longer this session's."""
    return await connection.fetchval(HEARTBEAT, name, session) is not None


REINSERT = """
INSERT INTO workers
    (name, type, status, last_seen, heartbeat_interval, session, capacity, is_station)
VALUES ($1, $2, 'online', now(), $3, $4, $5, $6)
ON CONFLICT (name) DO NOTHING
RETURNING id
"""


async def reinsert(
    connection: Connection,
    name: str,
    order_types: Sequence[OrderType],
    heartbeat_interval: timedelta,
    session: UUID,
    *,
    capacity: int = 1,
    is_station: bool = False,
) -> bool:
    """Insert a worker again that was deleted while it could not send heartbeats.

    Returns `False` if another session has registered the name.
    """
    types = ",".join(order_types)
    inserted = await connection.fetchval(
        REINSERT, name, types, heartbeat_interval, session, capacity, is_station
    )
    return inserted is not None


DEREGISTER = """
UPDATE workers SET status = 'offline', last_seen = now() WHERE name = $1 AND session = $2
"""


async def deregister(connection: Connection, name: str, session: UUID) -> None:
    """Mark a worker offline, unless another session has its name."""
    await connection.execute(DEREGISTER, name, session)


RELEASE_WORKER_NAMES = "UPDATE workers SET status = 'offline' WHERE status = 'online'"


async def release_worker_names(connection: Connection) -> None:
    """Mark all workers offline, where it is certain that none runs, before their leases expire."""
    await connection.execute(RELEASE_WORKER_NAMES)


IS_ONLINE = f"SELECT FROM workers WHERE name = $1 AND {ONLINE_CONDITION}"


async def is_online(connection: Connection, name: str) -> bool:
    """Tell whether a worker is online and its lease has not expired."""
    return await connection.fetchrow(IS_ONLINE, name) is not None


COLUMNS = f"""
name, type, orders_processed, last_seen, capacity,
CASE WHEN {ONLINE_CONDITION} THEN 'online' ELSE 'offline' END AS status,
workers.status = 'online' AND NOT {ONLINE_CONDITION} AS is_silent
"""
LIST_ONLINE = f"SELECT {COLUMNS} FROM workers WHERE {ONLINE_CONDITION} ORDER BY name"


async def list_online(connection: AnyConnection) -> list[Worker]:
    """Return the workers that are online and whose lease has not expired, by name."""
    return [_worker(row) for row in await connection.fetch(LIST_ONLINE)]


LIST_RECENT = f"""
SELECT {COLUMNS} FROM workers WHERE id = ANY (ARRAY(
    SELECT id FROM workers WHERE {ONLINE_CONDITION}
    UNION (SELECT id FROM workers ORDER BY last_seen DESC LIMIT {RECENT_LIMIT})
))
ORDER BY name
"""


async def list_recent(connection: Connection) -> list[Worker]:
    """Return the online workers and the `RECENT_LIMIT` with the latest heartbeats, by name."""
    return [_worker(row) for row in await connection.fetch(LIST_RECENT)]


LIST_STATIONS = f"""
SELECT {COLUMNS} FROM workers WHERE is_station ORDER BY last_seen DESC LIMIT {RECENT_LIMIT}
"""


async def list_stations(connection: Connection) -> list[Worker]:
    """Return the `RECENT_LIMIT` stations with the latest heartbeats, the latest first."""
    return [_worker(row) for row in await connection.fetch(LIST_STATIONS)]


# The row is locked before the conditions are checked for the last time: a worker that registers
# concurrently is skipped, or is online by then, or waits for the deletion and is inserted again.
DELETE_UNUSED = f"""
DELETE FROM workers WHERE id = ANY (ARRAY(
    SELECT id FROM workers
    WHERE last_seen < now() - $1::interval
      AND (orders_processed = 0 OR last_seen < now() - $2::interval)
      AND NOT {ONLINE_CONDITION}
      AND NOT EXISTS (SELECT FROM orders WHERE status = 'cooking' AND processed_by = name)
      AND NOT EXISTS (
          SELECT FROM station_tickets JOIN orders ON orders.id = order_id
          WHERE station = name AND bumped_at IS NULL AND orders.status IN ('received', 'cooking'))
    ORDER BY last_seen LIMIT $3 FOR UPDATE OF workers SKIP LOCKED
))
RETURNING id
"""


async def delete_unused(
    connection: Connection, unused_for: timedelta, used_for: timedelta, limit: int
) -> int:
    """Delete up to `limit` workers that are not online and have sent no heartbeat for a long time.

    That is `used_for` where a worker has finished orders, else `unused_for`. A worker with an order
    that is not ready yet is kept. Returns the number of deleted workers. Any number of processes
    may delete concurrently.
    """
    return len(await connection.fetch(DELETE_UNUSED, unused_for, used_for, limit))


def _worker(row: asyncpg.Record) -> Worker:
    return Worker(
        name=row["name"],
        order_types=tuple(OrderType(part) for part in row["type"].split(",")),
        status=WorkerStatus(row["status"]),
        orders_processed=row["orders_processed"],
        last_seen=row["last_seen"],
        is_silent=row["is_silent"],
        capacity=row["capacity"],
    )
