"""Publish to RabbitMQ and open consumers, on one connection each."""

import asyncio
import contextlib
import random
import time
import uuid
from collections.abc import AsyncIterator, Callable, Sequence

import aiormq
from aiormq.abc import DeliveredMessage

from restaurant_system.config import RabbitMQSettings
from restaurant_system.errors import BrokerRefuses, BrokerUnavailable
from restaurant_system.logger import get_logger
from restaurant_system.messaging import topology
from restaurant_system.messaging.broker import Broker, Consumer, Delivery, Refused
from restaurant_system.messaging.rabbitmq.connection import RabbitMQConnection
from restaurant_system.messaging.rabbitmq.consumer import (
    ChannelConsumer,
    get_all,
    make_consumer,
    receive_all,
)
from restaurant_system.messaging.rabbitmq.declaration import Declarations
from restaurant_system.messaging.rabbitmq.delivery import RabbitMQDelivery, Settlements
from restaurant_system.messaging.rabbitmq.error_translation import (
    explain_missing_confirms,
    is_missing,
)
from restaurant_system.messaging.rabbitmq.partitions import (
    PARTITIONED,
    Partitions,
    by_queue,
    partition_name,
    whole_queue,
)
from restaurant_system.messaging.rabbitmq.publishing import Publisher
from restaurant_system.models.message import Message

SUBSCRIBER_PREFETCH = 100
PING_TIMEOUT = 1.0  # s to declare the topology; the check of /health is cancelled soon after

log = get_logger()


