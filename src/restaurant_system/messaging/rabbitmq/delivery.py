"""A message delivered by RabbitMQ and not yet settled."""

from collections.abc import Awaitable, Callable
from datetime import timedelta

from aiormq.abc import DeliveredMessage

from restaurant_system.config import DeliverySettings
from restaurant_system.errors import BrokerUnavailable
from restaurant_system.messaging.broker import Delivery
from restaurant_system.messaging.dead_letter_limit import DeadLetterLimit
from restaurant_system.messaging.rabbitmq.message_format import delayed, message_of, tag_of
from restaurant_system.messaging.rabbitmq.settlements import Settlements
from restaurant_system.models.message import Message

Publish = Callable[[Message], Awaitable[None]]


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
        settings: DeliverySettings,
        limit: DeadLetterLimit,
    ) -> None:
        super().__init__(
            message_of(delivered),
            queue=queue,
            redelivered=bool(delivered.redelivered),
            settings=settings,
            limit=limit,
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

    async def _publish_and_ack(self, successor: Message, delay: timedelta | None) -> None:
        if delay is not None:
            successor = delayed(successor, delay, back_to=self.queue)
        try:
            await self._publish(successor)
        except BrokerUnavailable:
            await self.requeue()
            raise
        await self.ack()
