"""Everything that is in a queue, delivered to one reader."""

import contextlib
from collections.abc import Callable, Iterator

import aiormq
from aiormq.abc import AbstractChannel, DeliveredMessage

from restaurant_system.errors import DeadLettersLocked
from restaurant_system.messaging.rabbitmq.connection import RabbitMQConnection
from restaurant_system.messaging.rabbitmq.delivery import RabbitMQDelivery

BROWSE_TIMEOUT = 120.0  # s for all that is in a queue to arrive

MakeDelivery = Callable[[DeliveredMessage], RabbitMQDelivery]


async def take_all(
    line: RabbitMQConnection, channel: AbstractChannel, queue: str, make_delivery: MakeDelivery
) -> list[RabbitMQDelivery]:
    """Take what is in a queue now; it goes back when the channel closes.

    Until then the channel is the queue's only consumer: a second one gets `DeadLettersLocked`. What
    arrives later is delivered too, is left alone, and goes back with the rest.
    """
    arrived: list[DeliveredMessage] = []

    async def on_message(delivered: DeliveredMessage) -> None:
        arrived.append(delivered)

    async with line.answering(channel, BROWSE_TIMEOUT):
        with _exclusive_use_as_in_hand():
            await channel.basic_consume(queue, on_message, exclusive=True)
        while (await channel.queue_declare(queue, passive=True)).message_count:
            pass
        # RabbitMQ may report an empty queue before its last deliveries have arrived; the response
        # to a later request comes after them.
        await channel.queue_declare(queue, passive=True)
    return [make_delivery(each) for each in arrived]


@contextlib.contextmanager
def _exclusive_use_as_in_hand() -> Iterator[None]:
    """Raise `DeadLettersLocked` where a queue has an exclusive consumer already."""
    try:
        yield
    except aiormq.ChannelAccessRefused as error:
        if "exclusive use" not in str(error):  # we are not allowed to read it
            raise
        raise DeadLettersLocked from error
