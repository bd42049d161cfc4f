"""Inspect the broker in PostgreSQL for `doctor`, without leaving a message in it."""

import asyncio
import time
import uuid
from dataclasses import dataclass

from restaurant_system.database.connection_factory import UnpooledConnection
from restaurant_system.messaging import topology
from restaurant_system.messaging.doctor_message import make_test_message
from restaurant_system.messaging.postgres.broker import DEPTHS
from restaurant_system.messaging.postgres.consumer import ONLINE_CONSUMERS
from restaurant_system.messaging.postgres.queues import enqueue

SELECT_BODY = "SELECT body FROM broker_messages WHERE queue = $1"

# A durable queue has a consumer while one of its messages is unacknowledged, or none is waiting.
SUBSCRIBERS = f"""
SELECT queue, (
    SELECT count(*) FROM broker_messages AS message
    WHERE message.queue = subscription.queue AND consumer IS NULL AND available_at <= now()
) AS waiting, (
    SELECT count(*) FROM broker_messages AS message
    WHERE message.queue = subscription.queue AND consumer = ANY (ARRAY({ONLINE_CONSUMERS}))
) AS unacknowledged
FROM broker_subscriptions AS subscription WHERE owner IS NULL
"""


@dataclass(frozen=True, slots=True)
class SubscriberQueue:
    """A durable queue of a subscriber, with the numbers of its messages."""

    name: str
    waiting: int
    unacknowledged: int


async def depths(connection: UnpooledConnection) -> dict[str, int]:
    """Return the number of ready messages in each queue of the topology."""
    rows = await connection.fetch(DEPTHS, [queue.name for queue in topology.QUEUES])
    return {row["queue"]: row["messages"] for row in rows}


async def subscriber_queues(connection: UnpooledConnection) -> list[SubscriberQueue]:
    """Return the durable queues of subscribers."""
    rows = await connection.fetch(SUBSCRIBERS)
    return [SubscriberQueue(row["queue"], row["waiting"], row["unacknowledged"]) for row in rows]


async def round_trip(connection: UnpooledConnection) -> float:
    """Put a message into a queue of its own and read it back; return the milliseconds.

    The caller rolls the transaction back, so that no process ever sees the message.
    """
    message = make_test_message(topology.subscriber_queue(f"doctor-{uuid.uuid4().hex}"))
    start = time.perf_counter()
    await enqueue(connection, [(message.routing_key, message)])
    body = await connection.fetchval(SELECT_BODY, message.routing_key)
    if body != message.body:
        raise RuntimeError("another message than the one that was sent")
    return (time.perf_counter() - start) * 1000


async def wait_for_notification(listener: UnpooledConnection, sender: UnpooledConnection) -> None:
    """Return once a notification from one connection has reached the other.

    It never does through a pooler in transaction mode. Neither connection is in a transaction.
    """
    channel = f"restaurant_doctor_{uuid.uuid4().hex}"
    received = asyncio.Event()
    await listener.add_listener(channel, lambda *_: received.set())
    await sender.execute("SELECT pg_notify($1, '')", channel)
    await received.wait()
