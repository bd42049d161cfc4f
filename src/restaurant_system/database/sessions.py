"""Store sessions, find the owners of sessions and API keys, and count wrong passwords."""

from datetime import datetime

import asyncpg

from restaurant_system.database.connection import Connection
from restaurant_system.models.access import CAPABILITIES, EVERYONE, Caller, Capability, Role
from restaurant_system.models.lock_out import Attempts

ADD = "INSERT INTO sessions (token_hash, user_id, created_at, expires_at) VALUES ($1, $2, $3, $4)"


async def add(
    tx: Connection, token_hash: bytes, user_id: int, *, created_at: datetime, expires_at: datetime
) -> None:
    """Store a session."""
    await tx.execute(ADD, token_hash, user_id, created_at, expires_at)


DELETE = """
DELETE FROM sessions USING users WHERE token_hash = $1 AND users.id = user_id
RETURNING users.name, users.role
"""


async def delete(tx: Connection, token_hash: bytes) -> Caller | None:
    """End a session; return the person whose session it was, `None` if there is no such session."""
    row = await tx.fetchrow(DELETE, token_hash)
    return None if row is None else _person(row)


OWNER_OF_SESSION = """
SELECT users.name, users.role FROM sessions JOIN users ON users.id = sessions.user_id
WHERE token_hash = $1 AND expires_at > $2 AND disabled_at IS NULL
"""


async def owner_of_session(
    connection: Connection, token_hash: bytes, at: datetime
) -> Caller | None:
    """Return the person whose session has a token; `None` if there is no such session."""
    row = await connection.fetchrow(OWNER_OF_SESSION, token_hash, at)
    return None if row is None else _person(row)


def _person(row: asyncpg.Record) -> Caller:
    role = Role(row["role"])
    return Caller(row["name"], role, CAPABILITIES[role])


OWNER_OF_KEY = "SELECT name, scopes FROM api_keys WHERE key_hash = $1 AND disabled_at IS NULL"


async def owner_of_key(connection: Connection, key_hash: bytes) -> Caller | None:
    """Return the program that has an API key; `None` if there is no such key."""
    row = await connection.fetchrow(OWNER_OF_KEY, key_hash)
    if row is None:
        return None
    return Caller(row["name"], None, EVERYONE | frozenset(map(Capability, row["scopes"])))


# The row is inserted first, so that it can be locked.
INSERT_ATTEMPTS = """
INSERT INTO sign_in_attempts (subject, failures, next_try_at, last_failure_at)
VALUES ($1, 0, $2, $2) ON CONFLICT (subject) DO NOTHING
"""
LOCK_ATTEMPTS = """
SELECT failures, next_try_at, last_failure_at AS forgotten_until FROM sign_in_attempts
WHERE subject = $1 FOR UPDATE
"""


async def lock_attempts(tx: Connection, subject: str, at: datetime) -> Attempts:
    """Return the failed attempts of an account or an address, locked until the transaction ends."""
    row = None
    while row is None:  # a concurrent sign-in may delete it in between
        await tx.execute(INSERT_ATTEMPTS, subject, at)
        row = await tx.fetchrow(LOCK_ATTEMPTS, subject)
    return Attempts(**row)


UPDATE_ATTEMPTS = """
UPDATE sign_in_attempts SET failures = $2, next_try_at = $3, last_failure_at = $4
WHERE subject = $1
"""


async def update_attempts(tx: Connection, subject: str, attempts: Attempts) -> None:
    """Store the failed attempts of an account or an address, which are locked."""
    await tx.execute(
        UPDATE_ATTEMPTS,
        subject,
        attempts.failures,
        attempts.next_try_at,
        attempts.forgotten_until,
    )


CLEAR_ATTEMPTS = "DELETE FROM sign_in_attempts WHERE subject = $1"
# The failure was counted before the password was verified. So was its delay, unless a later failure
# has another one.
WITHDRAW_FAILURE = """
UPDATE sign_in_attempts
SET failures = greatest(failures - 1, 0),
    next_try_at = CASE next_try_at WHEN $2 THEN $3 ELSE next_try_at END
WHERE subject = $1
"""


async def record_success(
    tx: Connection, account: str, address: str, counted: Attempts, at: datetime
) -> None:
    """Forget the failures of an account, and the one that was `counted` for an address.

    The others of the address stay: else an attacker could forget them with an account of his own.
    """
    await tx.execute(CLEAR_ATTEMPTS, account)
    await tx.execute(WITHDRAW_FAILURE, address, counted.next_try_at, at)


DELETE_EXPIRED_SESSIONS = """
DELETE FROM sessions WHERE token_hash = ANY (ARRAY(
    SELECT token_hash FROM sessions WHERE expires_at < $1
    ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED
))
"""
DELETE_OLD_ATTEMPTS = """
DELETE FROM sign_in_attempts WHERE subject = ANY (ARRAY(
    SELECT subject FROM sign_in_attempts WHERE last_failure_at < $1 AND next_try_at < $1
    ORDER BY last_failure_at LIMIT $2 FOR UPDATE SKIP LOCKED
))
"""


async def delete_expired(
    connection: Connection, *, expired_by: datetime, attempts_before: datetime, limit: int
) -> None:
    """Delete up to `limit` expired sessions, and as many failures that are to be forgotten."""
    await connection.execute(DELETE_EXPIRED_SESSIONS, expired_by, limit)
    await connection.execute(DELETE_OLD_ATTEMPTS, attempts_before, limit)
