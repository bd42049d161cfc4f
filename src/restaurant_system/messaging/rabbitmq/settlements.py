"""What RabbitMQ is told about the messages in hand on one channel."""

from collections.abc import Sequence

import aiormq
from aiormq.abc import AbstractChannel, ChannelFrame

from restaurant_system.batching import Batcher
from restaurant_system.messaging.rabbitmq.connection import RabbitMQConnection

TOGETHER = 512  # acknowledgements that wait together at the most


class Settlements:
    """Settles messages by their tags; raises `BrokerUnavailable` when the line is gone or silent.

    Acknowledgements of the same moment leave as one piece; aiormq writes each by itself, and waits.
    """

    def __init__(self, line: RabbitMQConnection, channel: AbstractChannel) -> None:
        assert isinstance(channel, aiormq.Channel)  # noqa: S101 - aiormq has no other kind
        self._line = line
        self._channel = channel
        self._acks = Batcher(self._ack_together, max_batch_size=TOGETHER)

    async def ack(self, tag: int) -> None:
        """Take a message off its queue."""
        await self._acks.submit(tag)

    async def requeue(self, tag: int) -> None:
        """Put a message back to its place in its queue."""
        async with self._line.answering(self._channel):
            await self._channel.basic_nack(tag, requeue=True)

    async def _ack_together(self, tags: Sequence[int]) -> Sequence[None]:
        *others, last = tags
        async with self._line.answering(self._channel):
            await self._write_acks(others)
            await self._channel.basic_ack(last)  # returns when it is on its way, behind the others
        return [None] * len(tags)

    async def _write_acks(self, tags: Sequence[int]) -> None:
        if self._channel.is_closed:
            raise aiormq.ChannelInvalidStateError("the channel closed")
        acks = [aiormq.spec.Basic.Ack(delivery_tag=tag) for tag in tags]
        await self._channel.write_queue.put(ChannelFrame.marshall(self._channel.number, acks))
