"""An order service, a worker and a subscriber that use a RabbitMQ cluster with quorum queues."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from dataclasses import dataclass, field
from typing import Any

from restaurant_system.app.http_service import health_feature
from restaurant_system.app.runtime import Runtime
from restaurant_system.config import Settings
from restaurant_system.database.connection import Database
from restaurant_system.messaging import topology
from restaurant_system.messaging.rabbitmq import RabbitMQBroker
from restaurant_system.models.message import StatusChanged, decode
from restaurant_system.shutdown import Shutdown
from tests.support.kitchen import Kitchen
from tests.support.services import http_client, make_relay
from tests.support.waiting import eventually

ORDER_INTERVAL = 0.01  # s
FINISH_TIMEOUT = 30  # s
SUBSCRIBER = "printer"
# RabbitMQ 4.3 may count updates as delivered that the subscriber has not received, and repeats them
# for the next one only.
SUBSCRIPTIONS = 3
SUBSCRIPTION_LIFETIME = 10  # s
STATUSES = ["received", "cooking", "ready"]
UNFINISHED = """
SELECT (SELECT count(*) FROM orders WHERE status <> 'ready') + (SELECT count(*) FROM outbox)
"""


@dataclass(frozen=True)
class ClusterKitchen:
    """An order service, a worker and a durable subscriber on a cluster with quorum queues."""

    kitchen: Kitchen
    broker: RabbitMQBroker
    health: Callable[[], Awaitable[dict[str, Any]]]
    numbers: list[str] = field(default_factory=list)

    async def order(self, count: int = 1, interval: float = ORDER_INTERVAL) -> None:
        """Place orders, one every `interval` seconds."""
        for _ in range(count):
            self.numbers.append(await self.kitchen.order())
            await asyncio.sleep(interval)

    async def wait_for_all(self) -> None:
        """Wait until all orders are ready and all messages published."""

        async def are_finished() -> bool:
            async with self.kitchen.database.connection() as connection:
                unfinished: int = await connection.fetchval(UNFINISHED)
            return unfinished == 0

        await eventually(are_finished, doing="for all orders", seconds=FINISH_TIMEOUT)

    async def verify(self, lost: Collection[tuple[str, str]] = ()) -> None:
        """Assert that each order was cooked once, and that the subscriber receives all updates.

        Of those that the broker may have `lost`, by number and status, half are required.
        """
        expected = {(number, status) for number in self.numbers for status in STATUSES[1:]}
        for _ in range(SUBSCRIPTIONS):
            with contextlib.suppress(TimeoutError):
                await self._receive(expected)
        assert expected <= set(lost), sorted(expected.difference(lost))
        assert len(expected) <= len(set(lost)) / 2, sorted(expected)
        histories = [await self.kitchen.history(each) for each in self.numbers]
        assert [[status for status, _ in each] for each in histories] == [STATUSES] * len(histories)
        assert (await self.broker.depths())[topology.DEAD_LETTERS.name] == 0

    async def _receive(self, expected: set[tuple[str, str]]) -> None:
        """Receive updates until all expected ones were received, and remove these."""
        async with (
            asyncio.timeout(SUBSCRIPTION_LIFETIME),
            self.broker.subscribe(SUBSCRIBER) as subscriber,
        ):
            while expected:
                delivery = await anext(aiter(subscriber))
                update = decode(delivery.message, StatusChanged)
                expected.discard((update.order_number, update.new_status))
                await delivery.ack()


@contextlib.asynccontextmanager
async def running_cluster_kitchen(
    database: Database, broker: RabbitMQBroker
) -> AsyncIterator[ClusterKitchen]:
    """Run the services for the block, and close the broker."""
    kitchen = Kitchen(database, make_relay(database, broker))
    runtime = Runtime("test", Settings(), database, broker, kitchen.policy, Shutdown())
    await broker.connect()
    async with broker.subscribe(SUBSCRIBER):
        pass
    async with (
        http_client(health_feature(runtime, database)) as client,
        kitchen.running_worker(broker),
        kitchen.relay.running(),
    ):

        async def health() -> dict[str, Any]:
            return dict((await client.get("/health")).json())

        yield ClusterKitchen(kitchen, broker, health)
    await broker.close()
