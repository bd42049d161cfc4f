"""Consume one queue of RabbitMQ, or several as one."""

import asyncio
import contextlib
from abc import abstractmethod
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from functools import partial

import aiormq
from aiormq.abc import AbstractChannel, DeliveredMessage

from restaurant_system.errors import BrokerUnavailable, DeadLettersLocked
from restaurant_system.messaging import topology
from restaurant_system.messaging.broker import Consumer, Delivery
from restaurant_system.messaging.rabbitmq.connection import RabbitMQConnection
from restaurant_system.messaging.rabbitmq.declaration import CLASSIC
from restaurant_system.messaging.rabbitmq.delivery import RabbitMQDelivery
from restaurant_system.messaging.rabbitmq.message_format import tag_of

MAX_FETCH = 64  # messages that are fetched at once
BROWSE_TIMEOUT = 120.0  # s for all messages of a queue to arrive

MakeDelivery = Callable[[DeliveredMessage, str, Callable[[], None]], RabbitMQDelivery]


class ChannelConsumer(Consumer):
    """Consumes on one channel; the iteration raises `BrokerUnavailable` when the channel closes."""

    def __init__(
        self,
        connection: RabbitMQConnection,
        channel: AbstractChannel,
        queues: Sequence[str],
        make_delivery: MakeDelivery,
        *,
        prefetch: int,
    ) -> None:
        self._connection = connection
        self._channel = channel
        self._queues = queues
        self._prefetch = prefetch
        self._make_delivery = make_delivery
        self._ready: deque[tuple[str, DeliveredMessage]] = deque()
        self._tags: list[str] = []
        self._stopped = False
        self._broken = False
        self._changed = asyncio.Event()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        await self._open()
        self._channel.closing.add_done_callback(self._break)
        self._channel.on_consumer_cancel_callbacks.add(self._break)
        yield

    def __aiter__(self) -> AsyncIterator[Delivery]:
        return self

    async def __anext__(self) -> Delivery:
        while True:
            self._changed.clear()
            if not (self._ready or self._stopped or self._broken):
                await self._fetch()
            if self._stopped:
                raise StopAsyncIteration
            if self._broken:
                raise BrokerUnavailable("The connection to RabbitMQ was closed.")
            if self._ready:
                queue, delivered = self._ready.popleft()
                return self._make_delivery(delivered, queue, self._settled)
            await self._changed.wait()

    async def stop(self) -> None:
        if self._stopped:
            return
        self._stopped = True
        self._changed.set()
        await self._close()
        while self._ready:
            await self._requeue(self._ready.popleft()[1])

    @abstractmethod
    async def _open(self) -> None:
        """Prepare the channel."""

    async def _fetch(self) -> None:
        """Move available messages to `_ready`; if there are none, set `_changed` when one arrives.

        Raises `BrokerUnavailable`.
        """

    async def _close(self) -> None:
        """Stop consuming, and requeue messages that are not in `_ready`."""
        await self._cancel_consumers()

    def _settled(self) -> None:
        """Count a message as settled."""

    async def _set_prefetch(self, prefetch: int) -> None:
        """Limit the unacknowledged messages of each consumer that is opened from now on."""
        async with self._connection.timeout(self._channel):
            await self._channel.basic_qos(prefetch_count=prefetch)

    async def _requeue(self, delivered: DeliveredMessage) -> None:
        async with self._connection.timeout(self._channel):
            await self._channel.basic_nack(tag_of(delivered), requeue=True)

    async def _consume(self, queue: str) -> None:
        async with self._connection.timeout(self._channel):
            started = await self._channel.basic_consume(queue, partial(self._on_message, queue))
        self._tags.append(str(started.consumer_tag))

    @abstractmethod
    async def _on_message(self, queue: str, delivered: DeliveredMessage) -> None:
        """Receive a message from a consumer of the channel."""

    async def _cancel_consumers(self) -> None:
        while self._tags:
            async with self._connection.timeout(self._channel):
                await self._channel.basic_cancel(self._tags.pop())

    def _break(self, _cause: object) -> None:
        self._broken = True
        self._changed.set()


class PushConsumer(ChannelConsumer):
    """Consumes one queue in the order in which RabbitMQ delivers."""

    async def _open(self) -> None:
        await self._set_prefetch(self._prefetch)
        (queue,) = self._queues
        await self._consume(queue)

    async def _on_message(self, queue: str, delivered: DeliveredMessage) -> None:
        self._ready.append((queue, delivered))
        self._changed.set()


