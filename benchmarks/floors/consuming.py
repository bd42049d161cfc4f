"""R: messages per second that are consumed from RabbitMQ and acknowledged, with prefetch 1,000.

aiormq alone, one acknowledgement per message, from a durable queue with priorities. The bodies are
not decoded. `consuming.py AMQP SECONDS` prints it.
"""

import asyncio
import sys
import time

import aiormq
import uvloop
from aiormq.abc import DeliveredMessage

from benchmarks.floors.pace import print_result
from benchmarks.floors.publishing import declare, publish

PREFETCH = 1000
QUEUE = "floor_consuming"


async def consuming(amqp: str, seconds: float) -> float:
    """Fill a queue of RabbitMQ, then consume it; return the messages consumed per second."""
    connection = await aiormq.connect(amqp)
    channel = await connection.channel()
    await declare(channel, QUEUE)
    waiting = await publish(channel, QUEUE, time.perf_counter() + seconds)
    consumer = await connection.channel(publisher_confirms=False)
    await consumer.basic_qos(prefetch_count=PREFETCH)
    consumed, all_consumed = 0, asyncio.Event()

    async def on_message(message: DeliveredMessage) -> None:
        nonlocal consumed
        assert message.delivery_tag is not None  # noqa: S101 - a delivered message has one
        await consumer.basic_ack(message.delivery_tag, wait=False)
        consumed += 1
        if consumed == waiting:
            all_consumed.set()

    start = time.perf_counter()
    await consumer.basic_consume(QUEUE, on_message)
    await all_consumed.wait()
    rate = consumed / (time.perf_counter() - start)
    await channel.queue_delete(QUEUE)
    await connection.close()
    return rate


if __name__ == "__main__":
    print_result(uvloop.run(consuming(sys.argv[1], float(sys.argv[2]))))
