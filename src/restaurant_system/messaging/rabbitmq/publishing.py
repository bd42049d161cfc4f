"""Publish messages to RabbitMQ, each with a publisher confirm."""

import asyncio
import struct
from collections.abc import Iterator, Sequence
from uuid import UUID

import aiormq

from restaurant_system.messaging import topology
from restaurant_system.messaging.broker import Refused, unroutable
from restaurant_system.messaging.rabbitmq.message_format import properties_of
from restaurant_system.messaging.rabbitmq.partitions import UNPARTITIONED, Partitions
from restaurant_system.models.message import Message

INVALID = (TypeError, ValueError, struct.error)  # raised for what AMQP cannot express


class Publisher:
    """Publishes on one channel, for any number of concurrent callers.

    Publications with the same message id are sent one after the other, because aiormq finds the
    publication of a returned message by its message id.
    """

    def __init__(self, channel: aiormq.Channel, partitions: Partitions = UNPARTITIONED) -> None:
        self.channel = channel
        self._partitions = partitions
        self._in_flight: dict[UUID, asyncio.Future[None]] = {}
        self._callers = 0

    @property
    def is_idle(self) -> bool:
        """Return whether no publication is in progress."""
        return self._callers == 0

    async def publish(self, messages: Sequence[Message]) -> list[Refused]:
        """Publish messages in this order, wait for all confirms, and return the refused messages.

        Raises an error that `translate_errors` handles if the channel closes before.
        """
        self._callers += 1
        try:
            return [
                refusal
                for batch in _with_distinct_ids(messages)
                for refusal in await self._publish_after_copies(batch)
            ]
        finally:
            self._callers -= 1

    async def _publish_after_copies(self, batch: Sequence[Message]) -> list[Refused]:
        """Publish messages once no other caller publishes one with the same id."""
        while others := [
            self._in_flight[each.message_id] for each in batch if each.message_id in self._in_flight
        ]:
            await asyncio.wait(others)
        return await self._publish_distinct(batch)

    async def _publish_distinct(self, messages: Sequence[Message]) -> list[Refused]:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._in_flight.update((each.message_id, done) for each in messages)
        try:
            return await self._publish_concurrently(messages)
        finally:
            for each in messages:
                del self._in_flight[each.message_id]
            done.set_result(None)

    async def _publish_concurrently(self, messages: Sequence[Message]) -> list[Refused]:
        results = await asyncio.gather(*map(self._publish_one, messages), return_exceptions=True)
        refused = []
        for result in results:
            if isinstance(result, BaseException):
                raise result
            if result is not None:
                refused.append(result)
        return refused

    async def _publish_one(self, message: Message) -> Refused | None:
        try:
            await self.channel.basic_publish(
                message.body,
                exchange=message.exchange,
                routing_key=self._partitions.routing_key(message),
                properties=properties_of(message),
                mandatory=topology.exchange(message.exchange).mandatory,
                wait=False,
            )
        except aiormq.PublishError:
            return Refused(message, unroutable(message))
        except aiormq.DeliveryError:
            return Refused(message, "RabbitMQ rejected it: a queue is full or has no leader")
        except INVALID as error:  # or the exchange is unknown
            return Refused(message, str(error))
        return None


def _with_distinct_ids(messages: Sequence[Message]) -> Iterator[Sequence[Message]]:
    """Split messages into batches, in order, in none of which a message id occurs twice."""
    batch: dict[UUID, Message] = {}
    for message in messages:
        if message.message_id in batch:
            yield list(batch.values())
            batch = {}
        batch[message.message_id] = message
    if batch:
        yield list(batch.values())
