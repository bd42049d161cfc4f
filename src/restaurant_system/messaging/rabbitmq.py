"""The broker of production: RabbitMQ, 3.10 and later, by nothing that 4.x deprecates.

Nothing reconnects behind the scenes. A broken line is an error that the caller sees, and the next
call opens a new one; so nobody holds a delivery of a line that is gone and believes in it.
"""

import asyncio
import contextlib
import dataclasses
import time
import uuid
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial

import aiormq
from aiormq.abc import AbstractChannel, AbstractConnection, ArgumentsType, DeliveredMessage
from yarl import URL

from restaurant_system.config import DeliverySettings, RabbitMQSettings
from restaurant_system.errors import BrokerUnavailable
from restaurant_system.logger import get_logger
from restaurant_system.messaging import topology
from restaurant_system.messaging.broker import Broker, Consumer, Delivery, Refused
from restaurant_system.models.message import Message

log = get_logger()

PERSISTENT = 2
AWAY = (
    OSError,  # ConnectionError and TimeoutError among them
    aiormq.AMQPError,
    aiormq.ChannelInvalidStateError,
    asyncio.InvalidStateError,
)


@contextlib.contextmanager
def away_as_unavailable() -> Iterator[None]:
    """Raise `BrokerUnavailable` for every way in which the line can break."""
    try:
        yield
    except AWAY as error:
        reason = str(error) or type(error).__name__
        raise BrokerUnavailable(f"RabbitMQ does not answer: {reason}") from error


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
            await _declare(channel, self._delivery)

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
                await _declare(channel, self._delivery)
        return refused

    async def publish_one(self, message: Message) -> None:
        """Publish a message that must not be refused."""
        for refusal in await self.publish([message]):
            raise BrokerUnavailable(f"RabbitMQ refused a message: {refusal.reason}")

    @contextlib.asynccontextmanager
    async def consume(self, queues: Sequence[str], *, prefetch: int) -> AsyncIterator[Consumer]:
        async with self._consuming_channel() as channel:
            consumer = _Consumer(self, channel, queues, prefetch, self._delivery)
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
            consumer = _Consumer(self, channel, [queue], 100, self._delivery)
            async with consumer.running():
                yield consumer

    async def depths(self) -> dict[str, int]:
        async with self._consuming_channel() as channel:
            with away_as_unavailable():
                return {
                    queue.name: (
                        await channel.queue_declare(queue.name, passive=True)
                    ).message_count
                    or 0
                    for queue in topology.QUEUES
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
                await _declare(channel, self._delivery)
        return channel

    async def _open_connection(self) -> AbstractConnection:
        url = URL(self._settings.dsn()).update_query(heartbeat=self._settings.heartbeat)
        secure = url.scheme == "amqps"
        connection = await aiormq.connect(
            url, context=self._settings.tls.context() if secure else None
        )
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


class _Consumer(Consumer):
    """Deliveries from several queues on one channel, with one limit for all of them together.

    RabbitMQ limits each queue's consumer by itself (a limit for the channel is deprecated in 4.x).
    A large hand is divided among the queues. A small one (one order at a time from four queues)
    cannot be: then the consumers are cancelled while the hand is full, and what arrived in between
    goes back, so that an idle cook gets it.
    """

    def __init__(
        self,
        broker: RabbitMQBroker,
        channel: AbstractChannel,
        queues: Sequence[str],
        prefetch: int,
        settings: DeliverySettings,
    ) -> None:
        self._broker = broker
        self._channel = channel
        self._queues = queues
        self._prefetch = prefetch
        self._settings = settings
        self._tags: list[str] = []
        self._waiting: asyncio.Queue[_Delivery | BrokerUnavailable | None] = asyncio.Queue()
        self._surplus: deque[tuple[str, DeliveredMessage]] = deque()
        self._in_hand = 0
        self._stopped = False
        self._changed = asyncio.Event()
        self._turning = asyncio.Lock()  # held while consumers are started or cancelled

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        share, gated = _share(self._prefetch, len(self._queues))
        with away_as_unavailable():
            await self._channel.basic_qos(prefetch_count=share)
            await self._start()
        self._channel.closing.add_done_callback(self._break)
        self._channel.on_consumer_cancel_callbacks.add(self._break)
        gate: asyncio.Task[None] | None = None
        if gated:
            gate = asyncio.create_task(self._keep_gate())
        try:
            yield
        finally:
            if gate is not None:
                gate.cancel()

    def __aiter__(self) -> AsyncIterator[Delivery]:
        return self

    async def __anext__(self) -> Delivery:
        arrived = await self._waiting.get()
        if arrived is None:
            raise StopAsyncIteration
        if isinstance(arrived, BrokerUnavailable):
            raise arrived
        return arrived

    async def stop(self) -> None:
        if self._stopped:
            return
        self._stopped = True
        with away_as_unavailable():
            async with self._turning:
                await self._cancel()
            while not self._waiting.empty():
                arrived = self._waiting.get_nowait()
                if isinstance(arrived, _Delivery):
                    await arrived.requeue()
        self._waiting.put_nowait(None)

    def settled(self) -> None:
        self._in_hand -= 1
        self._fill_hand()
        self._changed.set()

    async def _on_message(self, queue: str, delivered: DeliveredMessage) -> None:
        self._surplus.append((queue, delivered))
        self._fill_hand()
        self._changed.set()

    def _fill_hand(self) -> None:
        while self._surplus and self._in_hand < self._prefetch and not self._stopped:
            queue, delivered = self._surplus.popleft()
            self._in_hand += 1
            self._waiting.put_nowait(
                _Delivery(self._broker, self, delivered, queue=queue, settings=self._settings)
            )

    async def _keep_gate(self) -> None:
        with contextlib.suppress(*AWAY):  # the broken line is told to whoever iterates
            while True:
                await self._changed.wait()
                self._changed.clear()
                async with self._turning:
                    if self._in_hand >= self._prefetch:
                        await self._cancel()
                    elif not self._tags and not self._stopped:
                        await self._start()

    async def _start(self) -> None:
        for queue in self._queues:
            started = await self._channel.basic_consume(queue, partial(self._on_message, queue))
            self._tags.append(str(started.consumer_tag))

    async def _cancel(self) -> None:
        """Stop deliveries, then give back the surplus: before, it would come straight back."""
        tags, self._tags = self._tags, []
        for tag in tags:
            await self._channel.basic_cancel(tag)
        while self._surplus:
            _, delivered = self._surplus.popleft()
            await self._channel.basic_nack(_tag(delivered), requeue=True)

    def _break(self, _cause: object) -> None:
        self._waiting.put_nowait(BrokerUnavailable("The line to RabbitMQ broke."))


class _Delivery(Delivery):
    def __init__(
        self,
        broker: RabbitMQBroker,
        consumer: _Consumer,
        delivered: DeliveredMessage,
        *,
        queue: str,
        settings: DeliverySettings,
    ) -> None:
        super().__init__(
            _message(delivered),
            queue=queue,
            redelivered=bool(delivered.redelivered),
            settings=settings,
        )
        self._broker = broker
        self._consumer = consumer
        self._channel = delivered.channel
        self._tag = _tag(delivered)

    async def ack(self) -> None:
        with self._settling():
            await self._channel.basic_ack(self._tag)

    async def requeue(self) -> None:
        with self._settling():
            await self._channel.basic_nack(self._tag, requeue=True)

    async def _publish_and_ack(self, successor: Message, delay: timedelta | None) -> None:
        if delay is not None:
            successor = _delayed(successor, delay, back_to=self.queue)
        try:
            await self._broker.publish_one(successor)
        except BrokerUnavailable:
            await self.requeue()
            raise
        await self.ack()

    @contextlib.contextmanager
    def _settling(self) -> Iterator[None]:
        try:
            with away_as_unavailable():
                yield
        finally:
            self._consumer.settled()


async def _publish(channel: AbstractChannel, message: Message) -> str | None:
    """Publish one message; return why the broker refused it, `None` once it is confirmed."""
    try:
        await channel.basic_publish(
            message.body,
            exchange=message.exchange,
            routing_key=message.routing_key,
            properties=_properties(message),
            mandatory=topology.exchange(message.exchange).mandatory,
        )
    except aiormq.PublishError:
        return f"no queue takes {message.routing_key!r} from {message.exchange}"
    except aiormq.DeliveryError:
        return "the broker answered with a nack"
    return None


async def _declare(channel: AbstractChannel, settings: DeliverySettings) -> None:
    """Declare the topology; what is there already stays as it is."""
    for exchange in topology.EXCHANGES:
        arguments: ArgumentsType = {}
        if exchange.alternate is not None:
            arguments["alternate-exchange"] = exchange.alternate
        await channel.exchange_declare(
            exchange.name, exchange_type=exchange.kind, durable=True, arguments=arguments
        )
    for queue in topology.QUEUES:
        arguments = {}
        if queue.max_priority is not None:
            arguments["x-max-priority"] = queue.max_priority
        if queue.dead_letter_exchange is not None:
            arguments["x-dead-letter-exchange"] = queue.dead_letter_exchange
        await channel.queue_declare(queue.name, durable=True, arguments=arguments)
    for binding in topology.BINDINGS:
        await channel.queue_bind(binding.queue, binding.exchange, binding.pattern)
    for delay in settings.retry_delays:
        await _declare_retry_queue(channel, _milliseconds(timedelta(seconds=delay)))


async def _declare_retry_queue(channel: AbstractChannel, delay_ms: int) -> None:
    """Declare a queue that nobody consumes, in which messages wait out one delay.

    Then each goes, through the default exchange, to the queue that its routing key names.
    """
    name = topology.retry_queue(delay_ms)
    arguments: ArgumentsType = {"x-message-ttl": delay_ms, "x-dead-letter-exchange": ""}
    await channel.queue_declare(name, durable=True, arguments=arguments)
    await channel.queue_bind(
        name,
        topology.DELIVERY_RETRY.name,
        arguments={"x-match": "all", topology.RETRY_DELAY: delay_ms},
    )


def _share(prefetch: int, queues: int) -> tuple[int, bool]:
    """Return how many each queue may deliver at once, and whether that could be too many."""
    if queues == 1:
        return prefetch, False
    if prefetch >= 2 * queues:
        return prefetch // queues, False
    return prefetch, True


def _delayed(message: Message, delay: timedelta, *, back_to: str) -> Message:
    return dataclasses.replace(
        message,
        exchange=topology.DELIVERY_RETRY.name,
        routing_key=back_to,
        headers={**message.headers, topology.RETRY_DELAY: _milliseconds(delay)},
    )


def _milliseconds(duration: timedelta) -> int:
    return round(duration.total_seconds() * 1000)


def _properties(message: Message) -> aiormq.spec.Basic.Properties:
    return aiormq.spec.Basic.Properties(
        content_type=message.content_type,
        delivery_mode=PERSISTENT,
        message_id=str(message.message_id),
        correlation_id=message.correlation_id,
        timestamp=message.timestamp,
        message_type=message.type,
        app_id=message.app_id,
        priority=message.priority,
        headers=dict(message.headers),
    )


def _message(delivered: DeliveredMessage) -> Message:
    """Read a message, forgiving one that was not published by us what it leaves out."""
    properties = delivered.header.properties
    headers = properties.headers or {}
    return Message(
        exchange=delivered.exchange or "",
        routing_key=delivered.routing_key or "",
        type=properties.message_type or "",
        body=delivered.body,
        message_id=_uuid(properties.message_id, delivered.body),
        correlation_id=properties.correlation_id or "",
        app_id=properties.app_id or "",
        timestamp=properties.timestamp or datetime.now(UTC),
        priority=properties.priority or 0,
        content_type=properties.content_type or "",
        headers={key: value for key, value in headers.items() if isinstance(value, str | int)},
    )


def _uuid(message_id: str | None, body: bytes) -> uuid.UUID:
    """Return the message's id; for a foreign one, an id that stays the same at every redelivery."""
    try:
        return uuid.UUID(message_id)
    except (ValueError, TypeError, AttributeError):
        return uuid.uuid5(uuid.NAMESPACE_OID, message_id or body.hex())


def _tag(delivered: DeliveredMessage) -> int:
    tag = delivered.delivery_tag
    assert tag is not None  # noqa: S101 - what a consumer is handed always has one
    return tag
