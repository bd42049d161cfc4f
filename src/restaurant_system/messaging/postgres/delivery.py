"""A message out of the queue table, and what becomes of it."""

import contextlib
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from datetime import timedelta

import asyncpg

from restaurant_system.batching import Batcher
from restaurant_system.database.connection import Connection, Database
from restaurant_system.errors import BrokerUnavailable, QueueTableUnavailable
from restaurant_system.messaging.broker import Delivery
from restaurant_system.messaging.postgres.line import translate_errors
from restaurant_system.messaging.postgres.queues import enqueue, message_of, publish, wake
from restaurant_system.models.message import Message

TOGETHER = 512  # messages that are settled by one statement at the most

SETTLE = """
DELETE FROM broker_messages WHERE id = ANY($1::bigint[]) AND consumer = $2 RETURNING id
"""
REQUEUE = """
UPDATE broker_messages SET consumer = NULL, redelivered = true
WHERE id = ANY($1::bigint[]) AND consumer = $2
RETURNING id, queue
"""


class Hand:
    """The rows that carry a consumer's number, each in hand for as long as it does.

    What is acknowledged, or requeued, at the same time shares a transaction. After each call
    `settled` is told, and before it `break_line` where the message may not be settled.
    """

    def __init__(
        self, database: Database, *, settled: Callable[[], None], break_line: Callable[[], None]
    ) -> None:
        self.number = 0
        self._database = database
        self._settled = settled
        self._break_line = break_line
        self._acks = Batcher(self._ack_together, max_batch_size=TOGETHER)
        self._requeues = Batcher(self._requeue_together, max_batch_size=TOGETHER)

    async def ack(self, message: int) -> None:
        """Delete a row; raises `BrokerUnavailable` when it is not in hand any more."""
        with self._letting_go():
            _still_in_hand(await self._acks.submit(message))

    async def requeue(self, message: int) -> None:
        """Put a row back to its place; raises likewise."""
        with self._letting_go():
            _still_in_hand(await self._requeues.submit(message))

    @contextlib.asynccontextmanager
    async def replacing(self, message: int) -> AsyncIterator[Connection]:
        """Delete a row in one transaction with what is written inside; raises likewise."""
        with self._letting_go(), translate_errors():
            async with self._database.transaction() as tx:
                _still_in_hand(await tx.fetch(SETTLE, [message], self.number))
                yield tx

    async def _ack_together(self, messages: Sequence[int]) -> list[bool]:
        with translate_errors():
            async with self._database.connection() as connection:
                rows = await connection.fetch(SETTLE, messages, self.number)
        return _those_of(messages, rows)

    async def _requeue_together(self, messages: Sequence[int]) -> list[bool]:
        with translate_errors():
            async with self._database.transaction() as tx:
                rows = await tx.fetch(REQUEUE, messages, self.number)
                await wake(tx, {row["queue"] for row in rows})
        return _those_of(messages, rows)

    @contextlib.contextmanager
    def _letting_go(self) -> Iterator[None]:
        try:
            yield
        except BrokerUnavailable:
            self._break_line()
            raise
        finally:
            self._settled()


def _those_of(messages: Sequence[int], rows: Sequence[asyncpg.Record]) -> list[bool]:
    """Tell of each message whether it is among the rows."""
    found = {row["id"] for row in rows}
    return [message in found for message in messages]


def _still_in_hand(found: object) -> None:
    if not found:
        raise QueueTableUnavailable("The message was requeued: the connection broke")


class PostgresDelivery(Delivery):
    """A row in hand."""

    def __init__(self, hand: Hand, row: asyncpg.Record) -> None:
        super().__init__(message_of(row), queue=row["queue"], redelivered=row["redelivered"])
        self.id: int = row["id"]
        self._hand = hand

    @property
    def holder(self) -> int:
        """The number of the consumer in whose hand it is."""
        return self._hand.number

    async def ack(self) -> None:
        await self._hand.ack(self.id)

    async def requeue(self) -> None:
        await self._hand.requeue(self.id)

    async def replace(self, successor: Message, delay: timedelta | None = None) -> None:
        async with self._hand.replacing(self.id) as tx:
            if delay is None:
                await publish(tx, [successor])
            else:
                await enqueue(tx, [(self.queue, successor)], delay)
