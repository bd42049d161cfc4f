"""Store the PINs of people, and count wrong ones."""

from restaurant_system.database.connection import Connection
from restaurant_system.models.access import folded_name

SET_PIN = """
UPDATE users SET pin_hash = $2, pin_failures = 0 WHERE folded_name = $1 AND disabled_at IS NULL
RETURNING id, name
"""
# A statement of its own, because it must see the sessions that were opened while SET_PIN waited.
END_PIN_SESSIONS = "DELETE FROM sessions WHERE user_id = $1 AND device_id IS NOT NULL"


async def set_pin(tx: Connection, name: str, pin_hash: str | None) -> str | None:
    """Give a person a PIN, or none, and end the sessions that were opened with the old one.

    Returns the stored name, `None` if it is unknown or disabled.
    """
    row = await tx.fetchrow(SET_PIN, folded_name(name), pin_hash)
    if row is None:
        return None
    await tx.execute(END_PIN_SESSIONS, row["id"])
    stored: str = row["name"]
    return stored


COUNT_PIN_TRY = """
UPDATE users SET pin_failures = pin_failures + 1 WHERE id = $1 AND pin_failures < $2 RETURNING id
"""


async def count_pin_try(connection: Connection, user_id: int, *, limit: int) -> bool:
    """Count a wrong PIN of a person; return `False`, without counting, after `limit` of them."""
    return await connection.fetchval(COUNT_PIN_TRY, user_id, limit) is not None


ACCEPT_PIN = """
UPDATE users SET pin_failures = 0 WHERE id = $1 AND pin_hash = $2 AND disabled_at IS NULL
RETURNING id
"""


async def accept_pin(tx: Connection, user_id: int, pin_hash: str) -> bool:
    """Forget the wrong PINs of a person; return `False` if this is not the person's PIN any more.

    The PIN cannot be changed until the transaction ends.
    """
    return await tx.fetchval(ACCEPT_PIN, user_id, pin_hash) is not None


ALLOW_PIN = """
UPDATE users SET pin_failures = 0
WHERE id = $1 AND password_hash = $2 AND disabled_at IS NULL AND pin_failures > 0
"""


async def allow_pin(tx: Connection, user_id: int, password_hash: str) -> None:
    """Forget the wrong PINs of a person who still has a password."""
    await tx.execute(ALLOW_PIN, user_id, password_hash)
