"""The lines to RabbitMQ: one connection, one channel for all that is published."""

import asyncio
import contextlib
import time
import uuid
from collections.abc import AsyncIterator, Sequence

import aiormq
from aiormq.abc import AbstractChannel, AbstractConnection
from yarl import URL

from restaurant_system.config import DeliverySettings, RabbitMQSettings
from restaurant_system.errors import BrokerUnavailable
from restaurant_system.logger import get_logger
from restaurant_system.messaging import topology
from restaurant_system.messaging.broker import Broker, Consumer, Refused
from restaurant_system.messaging.rabbitmq.consumer import RabbitMQConsumer
from restaurant_system.messaging.rabbitmq.declaration import declare, retry_queues
from restaurant_system.messaging.rabbitmq.line import (
    AWAY,
    away_as_unavailable,
    hung_up_as_unavailable,
)
from restaurant_system.messaging.rabbitmq.wire import properties_of
from restaurant_system.models.message import Message

log = get_logger()

SUBSCRIBER_PREFETCH = 100


class RabbitMQBroker(Broker):
    """See `Broker` for what is promised. One connection, one channel for all that is published."""

    name = "rabbitmq"

    def __init__(self, settings: RabbitMQSettings, delivery: DeliverySettings) -> None:
        self._settings = settings
        self._delivery = delivery
        self._connection: AbstractConnection | None = None
        self._channel: AbstractChannel | None = None
        self._opening = asyncio.Lock()

    async def connect(self) -> None:
        channel = await self._publishing_channel()
        with away_as_unavailable():
            await declare(channel, self._delivery)

    async def close(self) -> None:
        connection, self._connection, self._channel = self._connection, None, None
        if connection is not None:
            with contextlib.suppress(*AWAY):
                async with asyncio.timeout(3):
                    await connection.close()

    async def ping(self) -> float:
        start = time.perf_counter()
        channel = await self._publishing_channel()
        with away_as_unavailable():
            async with asyncio.timeout(self._settings.connect_timeout):
                await channel.exchange_declare(topology.ORDERS_TOPIC.name, passive=True)
        return (time.perf_counter() - start) * 1000

    async def publish(self, messages: Sequence[Message]) -> list[Refused]:
        channel = await self._publishing_channel()
        with away_as_unavailable():
            async with asyncio.timeout(self._settings.confirm_timeout):
                reasons = await asyncio.gather(*(_publish(channel, each) for each in messages))
        refused = [
            Refused(message, reason)
            for message, reason in zip(messages, reasons, strict=True)
            if reason is not None
        ]
        if refused:  # somebody may have deleted a queue: declare it again for the next try
            with away_as_unavailable():
                await declare(channel, self._delivery)
        return refused

    async def publish_one(self, message: Message) -> None:
        """Publish a message that must not be refused."""
        for refusal in await self.publish([message]):
            raise BrokerUnavailable(f"RabbitMQ refused a message: {refusal.reason}")

    @contextlib.asynccontextmanager
    async def consume(self, queues: Sequence[str], *, prefetch: int) -> AsyncIterator[Consumer]:
        async with self._consuming_channel() as channel:
            consumer = RabbitMQConsumer(self.publish_one, channel, queues, prefetch, self._delivery)
            async with consumer.running():
                yield consumer

    @contextlib.asynccontextmanager
    async def subscribe(self, name: str | None = None) -> AsyncIterator[Consumer]:
        queue = topology.subscriber_queue(name or uuid.uuid4().hex)
        async with self._consuming_channel() as channel:
            with away_as_unavailable():
                await channel.queue_declare(
                    queue,
                    durable=name is not None,
                    exclusive=name is None,
                    auto_delete=name is None,
                )
                await channel.queue_bind(queue, topology.NOTIFICATIONS_FANOUT.name)
            consumer = RabbitMQConsumer(
                self.publish_one, channel, [queue], SUBSCRIBER_PREFETCH, self._delivery
            )
            async with consumer.running():
                yield consumer

    async def depths(self) -> dict[str, int]:
        return await self._count([queue.name for queue in topology.QUEUES])

    async def delayed(self) -> int:
        return sum((await self._count(retry_queues(self._delivery))).values())

    async def is_blank(self) -> bool:
        async with self._consuming_channel() as channel:
            with away_as_unavailable():
                try:
                    await channel.queue_declare(topology.MARKER.name, passive=True)
                except aiormq.ChannelNotFoundEntity:
                    return True
        return False

    async def mark(self) -> None:
        async with self._consuming_channel() as channel:
            with away_as_unavailable():
                await channel.queue_declare(topology.MARKER.name, durable=True)

    async def _count(self, queues: Sequence[str]) -> dict[str, int]:
        """Count the messages that wait in each of these queues."""
        async with self._consuming_channel() as channel:
            with away_as_unavailable():
                return {
                    queue: (await channel.queue_declare(queue, passive=True)).message_count or 0
                    for queue in queues
                }

    async def _publishing_channel(self) -> AbstractChannel:
        async with self._opening:
            if self._channel is None or self._channel.is_closed:
                self._channel = await self._open_channel()
            return self._channel

    async def _open_channel(self) -> AbstractChannel:
        """Open the channel that publishes, with the connection and the topology under it."""
        with away_as_unavailable():
            async with asyncio.timeout(self._settings.connect_timeout):
                if self._connection is None or self._connection.is_closed:
                    self._connection = await self._open_connection()
                channel = await self._connection.channel(on_return_raises=True)
                await declare(channel, self._delivery)
        return channel

    async def _open_connection(self) -> AbstractConnection:
        url = URL(self._settings.dsn()).update_query(heartbeat=self._settings.heartbeat)
        encrypted = self._settings.encrypted
        context = self._settings.tls.context() if encrypted else None
        with hung_up_as_unavailable(encrypted=encrypted):
            connection = await aiormq.connect(url, context=context)
        log.info("rabbitmq_connected", message="Connected to RabbitMQ.")
        return connection

    @contextlib.asynccontextmanager
    async def _consuming_channel(self) -> AsyncIterator[AbstractChannel]:
        await self._publishing_channel()
        assert self._connection is not None  # noqa: S101 - the publishing channel stands on it
        with away_as_unavailable():
            channel = await self._connection.channel(publisher_confirms=False)
        try:
            yield channel
        finally:
            with contextlib.suppress(*AWAY):
                await channel.close()


async def _publish(channel: AbstractChannel, message: Message) -> str | None:
    """Publish one message; return why the broker refused it, `None` once it is confirmed."""
    try:
        await channel.basic_publish(
            message.body,
            exchange=message.exchange,
            routing_key=message.routing_key,
            properties=properties_of(message),
            mandatory=topology.exchange(message.exchange).mandatory,
        )
    except aiormq.PublishError:
        return f"no queue takes {message.routing_key!r} from {message.exchange}"
    except aiormq.DeliveryError:
        return "the broker answered with a nack"
    except (TypeError, ValueError) as error:  # AMQP cannot express it, or it goes nowhere we know
        return str(error)
    return None
