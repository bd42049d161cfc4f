"""Messages that are owed to the broker: written beside what they announce, deleted when confirmed.

A row belongs to a stream: messages about one order to one exchange, which leave in the order of
their ids. Whoever adds one to a stream holds that order's row locked, so that the ids of a stream
are committed in order; those of the whole table are not.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import asyncpg

from restaurant_system.database.connection import Connection
from restaurant_system.database.message_columns import columns, message_of
from restaurant_system.models.message import Message


@dataclass(frozen=True, slots=True)
class OutboxMessage:
    """A message to publish; the row `previous_id`, if any, must be published before it."""

    id: int
    stream: str
    message: Message
    previous_id: int | None = None


@dataclass(frozen=True, slots=True)
class Backlog:
    """How much is owed, and for how long."""

    size: int
    oldest_seconds: float


def stream_name(message: Message, about: str) -> str:
    """Name the stream of a message about an order."""
    return f"{message.exchange}/{about}"


# Not a subquery, which looks as of the statement's beginning: whoever held the order since may have
# owed something about it while the statement waited.
PREVIOUS_ID = "owed_before(outbox.stream, outbox.id)"

INSERT = f"""
INSERT INTO outbox (stream, exchange, routing_key, type, body, message_id, correlation_id, app_id,
                    timestamp, priority)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bytea[], $6::uuid[],
                     $7::text[], $8::text[], $9::timestamptz[], $10::smallint[])
RETURNING id, {PREVIOUS_ID} AS previous_id
"""


async def add(tx: Connection, messages: Sequence[tuple[str, Message]]) -> list[OutboxMessage]:
    """Owe the broker messages, each about the order whose number stands before it.

    Messages about one order to one exchange leave in the order in which they were added.
    """
    streams = [stream_name(message, number) for number, message in messages]
    rows = await tx.fetch(INSERT, streams, *columns([message for _, message in messages]))
    last: dict[str, int] = {}
    owed = []
    for row, name, (_, message) in zip(rows, streams, messages, strict=True):
        owed.append(OutboxMessage(row["id"], name, message, last.get(name, row["previous_id"])))
        last[name] = row["id"]
    return owed


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
CLAIM_OVERDUE = CLAIM.format(
    which="""
    created_at < clock_timestamp() - $1::interval AND not_before <= clock_timestamp()
"""
)


async def claim(tx: Connection, ids: Sequence[int]) -> list[OutboxMessage]:
    """Claim, for this transaction, those of `ids` that are free and whose turn it is, in order."""
    return [_outbox_message(row) for row in await tx.fetch(CLAIM_THESE, list(ids), len(ids))]


async def claim_overdue(tx: Connection, older_than: timedelta, limit: int) -> list[OutboxMessage]:
    """Claim up to `limit` rows that have waited longer than a healthy relay would let them."""
    return [_outbox_message(row) for row in await tx.fetch(CLAIM_OVERDUE, older_than, limit)]


SELECT_UNPUBLISHED = "SELECT id FROM outbox WHERE id = ANY($1::bigint[])"


async def select_unpublished(connection: Connection, ids: Sequence[int]) -> set[int]:
    """Return those of `ids` that are still owed."""
    return {row["id"] for row in await connection.fetch(SELECT_UNPUBLISHED, list(ids))}


DELETE = "DELETE FROM outbox WHERE id = ANY($1::bigint[])"


async def delete(connection: Connection, ids: Sequence[int]) -> None:
    """Strike off what the broker has confirmed."""
    await connection.execute(DELETE, list(ids))


POSTPONE = """
UPDATE outbox SET not_before = clock_timestamp() + $2::interval WHERE id = ANY($1::bigint[])
"""


async def postpone(connection: Connection, ids: Sequence[int], pause: timedelta) -> None:
    """Leave alone for a while what the broker refused, so that it holds up nothing behind it."""
    await connection.execute(POSTPONE, list(ids), pause)


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


def _outbox_message(row: asyncpg.Record) -> OutboxMessage:
    return OutboxMessage(row["id"], row["stream"], message_of(row))
