"""Implement `Broker` on a queue table in PostgreSQL."""

import contextlib
import uuid
from collections.abc import AsyncIterator, Sequence

from restaurant_system.database.connection import Database
from restaurant_system.messaging import topology
from restaurant_system.messaging.broker import Broker, Consumer, Delivery, Refused
from restaurant_system.messaging.postgres.consumer import (
    PostgresBrowser,
    PostgresConsumer,
    PostgresSubscription,
)
from restaurant_system.messaging.postgres.delivery import ack_all
from restaurant_system.messaging.postgres.queues import publish, translate_errors
from restaurant_system.models.message import Message

SUBSCRIBER_PREFETCH = 100
UNLIMITED = 2**31 - 1  # more messages than one queue ever holds

BIND = """
INSERT INTO broker_subscriptions (queue, exchange, owner) VALUES ($1, $2, $3)
ON CONFLICT (queue) DO NOTHING
"""

DEPTHS = """
SELECT queue, (
    SELECT count(*) FROM broker_messages AS message
    WHERE message.queue = known.queue AND consumer IS NULL AND available_at <= now()
) AS messages
FROM unnest($1::text[]) AS known (queue)
"""

DELAYED = "SELECT count(*) FROM broker_messages WHERE available_at > now()"


class PostgresBroker(Broker):
    """The broker whose queues are tables in PostgreSQL; `Broker` documents its methods."""

    name = "postgres"

    def __init__(self, database: Database) -> None:
        self._database = database

    async def connect(self) -> None:
        await self.ping()

    async def close(self) -> None:
        """Do nothing: the caller that opened the database closes it."""

    async def ping(self) -> float:
        with translate_errors():
            return await self._database.ping()

    async def publish(self, messages: Sequence[Message]) -> list[Refused]:
        with translate_errors():
            async with self._database.transaction() as tx:
                return await publish(tx, messages)

    @contextlib.asynccontextmanager
    async def consume(self, queues: Sequence[str], *, prefetch: int) -> AsyncIterator[Consumer]:
        consumer = PostgresConsumer(self._database, queues, prefetch)
        async with consumer.running():
            yield consumer

    @contextlib.asynccontextmanager
    async def subscribe(self, name: str | None = None) -> AsyncIterator[Consumer]:
        queue = topology.subscriber_queue(name or uuid.uuid4().hex)
        consumer = PostgresSubscription(self._database, [queue], SUBSCRIBER_PREFETCH)
        async with consumer.running():
            await self._bind(queue, owner=None if name else consumer.number)
            yield consumer

    @contextlib.asynccontextmanager
    async def browse(
        self, queue: str, *, limit: int | None = None
    ) -> AsyncIterator[Sequence[Delivery]]:
        browser = PostgresBrowser(self._database, [queue], UNLIMITED if limit is None else limit)
        async with browser.running():
            yield await browser.claim_all()

    async def ack_all(self, deliveries: Sequence[Delivery]) -> None:
        await ack_all(self._database, deliveries)

    async def depths(self) -> dict[str, int]:
        with translate_errors():
            async with self._database.connection() as connection:
                rows = await connection.fetch(DEPTHS, [queue.name for queue in topology.QUEUES])
        return {row["queue"]: row["messages"] for row in rows}

    async def delayed(self) -> int:
        with translate_errors():
            async with self._database.connection() as connection:
                count: int = await connection.fetchval(DELAYED)
        return count

    async def is_blank(self) -> bool:
        """Return `False`: messages and outbox are on one disk and can only be lost together."""
        return False

    async def mark(self) -> None:
        """Do nothing: `is_blank` needs no marker with this broker."""

    async def _bind(self, queue: str, owner: int | None) -> None:
        with translate_errors():
            async with self._database.connection() as connection:
                await connection.execute(BIND, queue, topology.NOTIFICATIONS_FANOUT.name, owner)
