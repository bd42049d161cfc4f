"""Settle messages of the queue table: acknowledge, requeue or replace them."""

import contextlib
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from datetime import timedelta

import asyncpg

from restaurant_system.batching import Batcher
from restaurant_system.database.connection import Connection, Database
from restaurant_system.errors import BrokerUnavailable, QueueTableUnavailable
from restaurant_system.messaging.broker import Delivery
from restaurant_system.messaging.postgres.queues import (
    enqueue,
    message_of,
    publish,
    translate_errors,
    wake,
)
from restaurant_system.models.message import Message

MAX_BATCH_SIZE = 512  # messages that are settled by one statement

DELETE = """
DELETE FROM broker_messages WHERE id = ANY($1::bigint[]) AND consumer = $2 RETURNING id
"""
REQUEUE = """
UPDATE broker_messages SET consumer = NULL, redelivered = true
WHERE id = ANY($1::bigint[]) AND consumer = $2
RETURNING id, queue
"""
DELETE_ALL = """
DELETE FROM broker_messages USING unnest($1::bigint[], $2::integer[]) AS unacked (id, consumer)
WHERE broker_messages.id = unacked.id AND broker_messages.consumer = unacked.consumer
RETURNING unacked.id
"""


class UnackedMessages:
    """Settles the unacknowledged messages of one consumer, whose rows have its `number`.

    Concurrent acknowledgements share a transaction, and so do concurrent requeues. Each call ends
    with a call of `settled`; if it fails, `break_consumer` is called before.
    """

    def __init__(
        self, database: Database, *, settled: Callable[[], None], break_consumer: Callable[[], None]
    ) -> None:
        self.number = 0
        self._database = database
        self._settled = settled
        self._break_consumer = break_consumer
        self._acks = Batcher(self._ack_batch, max_batch_size=MAX_BATCH_SIZE)
        self._requeues = Batcher(self._requeue_batch, max_batch_size=MAX_BATCH_SIZE)

    async def ack(self, message: int) -> None:
        """Delete a row; raises `BrokerUnavailable` if the message was requeued."""
        with self._settling():
            _check_still_unacked(await self._acks.submit(message))

    async def requeue(self, message: int) -> None:
        """Return a message to its place in its queue; raises as `ack` does."""
        with self._settling():
            _check_still_unacked(await self._requeues.submit(message))

    @contextlib.asynccontextmanager
    async def replacing(self, message: int) -> AsyncIterator[Connection]:
        """Delete a row in the transaction of the block; raises as `ack` does."""
        with self._settling(), translate_errors():
            async with self._database.transaction() as tx:
                _check_still_unacked(await tx.fetch(DELETE, [message], self.number))
                yield tx

    async def _ack_batch(self, messages: Sequence[int]) -> list[bool]:
        with translate_errors():
            async with self._database.connection() as connection:
                rows = await connection.fetch(DELETE, messages, self.number)
        return _are_among(messages, rows)

    async def _requeue_batch(self, messages: Sequence[int]) -> list[bool]:
        with translate_errors():
            async with self._database.transaction() as tx:
                rows = await tx.fetch(REQUEUE, messages, self.number)
                await wake(tx, {row["queue"] for row in rows})
        return _are_among(messages, rows)

    @contextlib.contextmanager
    def _settling(self) -> Iterator[None]:
        try:
            yield
        except BrokerUnavailable:
            self._break_consumer()
            raise
        finally:
            self._settled()


def _are_among(messages: Sequence[int], rows: Sequence[asyncpg.Record]) -> list[bool]:
    found = {row["id"] for row in rows}
    return [message in found for message in messages]


def _check_still_unacked(found: object) -> None:
    if not found:
        raise QueueTableUnavailable("The message was requeued: the connection broke")


class PostgresDelivery(Delivery):
    """An unacknowledged message, whose row has the number of its consumer."""

    def __init__(self, unacked: UnackedMessages, row: asyncpg.Record) -> None:
        super().__init__(message_of(row), queue=row["queue"], redelivered=row["redelivered"])
        self.id: int = row["id"]
        self._unacked = unacked

    @property
    def consumer(self) -> int:
        """The number of its consumer."""
        return self._unacked.number

    async def ack(self) -> None:
        await self._unacked.ack(self.id)

    async def requeue(self) -> None:
        await self._unacked.requeue(self.id)

    async def replace(self, successor: Message, delay: timedelta | None = None) -> None:
        async with self._unacked.replacing(self.id) as tx:
            if delay is None:
                await publish(tx, [successor])
            else:
                await enqueue(tx, [(self.queue, successor)], delay)


async def ack_all(database: Database, deliveries: Sequence[Delivery]) -> None:
    """Acknowledge all messages in one transaction; none if one of them was requeued."""
    rows = [each for each in deliveries if isinstance(each, PostgresDelivery)]
    with translate_errors():
        async with database.transaction() as tx:
            deleted = await tx.fetch(
                DELETE_ALL, [each.id for each in rows], [each.consumer for each in rows]
            )
            if len(deleted) < len(deliveries):
                raise QueueTableUnavailable("A message was requeued: the connection broke")
