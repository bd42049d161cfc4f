"""R: messages per second that are consumed from RabbitMQ and acknowledged, with prefetch 1,000.

aiormq alone, each message acknowledged for itself, from a durable queue with priorities. What the
messages are is not looked at. `consuming.py AMQP SECONDS` prints it.
"""

import asyncio
import sys
import time

import aiormq
import uvloop
from aiormq.abc import DeliveredMessage

from benchmarks.floors.pace import tell
from benchmarks.floors.publishing import declare, publish

PREFETCH = 1000
QUEUE = "floor_consuming"


async def consuming(amqp: str, seconds: float) -> float:
    """Fill a queue, then consume it; return messages per second."""
    connection = await aiormq.connect(amqp)
    channel = await connection.channel()
    await declare(channel, QUEUE)
    waiting = await publish(channel, QUEUE, time.perf_counter() + seconds)
    taking = await connection.channel(publisher_confirms=False)
    await taking.basic_qos(prefetch_count=PREFETCH)
    taken, all_taken = 0, asyncio.Event()

    async def take(message: DeliveredMessage) -> None:
        nonlocal taken
        assert message.delivery_tag is not None  # noqa: S101 - what is delivered has one
        await taking.basic_ack(message.delivery_tag, wait=False)
        taken += 1
        if taken == waiting:
            all_taken.set()

    start = time.perf_counter()
    await taking.basic_consume(QUEUE, take)
    await all_taken.wait()
    rate = taken / (time.perf_counter() - start)
    await channel.queue_delete(QUEUE)
    await connection.close()
    return rate


if __name__ == "__main__":
    tell(uvloop.run(consuming(sys.argv[1], float(sys.argv[2]))))
