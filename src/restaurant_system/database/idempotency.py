"""What was answered to an idempotency key."""

from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal

from restaurant_system.database.connection import Connection


@dataclass(frozen=True, slots=True)
class Remembered:
    """The order that a key was first used for."""

    fingerprint: bytes
    order_number: str
    total_amount: Decimal


# An expired key is as good as a new one, also before the cleaning has come to it.
TAKE = """
INSERT INTO idempotency_keys (key, fingerprint) VALUES ($1, $2)
ON CONFLICT (key) DO UPDATE
    SET fingerprint = excluded.fingerprint, created_at = now(), order_number = NULL
    WHERE idempotency_keys.created_at < now() - $3::interval
RETURNING key
"""


async def take(tx: Connection, key: str, fingerprint: bytes, lifetime: timedelta) -> bool:
    """Take a key for this transaction; return whether it was free.

    Whoever comes with the same key at the same time waits here until this transaction ends.
    """
    return await tx.fetchval(TAKE, key, fingerprint, lifetime) is not None


ANSWER = "UPDATE idempotency_keys SET order_number = $2, total_amount = $3 WHERE key = $1"


async def answer(tx: Connection, key: str, order_number: str, total_amount: Decimal) -> None:
    """Remember what is answered to a key that this transaction has taken."""
    await tx.execute(ANSWER, key, order_number, total_amount)


RECALL = "SELECT fingerprint, order_number, total_amount FROM idempotency_keys WHERE key = $1"


async def recall(connection: Connection, key: str) -> Remembered | None:
    """Return what a key was used for, `None` if it is unknown."""
    row = await connection.fetchrow(RECALL, key)
    return None if row is None else Remembered(**row)


FORGET = "DELETE FROM idempotency_keys WHERE created_at < now() - $1::interval RETURNING key"


async def forget(connection: Connection, lifetime: timedelta) -> int:
    """Delete the keys that are older than `lifetime`; return how many."""
    return len(await connection.fetch(FORGET, lifetime))
