"""Measure how many orders per second a cluster of three nodes confirms, by partitions per queue.

Messages of orders of all types are published to quorum queues as the relay does, by one process,
with two batches at a time. The numbers of partitions take turns, each on a virtual host of its own.
"""

import asyncio
import dataclasses
import itertools
import statistics
import time
from collections.abc import Iterator

from benchmarks.bench import Bench
from benchmarks.floors.publishing import order_message
from benchmarks.processes import Failed
from benchmarks.results import ResultRow, result_row
from restaurant_system.config import DeliverySettings, RabbitMQSettings
from restaurant_system.errors import BrokerUnavailable
from restaurant_system.messaging import topology
from restaurant_system.messaging.rabbitmq import RabbitMQBroker
from restaurant_system.models.message import Message, new_message_id
from restaurant_system.models.order import OrderType
from tests.support.rabbitmq_cluster import RabbitMQCluster, running_cluster

COUNTS = (1, 2, 4, 8)
TURNS = 3
BATCH_SIZE = 512  # messages, as the relay publishes
BATCHES = 2  # at a time
ATTEMPTS = 50  # to connect to a virtual host, which is not open on all nodes at once
PAUSE = 0.2  # s between two attempts


async def rows(bench: Bench) -> list[ResultRow]:
    """Measure each number of partitions; the floor is the rate of one partition."""
    rates: dict[int, list[float]] = {count: [] for count in COUNTS}
    with running_cluster() as cluster:
        for turn in range(TURNS):
            for count, measured in rates.items():
                vhost = f"partitions_{count}_{turn}"
                with cluster.api as api:
                    api.put(f"/vhosts/{vhost}").raise_for_status()
                measured.append(await _rate(cluster, vhost, count, bench.seconds / TURNS))
                with cluster.api as api:
                    api.delete(f"/vhosts/{vhost}").raise_for_status()
    medians = {count: statistics.median(measured) for count, measured in rates.items()}
    return [
        result_row(
            f"cluster of three nodes, partitions: {count}",
            rate,
            "orders/s",
            floor=None if count == 1 else medians[1],
        )
        for count, rate in medians.items()
    ]


async def _rate(cluster: RabbitMQCluster, vhost: str, count: int, seconds: float) -> float:
    """Publish for some seconds; return the number of confirmed messages per second."""
    settings = RabbitMQSettings.model_validate(
        {"url": cluster.url(vhost), "queue_type": "quorum", "partitions": count}
    )
    broker = RabbitMQBroker(settings, DeliverySettings().retry_delays)
    messages = _messages()

    async def publish(until: float) -> int:
        confirmed = 0
        while time.perf_counter() < until:
            batch = list(itertools.islice(messages, BATCH_SIZE))
            if await broker.publish(batch):
                raise Failed("RabbitMQ refused orders")
            confirmed += BATCH_SIZE
        return confirmed

    try:
        await _connect(broker)
        start = time.perf_counter()
        confirmed = await asyncio.gather(*(publish(start + seconds) for _ in range(BATCHES)))
        return sum(confirmed) / (time.perf_counter() - start)
    finally:
        await broker.close()


async def _connect(broker: RabbitMQBroker) -> None:
    for _ in range(ATTEMPTS):
        try:
            return await broker.connect()
        except BrokerUnavailable:
            await asyncio.sleep(PAUSE)
    raise Failed("RabbitMQ opens no virtual host")


def _messages() -> Iterator[Message]:
    """Yield messages of orders of all types in turns."""
    order = order_message()
    for order_type in itertools.cycle(OrderType):
        yield dataclasses.replace(
            order,
            routing_key=topology.routing_key(order_type, order.priority),
            message_id=new_message_id(),
        )
