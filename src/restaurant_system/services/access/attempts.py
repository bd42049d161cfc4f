"""Count attempts to sign in, before the password or the PIN is verified."""

import hashlib
import math
from collections.abc import Sequence
from datetime import datetime

from restaurant_system.database import sessions
from restaurant_system.database.connection import Database
from restaurant_system.errors import TooManyAttempts
from restaurant_system.models.access import folded_name
from restaurant_system.models.lock_out import Attempts, LockOut
from restaurant_system.web.file_descriptors import ThrottledLog


async def count_attempt(
    database: Database,
    limits: Sequence[tuple[str, LockOut]],
    now: datetime,
    locked_out: ThrottledLog,
    *,
    secrets: str = "passwords",
) -> Attempts:
    """Count a failure of each subject by its rule; return the failures of the last one.

    Raises `TooManyAttempts` during a lock-out, without counting, and logs it. All callers pass
    accounts before addresses, so that two transactions cannot deadlock.
    """
    async with database.transaction() as tx:
        for subject, rule in limits:
            attempts = await sessions.lock_attempts(tx, subject, now)
            if attempts.next_try_at > now:
                locked_out.warn()
                raise TooManyAttempts(_seconds_until(attempts.next_try_at, now), secrets)
            attempts = rule.with_failure(attempts, now)
            await sessions.update_attempts(tx, subject, attempts)
    return attempts


def account_subject(name: str) -> str:
    """Return the text under which the failures of an account are counted.

    It has a hash in place of the name, which may be a password that was typed into the wrong field.
    """
    return f"account/{hashlib.sha256(folded_name(name).encode()).hexdigest()}"


def client_subject(client: str | None) -> str:
    """Return the name under which the failures of a client are counted; `None`: this machine."""
    return f"address/{client or 'local'}"


def device_subject(device_id: int) -> str:
    """Return the name under which the wrong PINs on a device are counted."""
    return f"device/{device_id}"


def _seconds_until(moment: datetime, now: datetime) -> int:
    return math.ceil((moment - now).total_seconds())
