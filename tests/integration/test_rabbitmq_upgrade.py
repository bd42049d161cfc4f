"""The nodes of a RabbitMQ cluster are restarted one by one, and then upgraded, under load.

RabbitMQ 4.3 refuses to start in a cluster with nodes of 4.0: all nodes are stopped for the upgrade.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from restaurant_system.database.connection import Database
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


async def test_orders_are_cooked_once_while_the_cluster_is_restarted_and_upgraded(
    cluster: RabbitMQCluster, database: Database
) -> None:
    broker = make_rabbitmq_broker(cluster.url(VHOST), QUICK_RETRIES, "quorum")

    def restart_one_by_one() -> None:
        for node in cluster.nodes:
            node.stop()
            node.start()
            cluster.wait_until_complete()

    def upgrade() -> None:
        first, *_ = cluster.nodes
        first.control("enable_feature_flag", "--opt-in", "khepri_db")
        first.control("enable_feature_flag", "all")
        for node in cluster.nodes:
            node.stop()
        for node in cluster.nodes:
            node.upgrade(find_installation(NEXT_ROOT))
            node.launch()
        for node in cluster.nodes:
            node.wait_until_started()
        cluster.wait_until_complete()

    before = cluster.version()
    async with running_cluster_kitchen(database, broker) as service:
        steps: list[Callable[[], None]] = [restart_one_by_one, upgrade]
        for step in steps:
            async with load(service):
                await asyncio.to_thread(step)
            assert (await service.health())["status"] == "ok"
        await service.verify()

    assert cluster.version() > before
