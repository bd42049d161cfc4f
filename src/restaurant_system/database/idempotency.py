"""What idempotency keys were used for. Those of new orders are taken where orders are placed."""

from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal

from restaurant_system.database.connection import Connection


@dataclass(frozen=True, slots=True)
class KeyUse:
    """What a key was first used for; an order that somebody has put away has no number here."""

    fingerprint: bytes
    order_number: str | None
    total_amount: Decimal | None


STORE = """
INSERT INTO idempotency_keys (key, fingerprint, order_id)
SELECT $1, $2, id FROM orders WHERE number = $3
ON CONFLICT (key) DO NOTHING
RETURNING key
"""


async def store(tx: Connection, key: str, fingerprint: bytes, order_number: str) -> bool:
    """Take a key for what is done with an order, if it is free; whoever has it is waited for."""
    return await tx.fetchval(STORE, key, fingerprint, order_number) is not None


LOOK_UP = """
SELECT fingerprint, number AS order_number, total_amount
FROM idempotency_keys LEFT JOIN orders ON orders.id = order_id WHERE key = $1
"""


async def look_up(connection: Connection, key: str) -> KeyUse | None:
    """Return what a key was used for, `None` if it is unknown."""
    row = await connection.fetchrow(LOOK_UP, key)
    return None if row is None else KeyUse(**row)


# A slice, so that a busy day's keys are not one transaction of minutes.
DELETE_EXPIRED = """
DELETE FROM idempotency_keys WHERE key = ANY (ARRAY(
    SELECT key FROM idempotency_keys WHERE created_at < now() - $1::interval
    ORDER BY created_at LIMIT $2 FOR UPDATE SKIP LOCKED
))
RETURNING key
"""


async def delete_expired(connection: Connection, lifetime: timedelta, limit: int) -> int:
    """Delete up to `limit` keys that are older than `lifetime`; return how many."""
    return len(await connection.fetch(DELETE_EXPIRED, lifetime, limit))
