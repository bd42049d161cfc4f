"""The outbox: messages owed to the broker, written in the transaction that causes them.

Ids are not committed in order, so nobody reads "everything after the last id": such a cursor skips
rows. A row is claimed with a lock, published, and deleted once the broker has confirmed it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import asyncpg

from restaurant_system.database.connection import Connection
from restaurant_system.database.messages import message_of
from restaurant_system.models.message import Message


@dataclass(frozen=True, slots=True)
class Owed:
    """A message that this transaction has claimed; nobody else publishes it meanwhile."""

    id: int
    message: Message


@dataclass(frozen=True, slots=True)
class Backlog:
    """How much is owed, and for how long."""

    size: int
    oldest_seconds: float


INSERT = """
INSERT INTO outbox (stream, exchange, routing_key, type, body, message_id, correlation_id, app_id,
                    timestamp, priority)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
RETURNING id
"""


async def add(tx: Connection, message: Message, *, about: str) -> int:
    """Owe the broker a message about an order; return the row's id for the relay.

    Messages about one order to one exchange leave in the order in which they were added.
    """
    outbox_id: int = await tx.fetchval(
        INSERT,
        f"{message.exchange}/{about}",
        message.exchange,
        message.routing_key,
        message.type,
        message.body,
        message.message_id,
        message.correlation_id,
        message.app_id,
        message.timestamp,
        message.priority,
    )
    return outbox_id


# A row is not taken while an earlier one of its stream is still owed: it is under way, or was left
# behind, or was refused. So a claim never holds two of one stream.
CLAIM = """
SELECT * FROM outbox
WHERE {which} AND NOT EXISTS (
    SELECT FROM outbox earlier
    WHERE earlier.stream = outbox.stream AND earlier.id < outbox.id
)
ORDER BY id LIMIT $2 FOR UPDATE SKIP LOCKED
"""
CLAIM_THESE = CLAIM.format(which="id = ANY($1::bigint[])")
CLAIM_LEFT_BEHIND = CLAIM.format(
    which="""
    created_at < clock_timestamp() - $1::interval AND not_before <= clock_timestamp()
"""
)


async def claim(tx: Connection, ids: Sequence[int]) -> list[Owed]:
    """Claim those of `ids` that are free and whose turn it is, in order."""
    return [_owed(row) for row in await tx.fetch(CLAIM_THESE, list(ids), len(ids))]


async def claim_left_behind(tx: Connection, older_than: timedelta, limit: int) -> list[Owed]:
    """Claim up to `limit` rows that have waited longer than a healthy relay would let them."""
    return [_owed(row) for row in await tx.fetch(CLAIM_LEFT_BEHIND, older_than, limit)]


async def delete(tx: Connection, ids: Sequence[int]) -> None:
    """Strike off what the broker has confirmed."""
    await tx.execute("DELETE FROM outbox WHERE id = ANY($1::bigint[])", list(ids))


POSTPONE = """
UPDATE outbox SET not_before = clock_timestamp() + $2::interval WHERE id = ANY($1::bigint[])
"""


async def postpone(tx: Connection, ids: Sequence[int], pause: timedelta) -> None:
    """Leave alone for a while what the broker refused, so that it holds up nothing behind it."""
    await tx.execute(POSTPONE, list(ids), pause)


# Two questions, for each is answered by the primary key alone, however long the outage.
BACKLOG = """
SELECT (SELECT count(*) FROM outbox) AS size,
       coalesce(extract(epoch FROM clock_timestamp() - (
           SELECT created_at FROM outbox ORDER BY id LIMIT 1
       )), 0)::float AS oldest_seconds
"""


async def backlog(connection: Connection) -> Backlog:
    """Return how much is owed."""
    row = await connection.fetchrow(BACKLOG)
    assert row is not None  # noqa: S101 - there are no conditions that could leave none
    return Backlog(row["size"], row["oldest_seconds"])


def _owed(row: asyncpg.Record) -> Owed:
    return Owed(row["id"], message_of(row))
