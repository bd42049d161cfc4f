"""Write and read the record of what people have done."""

import json
from collections.abc import Sequence
from datetime import timedelta

import asyncpg

from restaurant_system.database.connection import Connection
from restaurant_system.models.audit import Act

Row = asyncpg.Record

WRITE = """
INSERT INTO audit_log (at, who, role, client, action, target, request_id, details)
SELECT * FROM unnest($1::timestamptz[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[],
                     $7::text[], $8::jsonb[])
"""


async def write(tx: Connection, acts: Sequence[Act]) -> None:
    """Record acts in the transaction that they are part of."""
    await tx.execute(
        WRITE,
        [act.at for act in acts],
        [act.actor.who for act in acts],
        [act.actor.role for act in acts],
        [act.actor.client for act in acts],
        [act.action for act in acts],
        [act.target for act in acts],
        [act.request_id for act in acts],
        [json.dumps(dict(act.details), ensure_ascii=False) for act in acts],
    )


READ = """
SELECT id, at, who, role, client, action, target, request_id, details FROM audit_log
WHERE id < $1 ORDER BY id DESC LIMIT $2
"""
LATEST = 2**63 - 1


async def read(connection: Connection, *, before: int | None, limit: int) -> list[Row]:
    """Return up to `limit` entries, the latest first, before the entry with an id."""
    return await connection.fetch(READ, LATEST if before is None else before, limit)


# The time of the database, as in the trigger that refuses to delete younger entries. Entries are
# written nearly in the order of their ids.
DELETE_OLD = """
DELETE FROM audit_log WHERE id = ANY (ARRAY(
    SELECT id FROM audit_log
    WHERE id = ANY (ARRAY(SELECT id FROM audit_log ORDER BY id LIMIT $2))
      AND at < now() - $1::interval
    FOR UPDATE SKIP LOCKED
))
RETURNING id
"""


async def delete_old(connection: Connection, kept_for: timedelta, limit: int) -> int:
    """Delete the entries that are older than `kept_for` among the oldest `limit`; return how many.

    `kept_for` must be at least 30 days.
    """
    return len(await connection.fetch(DELETE_OLD, kept_for, limit))
