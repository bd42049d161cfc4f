"""Store and look up what makes requests repeatable: idempotency keys, and the channels' order ids.

The statement in order_placement.py stores those of new orders. Both may be cancelled before their
order arrives: then they are stored without an order, and the order is refused.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal

from restaurant_system.database.connection import Connection
from restaurant_system.database.standbys import wait_for_standbys
from restaurant_system.errors import IdempotencyKeyReused
from restaurant_system.models.privacy import ERASED_FINGERPRINT


@dataclass(frozen=True, slots=True)
class FirstUse:
    """The order for which a key or an id was used first.

    The fingerprint is `None` if the order was cancelled before it arrived. Number and total are
    `None` then, and if the order has been deleted and only a key is known. The token is `None` if
    the order has no tracking link.
    """

    fingerprint: bytes | None
    order_number: str | None
    total_amount: Decimal | None
    tracking_token: bytes | None

    @property
    def is_cancelled(self) -> bool:
        """Return whether the order was cancelled before it arrived."""
        return self.fingerprint is None


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


async def look_up(connection: Connection, key: str) -> FirstUse | None:
    """Return the first use of an idempotency key, as `_first_use`; `None` if it is unknown."""
    return await _first_use(connection, LOOK_UP, key)


LOOK_UP_EXTERNAL = """
SELECT fingerprint, coalesce(orders.number, external_orders.order_number) AS order_number,
       external_orders.total_amount, tracking_token
FROM external_orders LEFT JOIN orders ON orders.id = order_id WHERE digest = $1
"""


async def look_up_external(connection: Connection, digest: bytes) -> FirstUse | None:
    """Return the first use of a channel's order id, as `_first_use`; `None` if it is unknown."""
    return await _first_use(connection, LOOK_UP_EXTERNAL, digest)


async def _first_use(connection: Connection, statement: str, name: str | bytes) -> FirstUse | None:
    """Return the first use of a key or an id; once it is committed, synchronous standbys have it.

    The answer to the first use may not have been sent, because it waited for them in vain.
    """
    row = await connection.fetchrow(statement, name)
    if row is None:
        return None
    await wait_for_standbys(connection)
    return FirstUse(**row)


# NOT EXISTS would let PostgreSQL read all orders.
CANCEL_KEY = """
INSERT INTO idempotency_keys (key) VALUES ($1)
ON CONFLICT (key) DO UPDATE SET fingerprint = NULL, order_id = NULL, created_at = now()
    WHERE idempotency_keys.created_at < now() - $2::interval
        AND (SELECT id FROM orders WHERE id = idempotency_keys.order_id) IS NULL
RETURNING key
"""


async def cancel_key(connection: Connection, key: str, lifetime: timedelta) -> bool:
    """Store a key so that an order with it is refused; return `False` if it is in use.

    A key older than `lifetime` is not, unless its order is stored. Waits for a concurrent
    transaction that stores this key.
    """
    return await connection.fetchval(CANCEL_KEY, key, lifetime) is not None


async def take_for_action(tx: Connection, key: str, fingerprint: bytes, order_number: str) -> bool:
    """Store a key for an action on an order; return `False` if it was used for the same before.

    Raises `IdempotencyKeyReused` if it was used for something else. The keys of new orders contain
    no space, so that one with a prefix and a space is never one of these.
    """
    if await store(tx, key, fingerprint, order_number):
        return True
    used_for = await look_up(tx, key)
    # The fingerprints of an erased order are erased; a repeated action still gets its answer.
    if used_for is None or used_for.fingerprint not in (fingerprint, ERASED_FINGERPRINT):
        raise IdempotencyKeyReused(
            "This Idempotency-Key was used for something else; send a new one."
        )
    return False


CANCEL_EXTERNAL = """
INSERT INTO external_orders (digest) VALUES ($1) ON CONFLICT DO NOTHING RETURNING digest
"""


async def cancel_external(connection: Connection, digest: bytes) -> bool:
    """Store a channel's order id so that its order is refused; return `False` if it is in use.

    Waits for a concurrent transaction that stores the same id.
    """
    return await connection.fetchval(CANCEL_EXTERNAL, digest) is not None


FREE_KEYS = """
DELETE FROM idempotency_keys WHERE key = ANY($1) AND xmin = pg_current_xact_id()::xid
"""


async def free_keys(tx: Connection, keys: Sequence[str]) -> None:
    """Delete those of these keys that this transaction has stored."""
    await tx.execute(FREE_KEYS, list(keys))


# Limited, so that deleting a busy day's keys is not one transaction of minutes. The status is read
# by a subquery, so that PostgreSQL looks up the orders of expired keys instead of joining all.
DELETE_EXPIRED = """
DELETE FROM idempotency_keys WHERE key = ANY (ARRAY(
    SELECT key FROM idempotency_keys WHERE created_at < now() - $1::interval
        AND (SELECT status FROM orders WHERE id = order_id) IS DISTINCT FROM 'received'
    ORDER BY created_at LIMIT $2 FOR UPDATE SKIP LOCKED
))
RETURNING key
"""


async def delete_expired(connection: Connection, lifetime: timedelta, limit: int) -> int:
    """Delete up to `limit` keys that are older than `lifetime`; return their number.

    A key is kept while its order is received, so that the order can be cancelled by it.
    """
    return len(await connection.fetch(DELETE_EXPIRED, lifetime, limit))
