"""A node of a RabbitMQ cluster is cut off or lost, or the majority of its nodes is lost."""

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

import pytest

from restaurant_system.database.connection import Database
from restaurant_system.errors import BrokerRefuses, BrokerUnavailable
from restaurant_system.messaging import relay, resilient_consumer
from restaurant_system.messaging.rabbitmq import RabbitMQBroker
from restaurant_system.models.message import Message
from tests.conftest import QUICK_RETRIES, make_rabbitmq_broker
from tests.support.cluster_kitchen import ClusterKitchen, running_cluster_kitchen
from tests.support.messages import (
    DEAD_LETTERS,
    KITCHEN,
    TAKEOUT,
    make_messages_for_each_queue,
    message_ids,
)
from tests.support.rabbitmq_cluster import RabbitMQCluster, running_cluster
from tests.support.rabbitmq_server import RabbitMQ
from tests.support.waiting import eventually

LOST = 1  # the number of the node that is killed
LOST_LATER = 2  # the number of the node that is cut off, and killed once that one is lost
BATCHES = 30
RETRY_DELAY = 0.1  # s
REDELIVERY = 30.0  # s
# s. RabbitMQ 4.3 may count messages as delivered to a consumer that has not received them, and
# repeats them for the next consumer only.
CONSUMER_LIFETIME = 8.0
RECOVERY = 10.0  # s from the loss of a leader to the next order that is delivered
ORDERS = 50  # that are placed before a fault, and again after it
DEGRADED = ("degraded", "down")  # the service, and the broker


@pytest.fixture(scope="module")
def cluster() -> Iterator[RabbitMQCluster]:
    """Run a cluster; the node that is killed hosts the classic queues."""
    with (
        running_cluster(proxies=True) as cluster,
        cluster.api as api,
        ThreadPoolExecutor(1) as thread,
    ):
        for queue_type in ("classic", "quorum"):
            api.put(f"/vhosts/{queue_type}").raise_for_status()
            # A loop may be running in this thread.
            thread.submit(asyncio.run, declare_on(cluster.nodes[LOST], queue_type)).result()
        yield cluster


async def declare_on(node: RabbitMQ, queue_type: str) -> None:
    """Declare the topology on a node, with the marker of reconciliation."""

    async def declare() -> bool:
        broker = make_rabbitmq_broker(node.url(queue_type), QUICK_RETRIES, queue_type)
        try:
            await broker.connect()
            await broker.mark()
            return not await broker.is_blank()
        except BrokerUnavailable:  # the virtual host is not open on that node yet
            return False
        finally:
            await broker.close()

    await eventually(declare, doing="for the virtual host", seconds=20)


def make_broker(cluster: RabbitMQCluster, queue_type: str) -> RabbitMQBroker:
    """Return a broker that uses all nodes."""
    return make_rabbitmq_broker(cluster.url(queue_type), QUICK_RETRIES, queue_type)


async def refused(broker: RabbitMQBroker, batch: Sequence[Message]) -> bool:
    """Publish a batch; return whether it must be published again."""
    try:
        return bool(await broker.publish(batch))
    except BrokerUnavailable:
        return True


async def consume(broker: RabbitMQBroker, received: dict[UUID, float]) -> None:
    """Consume all messages, store when each was first received, and acknowledge it."""
    while True:
        with contextlib.suppress(BrokerUnavailable, TimeoutError):
            async with (
                asyncio.timeout(CONSUMER_LIFETIME),
                broker.consume(KITCHEN, prefetch=10) as consumer,
            ):
                async for delivery in consumer:
                    received.setdefault(delivery.message.message_id, time.monotonic())
                    await delivery.ack()
        await asyncio.sleep(RETRY_DELAY)


