"""The lines to RabbitMQ: one for what goes out, one for what comes in."""

import asyncio
import contextlib
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Sequence

import aiormq
from aiormq.abc import DeliveredMessage

from restaurant_system.config import RabbitMQSettings
from restaurant_system.errors import BrokerUnavailable
from restaurant_system.messaging import topology
from restaurant_system.messaging.broker import Broker, Consumer, Delivery, Refused
from restaurant_system.messaging.rabbitmq.browsing import take_all
from restaurant_system.messaging.rabbitmq.connection import RabbitMQConnection
from restaurant_system.messaging.rabbitmq.consumer import ChannelConsumer, consumer
from restaurant_system.messaging.rabbitmq.declaration import CLASSIC, declare, retry_queues
from restaurant_system.messaging.rabbitmq.delivery import RabbitMQDelivery, Settlements
from restaurant_system.messaging.rabbitmq.publishing import Publisher
from restaurant_system.models.message import Message

SUBSCRIBER_PREFETCH = 100


class RabbitMQBroker(Broker):
    """See `Broker` for what is promised.

    RabbitMQ short of memory or disk stops reading from a connection that publishes. So deliveries
    are taken and acknowledged on another one: that is what frees the memory.
    """

    name = "rabbitmq"

    def __init__(self, settings: RabbitMQSettings, retry_delays: Sequence[float]) -> None:
        self._settings = settings
        self._retry_delays = retry_delays
        self._outward = RabbitMQConnection(settings)
        self._inward = RabbitMQConnection(settings)
        self._publisher: Publisher | None = None  # one, for all that is published
        self._opening = asyncio.Lock()

    async def connect(self) -> None:
        publisher = await self._open_publisher()
        await self._declare(publisher.channel)

    async def close(self) -> None:
        self._publisher = None
        await asyncio.gather(self._outward.close(), self._inward.close())

    async def ping(self) -> float:
        """Open a channel: one of its own, because a ping that is cancelled breaks it.

        The topology is declared on it, so that a queue which somebody has replaced by one with
        other arguments is noticed: raises `BrokerRefuses`.
        """
        start = time.perf_counter()
        channel = await self._outward.plain_channel()
        latency = time.perf_counter() - start
        await self._declare(channel)
        async with self._outward.answering(channel):
            await channel.close()
        return latency * 1000

    async def publish(self, messages: Sequence[Message]) -> list[Refused]:
        publisher = await self._open_publisher()
        timeout = self._settings.confirm_timeout
        with _silence_explained(timeout):
            async with self._outward.answering(publisher.channel, timeout):
                refused = await publisher.publish(messages)
        if refused:  # somebody may have deleted a queue: declare it again for the next try
            await self._declare(publisher.channel)
        return refused

    async def publish_one(self, message: Message) -> None:
        """Publish a message that must not be refused."""
        for refusal in await self.publish([message]):
            raise BrokerUnavailable(f"RabbitMQ refused a message: {refusal.reason}")

    @contextlib.asynccontextmanager
    async def consume(self, queues: Sequence[str], *, prefetch: int) -> AsyncIterator[Consumer]:
        async with self._consuming_channel() as channel:
            orders = self._consumer(channel, queues, prefetch)
            async with orders.running():
                yield orders

    @contextlib.asynccontextmanager
    async def subscribe(self, name: str | None = None) -> AsyncIterator[Consumer]:
        queue = topology.subscriber_queue(name or uuid.uuid4().hex)
        async with self._consuming_channel() as channel:
            async with self._inward.answering(channel):
                await channel.queue_declare(
                    queue,
                    durable=name is not None,
                    exclusive=name is None,
                    auto_delete=name is None,
                    arguments={**CLASSIC, "x-single-active-consumer": True},
                )
                await channel.queue_bind(queue, topology.NOTIFICATIONS_FANOUT.name)
            updates = self._consumer(channel, [queue], SUBSCRIBER_PREFETCH)
            async with updates.running():
                yield updates

    @contextlib.asynccontextmanager
    async def browse(self, queue: str) -> AsyncIterator[Sequence[Delivery]]:
        async with self._consuming_channel() as channel:
            make = self._delivery_on(channel)
            yield await take_all(
                self._inward, channel, queue, lambda each: make(each, queue, _no_limit)
            )

    async def depths(self) -> dict[str, int]:
        return await self._count([queue.name for queue in topology.QUEUES])

    async def delayed(self) -> int:
        return sum((await self._count(retry_queues(self._retry_delays))).values())

    async def is_blank(self) -> bool:
        async with self._consuming_channel() as channel, self._inward.answering(channel):
            try:
                await channel.queue_declare(topology.MARKER.name, passive=True)
            except aiormq.ChannelNotFoundEntity:
                return True
        return False

    async def mark(self) -> None:
        async with self._consuming_channel() as channel, self._inward.answering(channel):
            await channel.queue_declare(topology.MARKER.name, durable=True, arguments=CLASSIC)

    async def _count(self, queues: Sequence[str]) -> dict[str, int]:
        """Count the messages that wait in each of these queues."""
        async with self._consuming_channel() as channel, self._inward.answering(channel):
            return {
                queue: (await channel.queue_declare(queue, passive=True)).message_count or 0
                for queue in queues
            }

    def _consumer(
        self, channel: aiormq.Channel, queues: Sequence[str], prefetch: int
    ) -> ChannelConsumer:
        return consumer(
            self._inward, channel, queues, self._delivery_on(channel), prefetch=prefetch
        )

    def _delivery_on(
        self, channel: aiormq.Channel
    ) -> Callable[[DeliveredMessage, str, Callable[[], None]], RabbitMQDelivery]:
        """Return what makes deliveries of the messages that arrive on a channel."""
        settlements = Settlements(self._inward, channel)

        def make(
            delivered: DeliveredMessage, queue: str, settled: Callable[[], None]
        ) -> RabbitMQDelivery:
            return RabbitMQDelivery(
                self.publish_one, settlements, delivered, queue=queue, settled=settled
            )

        return make

    async def _open_publisher(self) -> Publisher:
        """Return the publisher; where its channel is closed, open another and declare the topology.

        Raises `BrokerRefuses` where the topology is refused: nothing is published then, because a
        queue with other arguments may lose messages, and the outbox does not.
        """
        async with self._opening:
            if self._publisher is None or not self._outward.carries(self._publisher.channel):
                channel = await self._outward.publishing_channel()
                await self._declare(channel)
                self._publisher = Publisher(channel)
            return self._publisher

    async def _declare(self, channel: aiormq.Channel) -> None:
        async with self._outward.answering(channel):
            await declare(channel, self._retry_delays)

    @contextlib.asynccontextmanager
    async def _consuming_channel(self) -> AsyncIterator[aiormq.Channel]:
        channel = await self._inward.plain_channel()
        try:
            yield channel
        finally:
            with contextlib.suppress(BrokerUnavailable):
                async with self._inward.answering(channel):
                    await channel.close()


@contextlib.contextmanager
def _silence_explained(timeout: float) -> Iterator[None]:
    """Say what it may mean that RabbitMQ has not confirmed what was published."""
    try:
        yield
    except BrokerUnavailable as error:
        if not isinstance(error.__cause__, TimeoutError):
            raise
        raise BrokerUnavailable(
            f"RabbitMQ has confirmed nothing for {timeout:g} s; `rabbitmq-diagnostics alarms` tells"
            " whether it is short of memory or disk."
        ) from error


def _no_limit() -> None:
    """Count nothing: who takes all that a queue holds has no limit."""
