"""Store, look up and delete idempotency keys; order_placement.py stores those of new orders."""

from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal

from restaurant_system.database.connection import Connection


@dataclass(frozen=True, slots=True)
class KeyUse:
    """The first use of a key; number and total are `None` if the order has been deleted.

    The token is also `None` if the order has no tracking link.
    """

    fingerprint: bytes
    order_number: str | None
    total_amount: Decimal | None
    tracking_token: bytes | None


STORE = """
INSERT INTO idempotency_keys (key, fingerprint, order_id)
SELECT $1, $2, id FROM orders WHERE number = $3
ON CONFLICT (key) DO NOTHING
RETURNING key
"""


async def store(tx: Connection, key: str, fingerprint: bytes, order_number: str) -> bool:
    """Store a key for an action on an order; return `False` if it was used before.

    Waits for a concurrent transaction that stores the same key.
    """
    return await tx.fetchval(STORE, key, fingerprint, order_number) is not None


LOOK_UP = """
SELECT fingerprint, number AS order_number, total_amount, tracking_token
FROM idempotency_keys LEFT JOIN orders ON orders.id = order_id WHERE key = $1
"""


async def look_up(connection: Connection, key: str) -> KeyUse | None:
    """Return the first use of an idempotency key; `None` if it is unknown."""
    row = await connection.fetchrow(LOOK_UP, key)
    return None if row is None else KeyUse(**row)


# Limited, so that deleting a busy day's keys is not one transaction of minutes.
DELETE_EXPIRED = """
DELETE FROM idempotency_keys WHERE key = ANY (ARRAY(
    SELECT key FROM idempotency_keys WHERE created_at < now() - $1::interval
    ORDER BY created_at LIMIT $2 FOR UPDATE SKIP LOCKED
))
RETURNING key
"""


async def delete_expired(connection: Connection, lifetime: timedelta, limit: int) -> int:
    """Delete up to `limit` keys that are older than `lifetime`; return their number."""
    return len(await connection.fetch(DELETE_EXPIRED, lifetime, limit))
