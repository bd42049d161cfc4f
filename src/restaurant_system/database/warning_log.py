"""Store which warnings have been logged, so that only one of several processes logs each."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from restaurant_system.database.connection import Connection
from restaurant_system.models.kitchen_warning import KitchenWarning, WarningKind

# Held until the end of the transaction. While one process reads and stores the warnings, others
# must not store what they have read before.
TRY_LOCK = "SELECT pg_try_advisory_xact_lock(hashtext('logged_warnings'))"

BEGIN = """
INSERT INTO logged_warnings (kind, subject) SELECT * FROM unnest($1::text[], $2::text[])
ON CONFLICT (kind, subject) DO NOTHING
RETURNING kind, subject
"""

END = """
DELETE FROM logged_warnings
WHERE (kind, subject) NOT IN (SELECT * FROM unnest($1::text[], $2::text[]))
  AND kind <> ALL ($3::text[])
RETURNING kind, subject, began_at
"""


@dataclass(frozen=True, slots=True)
class EndedWarning:
    """A warning that has ended."""

    kind: str
    subject: str
    began_at: datetime


async def try_lock(tx: Connection) -> bool:
    """Take the lock that `replace` needs; return `False` if another process has it."""
    is_locked: bool = await tx.fetchval(TRY_LOCK)
    return is_locked


async def replace(
    tx: Connection, current: Sequence[KitchenWarning], *, unknown: Sequence[WarningKind] = ()
) -> tuple[list[KitchenWarning], list[EndedWarning]]:
    """Store the current warnings; return those that have begun, and those that have ended.

    Those of `unknown` kinds stay as they are.
    """
    keys = [str(each.kind) for each in current], [each.subject for each in current]
    ended = await tx.fetch(END, *keys, list(unknown))
    begun = {tuple(row) for row in await tx.fetch(BEGIN, *keys)}
    return (
        [each for each in current if (str(each.kind), each.subject) in begun],
        [EndedWarning(*row) for row in ended],
    )