class MergingConsumer(ChannelConsumer):
    """Consumes several queues as one, in turns.

    While messages are available, they are fetched with ``basic.get``, one of each queue at a time,
    up to the prefetch limit: a consumer of each queue would receive more than the limit, and what
    is too much would have to be requeued.

    When all queues are empty, consumers are opened, and their messages are delivered as they
    arrive. The consumers are cancelled when the prefetch limit is reached.
    """

    def __init__(
        self,
        connection: RabbitMQConnection,
        channel: AbstractChannel,
        queues: Sequence[str],
        make_delivery: MakeDelivery,
        *,
        prefetch: int,
    ) -> None:
        super().__init__(connection, channel, queues, make_delivery, prefetch=prefetch)
        self._unacked_count = 0
        self._turns = deque(queues)
        self._pushed: deque[tuple[str, DeliveredMessage]] = deque()  # received, and not ready yet
        self._fetching = asyncio.Lock()

    @property
    def _capacity(self) -> int:
        return self._prefetch - self._unacked_count

    async def _open(self) -> None:
        """Do nothing: the first iteration fetches messages."""

    async def _fetch(self) -> None:
        async with self._fetching:
            if self._stopped:
                return
            if self._capacity <= 0:
                await self._cancel_consumers()
            elif self._pushed:
                while self._pushed and self._capacity > 0:
                    self._make_ready(*self._pushed.popleft())
            elif not self._tags:
                await self._get_available()
                if not self._ready:
                    await self._open_consumers()

    async def _open_consumers(self) -> None:
        await self._set_prefetch(self._capacity)
        for queue in self._queues:
            await self._consume(queue)

    async def _cancel_consumers(self) -> None:
        await super()._cancel_consumers()
        while self._pushed:
            await self._requeue(self._pushed.popleft()[1])

    async def _on_message(self, queue: str, delivered: DeliveredMessage) -> None:
        self._pushed.append((queue, delivered))
        self._changed.set()

    def _make_ready(self, queue: str, delivered: DeliveredMessage) -> None:
        self._unacked_count += 1
        self._ready.append((queue, delivered))

    async def _get_available(self) -> None:
        """Get messages with ``basic.get`` until all queues are empty or the limit is reached."""
        limit = min(self._capacity, MAX_FETCH)
        empty_in_a_row = 0
        while len(self._ready) < limit and empty_in_a_row < len(self._turns):
            queue = self._turns[0]
            self._turns.rotate(-1)
            async with self._connection.timeout(self._channel):
                got = await self._channel.basic_get(queue)
            if got.delivery_tag is None:
                empty_in_a_row += 1
            else:
                empty_in_a_row = 0
                self._make_ready(queue, got)

    async def _close(self) -> None:
        async with self._fetching:
            await super()._close()

    def _settled(self) -> None:
        self._unacked_count -= 1
        self._changed.set()


def make_consumer(
    connection: RabbitMQConnection,
    channel: AbstractChannel,
    queues: Sequence[str],
    make_delivery: MakeDelivery,
    *,
    prefetch: int,
) -> ChannelConsumer:
    """Return a consumer with at most `prefetch` unacknowledged messages of all its queues.

    RabbitMQ limits each queue's consumer separately; a limit per channel is deprecated in 4.x.
    """
    kind = PushConsumer if len(queues) == 1 else MergingConsumer
    return kind(connection, channel, queues, make_delivery, prefetch=prefetch)


async def receive_all(
    connection: RabbitMQConnection, channel: AbstractChannel, queue: str, limit: int | None
) -> list[DeliveredMessage]:
    """Receive all messages that are in a queue now, or the first `limit`.

    They are requeued when the channel closes.

    Until then the channel is the queue's exclusive consumer: a second one gets `DeadLettersLocked`.
    Messages that are published meanwhile may be received too; they are requeued with the others.
    """
    received: list[DeliveredMessage] = []

    async def on_message(delivered: DeliveredMessage) -> None:
        received.append(delivered)

    async with connection.timeout(channel, BROWSE_TIMEOUT):
        if limit is not None:
            await channel.basic_qos(prefetch_count=limit)
        with _translate_exclusive_use():
            await channel.basic_consume(queue, on_message, exclusive=True)
        while (await channel.queue_declare(queue, passive=True)).message_count:
            if len(received) == limit:
                break
        # RabbitMQ may report an empty queue before its last deliveries have arrived; the response
        # to a later request comes after them.
        await channel.queue_declare(queue, passive=True)
    return list(received)


async def get_all(
    connection: RabbitMQConnection, channel: AbstractChannel, queue: str, limit: int | None
) -> list[DeliveredMessage]:
    """Get all messages that are in a quorum queue now, or the first `limit`.

    They are requeued when the channel closes.

    Until then the channel is the only consumer of a queue that is exclusive to its connection: a
    second one gets `DeadLettersLocked`. (A quorum queue ignores that a consumer is exclusive, and
    delivers at most 2,000 messages to one without a prefetch limit.)
    """
    received: list[DeliveredMessage] = []
    async with connection.timeout(channel, BROWSE_TIMEOUT):
        await _lock(channel, topology.lock_queue(queue))
        while limit is None or len(received) < limit:
            got = await channel.basic_get(queue)
            if got.delivery_tag is None:
                break
            received.append(got)
    return received


async def _lock(channel: AbstractChannel, name: str) -> None:
    """Consume exclusively from a queue of the connection, which is deleted with the channel."""
    with _translate_exclusive_use():
        await channel.queue_declare(name, exclusive=True, auto_delete=True, arguments=CLASSIC)
        await channel.basic_consume(name, _ignore, exclusive=True)


async def _ignore(_: DeliveredMessage) -> None:
    """Do nothing: a lock has no messages."""


@contextlib.contextmanager
def _translate_exclusive_use() -> Iterator[None]:
    try:
        yield
    except aiormq.ChannelLockedResource as error:
        raise DeadLettersLocked from error
    except aiormq.ChannelAccessRefused as error:
        if "exclusive use" not in str(error):  # the user has no permission to read the queue
            raise
        raise DeadLettersLocked from error
