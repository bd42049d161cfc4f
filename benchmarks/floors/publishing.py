"""P: messages per second that RabbitMQ confirms, with 512 unconfirmed on one channel.

aiormq's own `basic_publish`, persistent, of an order message's real size, to a durable queue with
priorities, as orders have it. `publishing.py AMQP SECONDS` prints it.
"""

import asyncio
import sys
import time
from datetime import UTC, datetime
from uuid import uuid4

import aiormq
import uvloop
from aiormq.abc import AbstractChannel, ArgumentsType

from benchmarks.floors.pace import WARM_UP, print_result
from benchmarks.floors.placing import new_command
from restaurant_system.messaging import topology
from restaurant_system.messaging.order_messages import Sender, order_received
from restaurant_system.models.message import Message, OrderReceived

OUTSTANDING = 512
PERSISTENT = 2
QUEUE = "floor_publishing"


def order_message() -> Message:
    """Return the message about an order of the load generator."""
    body = OrderReceived.from_order(new_command().order, "ORD_20241216_1000")
    return order_received(body, at=datetime.now(UTC), sender=Sender("order-service", str(uuid4())))


def properties_of(message: Message) -> aiormq.spec.Basic.Properties:
    """Return the AMQP properties of a message."""
    return aiormq.spec.Basic.Properties(
        content_type=message.content_type,
        delivery_mode=PERSISTENT,
        message_id=str(message.message_id),
        correlation_id=message.correlation_id,
        timestamp=message.timestamp,
        message_type=message.type,
        app_id=message.app_id,
        priority=message.priority,
    )


async def declare(channel: AbstractChannel, queue: str) -> None:
    """Declare an empty queue with the arguments of the kitchen queues."""
    await channel.queue_delete(queue)
    arguments: ArgumentsType = {"x-max-priority": topology.MAX_PRIORITY}
    await channel.queue_declare(queue, durable=True, arguments=arguments)


async def publish(channel: AbstractChannel, queue: str, until: float) -> int:
    """Publish order messages until a deadline; return the number of confirmed ones."""
    message = order_message()
    properties = properties_of(message)

    async def publish_sequentially() -> int:
        confirmed = 0
        while time.perf_counter() < until:
            await channel.basic_publish(  # type: ignore[call-arg] # aiormq has it
                message.body, routing_key=queue, properties=properties, wait=False
            )
            confirmed += 1
        return confirmed

    return sum(await asyncio.gather(*(publish_sequentially() for _ in range(OUTSTANDING))))


async def publishing(amqp: str, seconds: float) -> float:
    """Publish orders for some seconds; return confirmed messages per second."""
    connection = await aiormq.connect(amqp)
    channel = await connection.channel()
    await declare(channel, QUEUE)
    await publish(channel, QUEUE, time.perf_counter() + seconds * WARM_UP)
    start = time.perf_counter()
    confirmed = await publish(channel, QUEUE, start + seconds)
    rate = confirmed / (time.perf_counter() - start)
    await channel.queue_delete(QUEUE)
    await connection.close()
    return rate


if __name__ == "__main__":
    print_result(uvloop.run(publishing(sys.argv[1], float(sys.argv[2]))))
