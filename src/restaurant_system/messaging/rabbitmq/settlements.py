"""What RabbitMQ is told about the messages in hand on one channel."""

from collections.abc import Sequence

from aiormq.abc import AbstractChannel

from restaurant_system.batching import Batcher
from restaurant_system.messaging.rabbitmq.line import RabbitMQLine

TOGETHER = 512  # acknowledgements that wait together at the most


class Settlements:
    """Settles messages by their tags; raises `BrokerUnavailable` when the line is gone or silent.

    Acknowledgements of the same moment are written one behind the other, and it is waited once for
    the last of them to be on its way.
    """

    def __init__(self, line: RabbitMQLine, channel: AbstractChannel) -> None:
        self._line = line
        self._channel = channel
        self._acks = Batcher(self._ack_together, at_most=TOGETHER)

    async def ack(self, tag: int) -> None:
        """Take a message off its queue."""
        await self._acks.do(tag)

    async def requeue(self, tag: int) -> None:
        """Put a message back to its place in its queue."""
        async with self._line.answering():
            await self._channel.basic_nack(tag, requeue=True)

    async def _ack_together(self, tags: Sequence[int]) -> Sequence[None]:
        *earlier, last = tags
        async with self._line.answering():
            for tag in earlier:
                await self._channel.basic_ack(tag, wait=False)
            await self._channel.basic_ack(last)
        return [None] * len(tags)
