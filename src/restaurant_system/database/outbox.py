"""The outbox: messages stored in the transaction that causes them, deleted once published.

A row belongs to a stream: the messages about one order to one exchange, which are published in the
order of their ids. A transaction that adds a row to a stream holds the row lock of that order, so
that the ids of a stream are committed in order; the ids of the whole table are not.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import asyncpg

from restaurant_system.database.connection import Connection
from restaurant_system.database.connection_factory import AnyConnection
from restaurant_system.database.message_columns import (
    COLUMNS,
    message_from_row,
    parameters,
    values,
)
from restaurant_system.database.order_months import MAX_ID
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
    """The number of messages in the outbox, and the age of the oldest."""

    size: int
    oldest_seconds: float


def stream_name(message: Message, order_number: str) -> str:
    """Return the name of the stream that a message about an order belongs to."""
    return f"{message.exchange}/{order_number}"


# A function instead of a subquery, because a subquery sees the table as of the statement's start:
# a row that another transaction added while this one waited for the order's lock would be missed.
PREVIOUS_ID = "previous_outbox_id(outbox.stream, outbox.id)"

INSERT = f"""
INSERT INTO outbox (stream, {COLUMNS}) SELECT * FROM unnest($1::text[], {parameters(2)})
RETURNING id, {PREVIOUS_ID} AS previous_id
"""


async def add(tx: Connection, messages: Sequence[tuple[str, Message]]) -> list[OutboxMessage]:
    """Add messages, each with the number of the order that it is about.

    Messages about one order to one exchange are published in the order in which they were added.
    """
    streams = [stream_name(message, number) for number, message in messages]
    rows = await tx.fetch(INSERT, streams, *values([message for _, message in messages]))
    last: dict[str, int] = {}
    added = []
    for row, stream, (_, message) in zip(rows, streams, messages, strict=True):
        previous_id = last.get(stream, row["previous_id"])
        added.append(OutboxMessage(row["id"], stream, message, previous_id))
        last[stream] = row["id"]
    return added


def first_in_stream(stream: str) -> str:
    """Return an expression for the id of a stream's first row; it is null if there is none.

    With the planner settings of our connections it is one look-up, even in a plan from when the
    outbox was empty, which lasts while an outage fills it: only one index has the rows in the order
    in which they are compared.
    """
    return f"""(
    SELECT first.id FROM outbox AS first
    WHERE (first.stream, first.id) BETWEEN ({stream}, 0) AND ({stream}, {MAX_ID})
    ORDER BY first.stream, first.id LIMIT 1
)"""


def _claim(which: str) -> str:
    """Return the statement that claims rows.

    A row is not claimed while the outbox has an earlier one of its stream: that one is being
    published, was left behind by a crash, or was refused. So a claim has at most one row per
    stream.
    """
    return f"""
SELECT * FROM outbox WHERE {which} AND id = {first_in_stream("outbox.stream")}
ORDER BY id LIMIT $2 FOR UPDATE SKIP LOCKED
"""


CLAIM_THESE = _claim("id = ANY($1::bigint[])")
CLAIM_OVERDUE = _claim(
    "created_at < clock_timestamp() - $1::interval AND not_before <= clock_timestamp()"
)


async def claim(tx: Connection, ids: Sequence[int]) -> list[OutboxMessage]:
    """Lock those outbox rows of `ids` that are first in their stream and not locked already.

    They are returned in the order of their ids, and stay locked until the transaction ends.
    """
    return [outbox_message(row) for row in await tx.fetch(CLAIM_THESE, list(ids), len(ids))]


async def claim_overdue(tx: Connection, older_than: timedelta, limit: int) -> list[OutboxMessage]:
    """Lock up to `limit` outbox rows that are older than a running relay leaves them."""
    return [outbox_message(row) for row in await tx.fetch(CLAIM_OVERDUE, older_than, limit)]


SELECT_UNPUBLISHED = "SELECT id FROM outbox WHERE id = ANY($1::bigint[])"


async def select_unpublished(connection: Connection, ids: Sequence[int]) -> set[int]:
    """Return those messages with these ids that are still in the outbox."""
    return {row["id"] for row in await connection.fetch(SELECT_UNPUBLISHED, list(ids))}


DELETE = "DELETE FROM outbox WHERE id = ANY($1::bigint[])"


async def delete(connection: Connection, ids: Sequence[int]) -> None:
    """Delete messages that the broker has confirmed."""
    await connection.execute(DELETE, list(ids))


POSTPONE = """
UPDATE outbox SET not_before = clock_timestamp() + $2::interval WHERE id = ANY($1::bigint[])
"""


async def postpone(connection: Connection, ids: Sequence[int], delay: timedelta) -> None:
    """Exclude messages that the broker refused from `claim_overdue` for `delay`."""
    await connection.execute(POSTPONE, list(ids), delay)


# Two subqueries, because the primary key alone answers each, however long an outage has lasted.
BACKLOG = """
SELECT (SELECT count(*) FROM outbox) AS size,
       coalesce(extract(epoch FROM clock_timestamp() - (
           SELECT created_at FROM outbox ORDER BY id LIMIT 1
       )), 0)::float AS oldest_seconds
"""


async def backlog(connection: AnyConnection) -> Backlog:
    """Count the messages in the outbox."""
    row = await connection.fetchrow(BACKLOG)
    assert row is not None  # noqa: S101 - a SELECT without a condition returns a row
    return Backlog(row["size"], row["oldest_seconds"])


def outbox_message(row: asyncpg.Record) -> OutboxMessage:
    """Return the message in a row of the outbox, without the row before it."""
    return OutboxMessage(row["id"], row["stream"], message_from_row(row))
