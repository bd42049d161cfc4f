"""The nodes of a RabbitMQ cluster are restarted one by one, and then upgraded, under load.

RabbitMQ 4.3 refuses to start in a cluster with nodes of 4.0: all nodes are stopped for the upgrade.
Before that, 4.0 moves its metadata to Khepri, and finds no bindings for a moment. It refuses orders
then, which stay in the outbox, but confirms updates: a fanout exchange may have no subscriber.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator, Sequence

import pytest

from restaurant_system.database.connection import Database
from restaurant_system.messaging.broker import Refused
from restaurant_system.messaging.rabbitmq import RabbitMQBroker
from restaurant_system.models.message import Message, StatusChanged, decode
from tests.conftest import QUICK_RETRIES, make_rabbitmq_broker
from tests.support.cluster_kitchen import ClusterKitchen, running_cluster_kitchen
from tests.support.rabbitmq_cluster import RabbitMQCluster, running_cluster
from tests.support.rabbitmq_installation import NEXT_ROOT, find_installation

pytestmark = pytest.mark.skipif(NEXT_ROOT is None, reason="make test-brokers runs this test")

VHOST = "%2F"  # the default one
MAX_ORDERS = 10_000
ORDER_INTERVAL = 0.05  # s


@pytest.fixture
def cluster() -> Iterator[RabbitMQCluster]:
    """Run a cluster of the older version."""
    with running_cluster() as cluster:
        yield cluster


@contextlib.asynccontextmanager
async def load(service: ClusterKitchen) -> AsyncIterator[None]:
    """Place orders for as long as the block lasts; then wait until all are finished."""
    ordering = asyncio.create_task(service.order(MAX_ORDERS, ORDER_INTERVAL))
    yield
    assert not ordering.done()  # no order was refused
    ordering.cancel()
    await asyncio.wait({ordering})
    await service.wait_for_all()


def record_updates(
    broker: RabbitMQBroker, monkeypatch: pytest.MonkeyPatch
) -> list[tuple[str, str]]:
    """Return the list to which each update, by number and status, is added once it is confirmed."""
    confirmed = []
    publish = broker.publish

    async def publish_and_record(messages: Sequence[Message]) -> list[Refused]:
        refused = await publish(messages)
        refused_ids = {each.message.message_id for each in refused}
        for message in messages:
            if message.type == StatusChanged.TYPE and message.message_id not in refused_ids:
                update = decode(message, StatusChanged)
                confirmed.append((update.order_number, str(update.new_status)))
        return refused

    monkeypatch.setattr(broker, "publish", publish_and_record)
    return confirmed


async def test_orders_are_cooked_once_while_the_cluster_is_restarted_and_upgraded(
    cluster: RabbitMQCluster, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Subscribers miss no updates but some that were confirmed while metadata moved to Khepri."""
    broker = make_rabbitmq_broker(cluster.url(VHOST), QUICK_RETRIES, "quorum")
    confirmed = record_updates(broker, monkeypatch)

    def restart_one_by_one() -> None:
        for node in cluster.nodes:
            node.stop()
            node.start()
            cluster.wait_until_complete()

    def move_to_khepri() -> None:
        first, *_ = cluster.nodes
        first.control("enable_feature_flag", "--opt-in", "khepri_db")
        first.control("enable_feature_flag", "all")

    def upgrade() -> None:
        for node in cluster.nodes:
            node.stop()
        for node in cluster.nodes:
            node.upgrade(find_installation(NEXT_ROOT))
            node.launch()
        for node in cluster.nodes:
            node.wait_until_started()
        cluster.wait_until_complete()

    before = cluster.version()
    lost: list[tuple[str, str]] = []
    async with running_cluster_kitchen(database, broker) as service:
        steps: list[Callable[[], None]] = [restart_one_by_one, move_to_khepri, upgrade]
        for step in steps:
            known = len(confirmed)
            async with load(service):
                await asyncio.to_thread(step)
                if step == move_to_khepri:
                    lost = confirmed[known:]
            assert (await service.health())["status"] == "ok"
        await service.verify(lost)

    assert cluster.version() > before
