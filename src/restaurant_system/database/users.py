"""Store and look up users and API keys."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from restaurant_system.database.connection import Connection
from restaurant_system.models.access import Capability, Role, folded_name


@dataclass(frozen=True, slots=True)
class User:
    """A person who may sign in, unless disabled."""

    id: int
    name: str
    role: Role
    password_hash: str
    created_at: datetime
    disabled_at: datetime | None
    pin_hash: str | None
    pin_failures: int


@dataclass(frozen=True, slots=True)
class ApiKey:
    """An API key of a program, which may use it unless it is disabled."""

    name: str
    scopes: tuple[Capability, ...]
    created_at: datetime
    disabled_at: datetime | None


# The key of an advisory lock, held by a transaction that changes users or API keys.
LOCK_KEY = 7_278_110_044
LOCK = "SELECT pg_advisory_xact_lock($1)"


async def lock(tx: Connection) -> None:
    """Wait until no other transaction changes users or API keys; none does until this one ends."""
    await tx.execute(LOCK, LOCK_KEY)


ADD_USER = """
INSERT INTO users (name, folded_name, role, password_hash) VALUES ($1, $2, $3, $4)
ON CONFLICT (folded_name) DO NOTHING RETURNING id
"""


async def add_user(connection: Connection, name: str, role: Role, password_hash: str) -> bool:
    """Store a user; return `False` if the name is taken."""
    added = await connection.fetchval(ADD_USER, name, folded_name(name), role, password_hash)
    return added is not None


USER_COLUMNS = "id, name, role, password_hash, created_at, disabled_at, pin_hash, pin_failures"
FIND_USER = f"SELECT {USER_COLUMNS} FROM users WHERE folded_name = $1"


async def find_user(connection: Connection, name: str) -> User | None:
    """Return the user with a name, in any case; `None` if there is none."""
    row = await connection.fetchrow(FIND_USER, folded_name(name))
    return None if row is None else User(**{**row, "role": Role(row["role"])})


LIST_USERS = f"SELECT {USER_COLUMNS} FROM users ORDER BY folded_name"


async def list_users(connection: Connection) -> list[User]:
    """Return all users by name."""
    rows = await connection.fetch(LIST_USERS)
    return [User(**{**row, "role": Role(row["role"])}) for row in rows]


LOCK_UNCHANGED = """
SELECT FROM users WHERE id = $1 AND password_hash = $2 AND role = $3 AND disabled_at IS NULL
FOR SHARE
"""


async def lock_unchanged(tx: Connection, user: User) -> bool:
    """Return whether a user still has the password and the role, and is enabled.

    Neither changes before the transaction ends.
    """
    found = await tx.fetch(LOCK_UNCHANGED, user.id, user.password_hash, user.role)
    return bool(found)


DISABLE_USER = """
UPDATE users SET disabled_at = coalesce(disabled_at, now()) WHERE folded_name = $1
RETURNING id, name
"""
# A statement of its own, because it must see the sessions that were opened while the one before it
# waited for a sign-in.
END_SESSIONS = "DELETE FROM sessions WHERE user_id = $1"


async def disable_user(tx: Connection, name: str) -> str | None:
    """Disable a user and end the user's sessions; return the stored name, `None` if unknown."""
    row = await tx.fetchrow(DISABLE_USER, folded_name(name))
    if row is None:
        return None
    await tx.execute(END_SESSIONS, row["id"])
    stored: str = row["name"]
    return stored


IS_LAST_MANAGER = """
SELECT coalesce(bool_or(folded_name = $1) AND count(*) = 1, false)
FROM users WHERE role = 'manager' AND disabled_at IS NULL
"""


async def is_last_manager(tx: Connection, name: str) -> bool:
    """Return whether a user is the only manager who is not disabled."""
    found: bool = await tx.fetchval(IS_LAST_MANAGER, folded_name(name))
    return found


RESET_USER = """
WITH enabled AS (
    UPDATE users SET password_hash = $2, disabled_at = NULL, pin_hash = NULL, pin_failures = 0
    WHERE folded_name = $1
    RETURNING id, name
), unlocked AS (
    DELETE FROM sign_in_attempts WHERE subject = $3
)
SELECT id, name FROM enabled
"""


async def reset_user(
    tx: Connection, name: str, password_hash: str, *, attempts_subject: str
) -> str | None:
    """Give a user a new password and no PIN, enable the user, end sessions and lock-out.

    Returns the stored name, `None` if it is unknown.
    """
    row = await tx.fetchrow(RESET_USER, folded_name(name), password_hash, attempts_subject)
    if row is None:
        return None
    await tx.execute(END_SESSIONS, row["id"])
    stored: str = row["name"]
    return stored


ADD_KEY = """
INSERT INTO api_keys (name, folded_name, key_hash, scopes) VALUES ($1, $2, $3, $4)
ON CONFLICT (folded_name) DO NOTHING RETURNING id
"""


async def add_key(
    connection: Connection, name: str, key_hash: bytes, scopes: Sequence[Capability]
) -> bool:
    """Store an API key; return `False` if the name is taken."""
    added = await connection.fetchval(ADD_KEY, name, folded_name(name), key_hash, list(scopes))
    return added is not None


LIST_KEYS = "SELECT name, scopes, created_at, disabled_at FROM api_keys ORDER BY folded_name"


async def list_keys(connection: Connection) -> list[ApiKey]:
    """Return all API keys by name."""
    rows = await connection.fetch(LIST_KEYS)
    return [ApiKey(**{**row, "scopes": tuple(map(Capability, row["scopes"]))}) for row in rows]


DISABLE_KEY = """
UPDATE api_keys SET disabled_at = coalesce(disabled_at, now()) WHERE folded_name = $1
RETURNING name
"""


async def disable_key(connection: Connection, name: str) -> str | None:
    """Disable an API key; return the stored name, `None` if it is unknown."""
    found: str | None = await connection.fetchval(DISABLE_KEY, folded_name(name))
    return found


RESET_KEY = """
UPDATE api_keys SET key_hash = $2, disabled_at = NULL WHERE folded_name = $1 RETURNING name
"""


async def reset_key(connection: Connection, name: str, key_hash: bytes) -> str | None:
    """Replace an API key and enable it; return the stored name, `None` if it is unknown."""
    found: str | None = await connection.fetchval(RESET_KEY, folded_name(name), key_hash)
    return found


HAS_ANY = """
SELECT EXISTS (SELECT FROM users WHERE disabled_at IS NULL)
    OR EXISTS (SELECT FROM api_keys WHERE disabled_at IS NULL)
"""


async def has_any(connection: Connection) -> bool:
    """Return whether there is a user or an API key that is not disabled."""
    found: bool = await connection.fetchval(HAS_ANY)
    return found


HAS_USERS = "SELECT EXISTS (SELECT FROM users)"


async def has_users(connection: Connection) -> bool:
    """Return whether there is a user, also a disabled one."""
    found: bool = await connection.fetchval(HAS_USERS)
    return found


ADD_FIRST_USER = """
INSERT INTO users (name, folded_name, role, password_hash)
SELECT $1, $2, $3, $4 WHERE NOT EXISTS (SELECT FROM users)
ON CONFLICT (folded_name) DO NOTHING RETURNING id
"""


async def add_first_user(connection: Connection, name: str, role: Role, password_hash: str) -> bool:
    """Store a user if there is none; return whether it was stored."""
    added = await connection.fetchval(ADD_FIRST_USER, name, folded_name(name), role, password_hash)
    return added is not None
