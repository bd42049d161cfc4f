"""Store sessions, find the owners of sessions and API keys, and count wrong passwords."""

from datetime import datetime

import asyncpg

from restaurant_system.database.connection import Connection
from restaurant_system.models.access import EVERYONE, Caller, Capability, Credential, Role
from restaurant_system.models.lock_out import Attempts

ADD = """
INSERT INTO sessions (token_hash, user_id, created_at, expires_at, device_id)
VALUES ($1, $2, $3, $4, $5)
"""


async def add(
    tx: Connection,
    token_hash: bytes,
    user_id: int,
    *,
    created_at: datetime,
    expires_at: datetime,
    device_id: int | None = None,
) -> None:
    """Store a session; `device_id` is of the device on which it was opened with a PIN."""
    await tx.execute(ADD, token_hash, user_id, created_at, expires_at, device_id)


DELETE = """
DELETE FROM sessions USING users WHERE token_hash = $1 AND users.id = user_id
RETURNING users.name, users.role,
          (SELECT devices.name FROM devices WHERE devices.id = device_id) AS device
"""


async def delete(tx: Connection, token_hash: bytes) -> Caller | None:
    """End a session; return the person whose session it was, `None` if there is no such session."""
    row = await tx.fetchrow(DELETE, token_hash)
    return None if row is None else _person(row)


OWNER_OF_SESSION = """
SELECT users.name, users.role, devices.name AS device
FROM sessions JOIN users ON users.id = sessions.user_id
     LEFT JOIN devices ON devices.id = sessions.device_id
WHERE sessions.token_hash = $1 AND expires_at > $2 AND disabled_at IS NULL
"""


async def owner_of_session(
    connection: Connection, token_hash: bytes, at: datetime
) -> Caller | None:
    """Return the person whose session has a token; `None` if there is no such session."""
    row = await connection.fetchrow(OWNER_OF_SESSION, token_hash, at)
    return None if row is None else _person(row)


def _person(row: asyncpg.Record) -> Caller:
    return Caller.person(row["name"], Role(row["role"]), row["device"])


OWNER_OF_KEY = "SELECT name, scopes FROM api_keys WHERE key_hash = $1 AND disabled_at IS NULL"


async def owner_of_key(connection: Connection, key_hash: bytes) -> Caller | None:
    """Return the program that has an API key; `None` if there is no such key."""
    row = await connection.fetchrow(OWNER_OF_KEY, key_hash)
    if row is None:
        return None
    return Caller(row["name"], None, EVERYONE | frozenset(map(Capability, row["scopes"])))


IS_KEPT = """
SELECT EXISTS (SELECT FROM sessions WHERE token_hash = $1)
    OR EXISTS (SELECT FROM api_keys WHERE key_hash = $1 AND disabled_at IS NULL)
"""


async def is_kept(tx: Connection, credential: Credential) -> bool:
    """Return whether a session or an API key that was valid a moment ago has not been ended."""
    kept: bool = await tx.fetchval(IS_KEPT, credential.digest)
    return kept


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


async def clear_attempts(tx: Connection, account: str) -> None:
    """Forget the failures of an account."""
    await tx.execute(CLEAR_ATTEMPTS, account)


async def withdraw_failure(tx: Connection, subject: str, counted: Attempts, at: datetime) -> None:
    """Forget the failure that was `counted` for an address or a device.

    The others stay: else an attacker could forget them with an account of his own.
    """
    await tx.execute(WITHDRAW_FAILURE, subject, counted.next_try_at, at)


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