class RabbitMQBroker(Broker):
    """The broker whose queues are in RabbitMQ; `Broker` documents its methods.

    When RabbitMQ is short of memory or disk, it stops reading from connections that publish.
    Messages are therefore consumed and acknowledged on another connection, which frees memory.
    """

    name = "rabbitmq"

    def __init__(self, settings: RabbitMQSettings, retry_delays: Sequence[float]) -> None:
        self._settings = settings
        self._partitions = Partitions(settings.partitions)
        self._retired: list[str] | None = None  # partitions beyond these, once they were looked for
        self._declarations = Declarations(settings.queue_type, retry_delays, self._partitions)
        self._publishing = RabbitMQConnection(settings)
        self._consuming = RabbitMQConnection(settings)
        self._publisher: Publisher | None = None
        self._opening = asyncio.Lock()

    async def connect(self) -> None:
        publisher = await self._open_publisher()
        await self._declare(publisher.channel)

    async def close(self) -> None:
        self._publisher = None
        await asyncio.gather(self._publishing.close(), self._consuming.close())

    async def ping(self) -> float:
        """Open a channel of its own, because a cancelled ping breaks the channel.

        The topology is declared on it. That raises `BrokerRefuses` with the name of a queue that
        was replaced by one with other arguments, or whose node does not run. From 4.0 on, RabbitMQ
        gives no answer about the latter for a minute.
        """
        start = time.perf_counter()
        channel = await self._publishing.plain_channel()
        latency = time.perf_counter() - start
        await self._declare_within(PING_TIMEOUT, channel)
        async with self._publishing.timeout(channel):
            await channel.close()
        return latency * 1000

    async def publish(self, messages: Sequence[Message]) -> list[Refused]:
        publisher = await self._open_publisher()
        timeout = self._settings.confirm_timeout
        with explain_missing_confirms(timeout):
            async with self._publishing.timeout(publisher.channel, timeout):
                refused = await publisher.publish(messages)
        if refused:
            await self._replace(publisher)
        await self._close_if_replaced(publisher)
        return refused

    async def publish_one(self, message: Message) -> None:
        """Publish a message; raises `BrokerUnavailable` if it is refused."""
        for refusal in await self.publish([message]):
            raise BrokerUnavailable(f"RabbitMQ refused a message: {refusal.reason}")

    @contextlib.asynccontextmanager
    async def consume(self, queues: Sequence[str], *, prefetch: int) -> AsyncIterator[Consumer]:
        # RabbitMQ logs a look in vain. One is enough: orders in partitions that are added later are
        # found in the database, and those that are known may be deleted.
        if self._retired is None or self._retired:
            self._retired = await self._find_retired_partitions()
        numbers = self._settings.consume_partitions
        names = [name for queue in queues for name in self._partitions.names(queue, numbers)]
        names += [name for name in self._retired if whole_queue(name) in queues]
        if len(names) > len(queues):
            random.shuffle(names)  # so that many workers do not all begin with the same partition
        async with self._consuming_channel() as channel:
            consumer = self._consumer(channel, names, prefetch)
            async with consumer.running():
                yield consumer

    @contextlib.asynccontextmanager
    async def subscribe(self, name: str | None = None) -> AsyncIterator[Consumer]:
        queue = topology.subscriber_queue(name or uuid.uuid4().hex)
        async with self._consuming_channel() as channel:
            async with self._consuming.timeout(channel):
                await channel.queue_declare(
                    queue,
                    durable=name is not None,
                    exclusive=name is None,
                    auto_delete=name is None,
                    arguments=self._declarations.subscriber_arguments(name),
                )
                await channel.queue_bind(queue, topology.NOTIFICATIONS_FANOUT.name)
            consumer = self._consumer(channel, [queue], SUBSCRIBER_PREFETCH)
            async with consumer.running():
                yield consumer

    @contextlib.asynccontextmanager
    async def browse(
        self, queue: str, *, limit: int | None = None
    ) -> AsyncIterator[Sequence[Delivery]]:
        async with self._consuming_channel() as channel:
            make_delivery = self._delivery_factory(channel)
            receive = receive_all if self._settings.queue_type == "classic" else get_all
            messages = await receive(self._consuming, channel, queue, limit)
            yield [make_delivery(each, queue, _ignore_settled) for each in messages]

    async def depths(self) -> dict[str, int]:
        if self._retired is None:
            self._retired = await self._find_retired_partitions()
        retired = [name for name in self._retired if await self._exists(name)]
        names = [name for queue in topology.QUEUES for name in self._partitions.names(queue.name)]
        counts = await self._count([*names, *retired])
        return {
            queue: sum(counts[name] for name in group) for queue, group in by_queue(counts).items()
        }

    async def delayed(self) -> int:
        return sum((await self._count(self._declarations.retry_queues())).values())

    async def is_blank(self) -> bool:
        return not await self._exists(topology.MARKER.name)

    async def mark(self) -> None:
        async with self._consuming_channel() as channel, self._consuming.timeout(channel):
            await self._declarations.marker().declare(channel)

    async def _exists(self, queue: str) -> bool:
        """Return whether a queue exists."""
        async with self._consuming_channel() as channel, self._consuming.timeout(channel):
            try:
                await channel.queue_declare(queue, passive=True)
            except aiormq.ChannelNotFoundEntity as error:
                if not is_missing(error):
                    raise
                return False
        return True

    async def _find_retired_partitions(self) -> list[str]:
        """Return the partitions that an earlier configuration, with more of them, has left."""
        found = []
        for queue in PARTITIONED:
            number = self._partitions.count
            while await self._exists(name := partition_name(queue, number)):
                found.append(name)
                number += 1
        return found

    async def _count(self, queues: Sequence[str]) -> dict[str, int]:
        """Return the number of ready messages in each queue."""
        async with self._consuming_channel() as channel, self._consuming.timeout(channel):
            return {
                queue: (await channel.queue_declare(queue, passive=True)).message_count or 0
                for queue in queues
            }

    def _consumer(
        self, channel: aiormq.Channel, queues: Sequence[str], prefetch: int
    ) -> ChannelConsumer:
        make_delivery = self._delivery_factory(channel)
        return make_consumer(self._consuming, channel, queues, make_delivery, prefetch=prefetch)

    def _delivery_factory(
        self, channel: aiormq.Channel
    ) -> Callable[[DeliveredMessage, str, Callable[[], None]], RabbitMQDelivery]:
        settlements = Settlements(self._consuming, channel)

        def make(
            delivered: DeliveredMessage, queue: str, settled: Callable[[], None]
        ) -> RabbitMQDelivery:
            return RabbitMQDelivery(
                self.publish_one,
                settlements,
                delivered,
                queue=whole_queue(queue),
                settled=settled,
            )

        return make

    async def _open_publisher(self) -> Publisher:
        """Return the publisher; if its channel is closed, open one and declare the topology.

        Raises `BrokerRefuses` if RabbitMQ refuses the topology. Nothing is published then, because
        a queue with other arguments may lose messages that are safe in the outbox.
        """
        async with self._opening:
            if self._publisher is None or not self._publishing.has_open(self._publisher.channel):
                channel = await self._publishing.publishing_channel()
                await self._declare(channel)
                self._publisher = Publisher(channel, self._partitions)
            return self._publisher

    async def _replace(self, publisher: Publisher) -> None:
        """Open another channel for the next attempt, and declare the topology on it.

        A queue may have been deleted, or RabbitMQ may refuse everything on this channel: one on
        which it published to a quorum queue without a leader does not always find the next leader.
        An error is logged only: the other messages of the batch were confirmed.
        """
        if self._publisher is publisher:
            self._publisher = None
        try:
            await self._open_publisher()
        except BrokerUnavailable as error:
            log.warning(error.action, message=str(error))

    async def _close_if_replaced(self, publisher: Publisher) -> None:
        """Close the channel of a publisher that was replaced, after its last publication."""
        if self._publisher is not publisher and publisher.is_idle:
            with contextlib.suppress(BrokerUnavailable):
                async with self._publishing.timeout(publisher.channel):
                    await publisher.channel.close()

    async def _declare_within(self, seconds: float, channel: aiormq.Channel) -> None:
        """Declare the topology; raise `BrokerRefuses` with the name of what takes too long."""
        declaration = None
        try:
            async with asyncio.timeout(seconds), self._publishing.timeout(channel):
                for declaration in self._declarations.whole():
                    await declaration.declare(channel)
        except TimeoutError as error:
            name = declaration.name if declaration else ""
            raise BrokerRefuses(
                f"RabbitMQ has not declared {name} within {seconds:g} s; its node may not run",
                "start all nodes of the cluster",
            ) from error

    async def _declare(self, channel: aiormq.Channel) -> None:
        async with self._publishing.timeout(channel):
            await self._declarations.declare(channel)

    @contextlib.asynccontextmanager
    async def _consuming_channel(self) -> AsyncIterator[aiormq.Channel]:
        channel = await self._consuming.plain_channel()
        try:
            yield channel
        finally:
            with contextlib.suppress(BrokerUnavailable):
                async with self._consuming.timeout(channel):
                    await channel.close()


def _ignore_settled() -> None:
    """Do nothing: a browser has no prefetch limit."""
