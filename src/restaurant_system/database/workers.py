"""The kitchen's book of workers. A worker's heartbeat is its lease on its name and its orders.

Leases are told by the database's clock, which is the same for everyone.
"""

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

import asyncpg

from restaurant_system.database.connection import Connection
from restaurant_system.models.order import OrderType
from restaurant_system.models.worker import MISSED_HEARTBEATS, Worker, WorkerStatus

PRESENT = f"""
(workers.status = 'online'
 AND workers.last_seen >= now() - {MISSED_HEARTBEATS} * workers.heartbeat_interval)
"""

REGISTER = f"""
INSERT INTO workers (name, type, status, last_seen, heartbeat_interval, session)
VALUES ($1, $2, 'online', now(), $3, $4)
ON CONFLICT (name) DO UPDATE
    SET type = excluded.type, status = 'online', last_seen = now(),
        heartbeat_interval = excluded.heartbeat_interval, session = excluded.session
    WHERE NOT {PRESENT}
RETURNING id
"""


async def register(
    connection: Connection,
    name: str,
    order_types: Sequence[OrderType],
    heartbeat_interval: timedelta,
    session: UUID,
) -> bool:
    """Enter a worker, or let it take over a name that is offline or has fallen silent.

    Returns whether the name is its own now; if not, somebody else works under it.
    """
    types = ",".join(order_types)
    registered = await connection.fetchval(REGISTER, name, types, heartbeat_interval, session)
    return registered is not None


HEARTBEAT = """
UPDATE workers SET status = 'online', last_seen = now() WHERE name = $1 AND session = $2
RETURNING id
"""


async def heartbeat(connection: Connection, name: str, session: UUID) -> bool:
    """Prolong the lease; return whether the name is still this session's."""
    return await connection.fetchval(HEARTBEAT, name, session) is not None


LEAVE = """
UPDATE workers SET status = 'offline', last_seen = now() WHERE name = $1 AND session = $2
"""


async def leave(connection: Connection, name: str, session: UUID) -> None:
    """Mark a worker offline, unless somebody else has its name by now."""
    await connection.execute(LEAVE, name, session)


DISMISS_EVERYONE = "UPDATE workers SET status = 'offline' WHERE status = 'online'"


async def dismiss_everyone(connection: Connection) -> None:
    """Free all names, whose holders are known to be gone, before their leases run out."""
    await connection.execute(DISMISS_EVERYONE)


IS_PRESENT = f"SELECT FROM workers WHERE name = $1 AND {PRESENT}"


async def is_present(connection: Connection, name: str) -> bool:
    """Tell whether a worker is online and has been heard of in time."""
    return await connection.fetchrow(IS_PRESENT, name) is not None


EVERYONE = f"""
SELECT name, type, orders_processed, last_seen,
       CASE WHEN {PRESENT} THEN 'online' ELSE 'offline' END AS status,
       workers.status = 'online' AND NOT {PRESENT} AS is_silent
FROM workers ORDER BY name
"""


async def everyone(connection: Connection) -> list[Worker]:
    """Return every worker that was ever entered, by name."""
    return [_worker(row) for row in await connection.fetch(EVERYONE)]


def _worker(row: asyncpg.Record) -> Worker:
    return Worker(
        name=row["name"],
        order_types=tuple(OrderType(part) for part in row["type"].split(",")),
        status=WorkerStatus(row["status"]),
        orders_processed=row["orders_processed"],
        last_seen=row["last_seen"],
        is_silent=row["is_silent"],
    )