@pytest.fixture
async def service(
    cluster: RabbitMQCluster, database: Database, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[ClusterKitchen]:
    """Run the services, with short delays after outages, connected to the node `LOST_LATER`."""
    monkeypatch.setattr(relay, "MAX_RETRY_DELAY", 1.0)
    monkeypatch.setattr(resilient_consumer, "MAX_RECONNECT_DELAY", 1.0)
    broker = make_broker(cluster, "quorum")
    with monkeypatch.context() as context:
        context.setattr(random, "sample", lambda urls, _: urls[LOST_LATER:] + urls[:LOST_LATER])
        async with broker.subscribe():
            await broker.connect()
    async with running_cluster_kitchen(database, broker) as service:
        yield service


async def test_orders_are_cooked_once_while_a_node_is_cut_off_from_the_others(
    cluster: RabbitMQCluster, service: ClusterKitchen
) -> None:
    """The services are connected to that node, which clients still reach."""
    node = cluster.nodes[LOST_LATER]
    await service.order(ORDERS)
    ordering = asyncio.create_task(service.order(ORDERS))
    await asyncio.to_thread(cluster.isolate, node)
    await ordering
    await service.wait_for_all()
    assert not await asyncio.to_thread(cluster.is_complete)

    ordering = asyncio.create_task(service.order(ORDERS))
    await asyncio.to_thread(cluster.rejoin, node)
    await ordering
    await asyncio.to_thread(cluster.wait_until_complete)
    await service.wait_for_all()
    await service.verify()


async def test_quorum_queues_are_used_on_when_their_leader_is_killed_under_load(
    cluster: RabbitMQCluster,
) -> None:
    """Every confirmed message is delivered, and none becomes a dead letter."""
    broker = make_broker(cluster, "quorum")
    published, received = set[UUID](), dict[UUID, float]()
    consuming = asyncio.create_task(consume(broker, received))

    async def publish(batches: int) -> None:
        for _ in range(batches):
            batch = make_messages_for_each_queue(5)
            while await refused(broker, batch):  # noqa: ASYNC110 - an attempt, and not a condition
                await asyncio.sleep(RETRY_DELAY)
            published.update(message_ids(batch))

    async def all_are_received() -> bool:
        await publish(1)  # RabbitMQ 4.3 repeats a delivery that it has lost only before the next
        await asyncio.sleep(1)
        return received.keys() >= published

    await publish(BATCHES)
    leader = cluster.nodes[LOST]
    await asyncio.to_thread(cluster.move_leader, TAKEOUT, "quorum", leader)
    publishing = asyncio.create_task(publish(BATCHES))
    leader.kill()
    killed_at = time.monotonic()
    async with asyncio.timeout(60):
        await publishing
    await eventually(all_are_received, doing="for all messages", seconds=REDELIVERY)
    consuming.cancel()
    depths = await broker.depths()
    await broker.close()

    assert min(at for at in received.values() if at > killed_at) - killed_at < RECOVERY
    assert depths[DEAD_LETTERS] == 0


async def test_classic_queue_on_a_lost_node_is_named_and_is_not_missing(
    cluster: RabbitMQCluster,
) -> None:
    """A marker that counted as missing would have all updates published again."""
    cluster.nodes[LOST].kill()
    broker = make_broker(cluster, "classic")

    with pytest.raises(BrokerRefuses, match="kitchen_dine_in_queue") as refused:
        await broker.ping()
    with pytest.raises(BrokerUnavailable):
        await broker.is_blank()
    await broker.close()

    assert "node" in refused.value.reason


async def test_orders_are_accepted_without_a_majority_and_cooked_once_when_it_is_back(
    cluster: RabbitMQCluster, service: ClusterKitchen
) -> None:
    async def is_degraded() -> bool:
        health = await service.health()
        return (health["status"], health["dependencies"]["broker"]["status"]) == DEGRADED

    cluster.nodes[LOST].kill()
    await service.order(ORDERS)
    ordering = asyncio.create_task(service.order(ORDERS))
    await asyncio.to_thread(cluster.nodes[LOST_LATER].kill)
    await ordering
    await eventually(is_degraded, doing="for /health to be degraded")
    await service.order()
    await asyncio.to_thread(cluster.nodes[LOST_LATER].start)
    await service.wait_for_all()

    assert (await service.health())["status"] == "ok"
    await service.verify()
