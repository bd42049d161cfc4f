"""Write messages to the queue table and read them."""

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta

import asyncpg

from restaurant_system.database import message_columns
from restaurant_system.database.connection import Connection, Database
from restaurant_system.database.connection_factory import AnyConnection
from restaurant_system.errors import DatabaseUnavailable, QueueTableUnavailable
from restaurant_system.messaging import topology
from restaurant_system.messaging.broker import Refused, unroutable
from restaurant_system.models.message import Message

CHANNEL = "restaurant_broker"

SUBSCRIPTIONS = """
SELECT exchange, queue FROM broker_subscriptions WHERE exchange = ANY($1) OR queue = ANY($2)
"""

INSERT = f"""
INSERT INTO broker_messages (available_at, queue, content_type, {message_columns.COLUMNS})
SELECT now() + $1::interval, placed.*
FROM unnest($2::text[], $3::text[], {message_columns.parameters(4)}) AS placed
"""

WAKE = "SELECT pg_notify($1, queue) FROM unnest($2::text[]) AS queue"


# PostgreSQL stores timestamps outside the years of Python's datetime.
TIMESTAMP = "least(greatest(timestamp, '0001-01-02'), '9999-12-30') AS timestamp"
COLUMNS = f"""
id, queue, redelivered, content_type,
{message_columns.COLUMNS.replace("timestamp", TIMESTAMP)}
"""


@contextlib.contextmanager
def translate_errors() -> Iterator[None]:
    """Raise `QueueTableUnavailable` instead of `DatabaseUnavailable`."""
    try:
        yield
    except DatabaseUnavailable as error:
        raise QueueTableUnavailable(str(error)) from error


async def publish(tx: Connection, messages: Sequence[Message]) -> list[Refused]:
    """Insert each message into the queues it is routed to; return the refused messages."""
    exchanges = {message.exchange for message in messages}
    keys = {each.routing_key for each in messages if each.exchange == topology.DEFAULT.name}
    subscriptions = await tx.fetch(SUBSCRIPTIONS, list(exchanges), list(keys))
    refused, placed = [], []
    for message in messages:
        try:
            queues = list(topology.route(message.exchange, message.routing_key))
        except ValueError as error:
            refused.append(Refused(message, str(error)))
            continue
        queues += [row["queue"] for row in subscriptions if _matches(row, message)]
        placed += [(queue, message) for queue in queues]
        if not queues and topology.exchange(message.exchange).mandatory:
            refused.append(Refused(message, unroutable(message)))
    await enqueue(tx, placed)
    return refused


def _matches(subscription: asyncpg.Record, message: Message) -> bool:
    if message.exchange == topology.DEFAULT.name:
        return bool(subscription["queue"] == message.routing_key)
    return bool(subscription["exchange"] == message.exchange)


async def enqueue(
    tx: AnyConnection, placed: Sequence[tuple[str, Message]], delay: timedelta = timedelta()
) -> None:
    """Insert each message into its queue, in this order; it becomes available after `delay`."""
    messages = [message for _, message in placed]
    await tx.execute(
        INSERT,
        delay,
        [queue for queue, _ in placed],
        [message.content_type for message in messages],
        *message_columns.values(messages),
    )
    await wake(tx, {queue for queue, _ in placed})


async def wake(tx: AnyConnection, queues: Iterable[str]) -> None:
    """Notify the consumers of these queues when the transaction commits."""
    await tx.execute(WAKE, CHANNEL, list(queues))


def message_of(row: asyncpg.Record) -> Message:
    """Return the message of a row."""
    return message_columns.message_from_row(row, content_type=row["content_type"])


# The body may be any bytes: `encode` leaves ASCII as it is. A message that a worker has
# unacknowledged is left to the worker, which acknowledges it because the order is finished.
# EXISTS would let PostgreSQL read all orders.
DELETE_ERASED = """
DELETE FROM broker_messages
WHERE consumer IS NULL AND id = ANY (ARRAY(
    SELECT waiting.id FROM (
        SELECT id, substring(
            encode(body, 'escape') FROM '"order_number"\\s*:\\s*"(ORD_[0-9_]+)"'
        ) AS number
        FROM broker_messages WHERE queue = ANY($1) AND consumer IS NULL
    ) AS waiting
    WHERE (SELECT erased_at FROM orders WHERE orders.number = waiting.number) IS NOT NULL
))
RETURNING id
"""


async def delete_erased(database: Database) -> int:
    """Delete the waiting messages about erased orders in the kitchen's queues; return how many.

    These orders are finished, so that their messages have no effect any more.
    """
    async with database.connection() as connection:
        queues = topology.kitchen_queues(tuple(topology.SPECIALISED))
        return len(await connection.fetch(DELETE_ERASED, list(queues)))
