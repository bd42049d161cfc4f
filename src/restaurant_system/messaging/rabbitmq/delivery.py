"""Deliveries of RabbitMQ: unacknowledged messages, and how they are settled."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta

import aiormq
from aiormq.abc import DeliveredMessage

from restaurant_system.batching import Batcher
from restaurant_system.errors import BrokerUnavailable
from restaurant_system.messaging.broker import Delivery
from restaurant_system.messaging.rabbitmq.connection import RabbitMQConnection
from restaurant_system.messaging.rabbitmq.message_format import (
    delayed,
    message_of,
    returns_of,
    tag_of,
)
from restaurant_system.models.message import Message

Publish = Callable[[Message], Awaitable[None]]

MAX_BATCH_SIZE = 512  # acknowledgements


class Settlements:
    """Settles messages by their delivery tags; raises `BrokerUnavailable`.

    Concurrent acknowledgements share one wait for the connection to accept them.
    """

    def __init__(self, connection: RabbitMQConnection, channel: aiormq.Channel) -> None:
        self._connection = connection
        self._channel = channel
        self._acks = Batcher(self._ack_batch, max_batch_size=MAX_BATCH_SIZE)

    async def ack(self, tag: int) -> None:
        """Acknowledge a message."""
        await self._acks.submit(tag)

    async def requeue(self, tag: int) -> None:
        """Return a message to its place in its queue."""
        async with self._connection.timeout(self._channel):
            await self._channel.basic_nack(tag, requeue=True)

    async def _ack_batch(self, tags: Sequence[int]) -> Sequence[None]:
        *others, last = tags
        async with self._connection.timeout(self._channel):
            for tag in others:
                await self._channel.basic_ack(tag, wait=False)
            await self._channel.basic_ack(last)  # returns once it and those before it are sent
        return [None] * len(tags)


class RabbitMQDelivery(Delivery):
    """An unacknowledged message, on the channel that delivered it.

    `settled` is called once, after the message was settled or its channel was found closed.
    """

    def __init__(
        self,
        publish: Publish,
        settlements: Settlements,
        delivered: DeliveredMessage,
        *,
        queue: str,
        settled: Callable[[], None],
    ) -> None:
        super().__init__(
            message_of(delivered),
            queue=queue,
            redelivered=bool(delivered.redelivered),
            returns=returns_of(delivered),
        )
        self._publish = publish
        self._settlements = settlements
        self._settled = settled
        self._tag = tag_of(delivered)

    async def ack(self) -> None:
        try:
            await self._settlements.ack(self._tag)
        finally:
            self._settled()

    async def requeue(self) -> None:
        try:
            await self._settlements.requeue(self._tag)
        finally:
            self._settled()

    async def replace(self, successor: Message, delay: timedelta | None = None) -> None:
        if delay is not None:
            successor = delayed(successor, delay, back_to=self.queue)
        try:
            await self._publish(successor)
        except BrokerUnavailable:
            await self.requeue()
            raise
        await self.ack()
