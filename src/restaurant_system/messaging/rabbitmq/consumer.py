"""Messages out of RabbitMQ, and what becomes of each."""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from datetime import timedelta
from functools import partial

import aiormq
from aiormq.abc import AbstractChannel, DeliveredMessage

from restaurant_system.config import DeliverySettings
from restaurant_system.errors import BrokerUnavailable, DeadLettersInHand
from restaurant_system.messaging.broker import Consumer, Delivery
from restaurant_system.messaging.limit import DeadLetterLimit
from restaurant_system.messaging.rabbitmq.line import RabbitMQLine
from restaurant_system.messaging.rabbitmq.settlements import Settlements
from restaurant_system.messaging.rabbitmq.wire import delayed, message_of, tag_of
from restaurant_system.models.message import Message

Publish = Callable[[Message], Awaitable[None]]

LARGEST_WHOLE_HAND = 64  # messages; above, a share of them from each queue
LONGEST_STREAM = 120.0  # s for all that is in a queue to arrive; a dead line is noticed before


class RabbitMQConsumer(Consumer):
    """Deliveries from several queues on one channel, with one limit for all of them together.

    RabbitMQ limits each queue's consumer by itself (a limit for the channel is deprecated in 4.x).
    A very large hand is divided among the queues. One that people look over is to be filled from
    whatever queue has something: the consumers are cancelled while it is full, and what arrived in
    between goes back, so that an idle cook gets it.
    """

    def __init__(
        self,
        publish: Publish,
        line: RabbitMQLine,
        channel: AbstractChannel,
        queues: Sequence[str],
        *,
        prefetch: int,
        settings: DeliverySettings,
        limit: DeadLetterLimit,
    ) -> None:
        self._publish = publish
        self._line = line
        self._channel = channel
        self._settlements = Settlements(line, channel)
        self._queues = queues
        self._prefetch = prefetch
        self._settings = settings
        self._limit = limit
        self._tags: list[str] = []
        self._waiting: asyncio.Queue[RabbitMQDelivery | BrokerUnavailable | None] = asyncio.Queue()
        self._surplus: deque[tuple[str, DeliveredMessage]] = deque()
        self._in_hand = 0
        self._stopped = False
        self._changed = asyncio.Event()
        self._turning = asyncio.Lock()  # held while consumers are started or cancelled

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        share, gated = _share(self._prefetch, len(self._queues))
        async with self._line.answering():
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
        async with self._line.answering():
            async with self._turning:
                await self._cancel()
            while not self._waiting.empty():
                arrived = self._waiting.get_nowait()
                if isinstance(arrived, RabbitMQDelivery):
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
                RabbitMQDelivery(
                    self._publish,
                    self._settlements,
                    delivered,
                    queue=queue,
                    settled=self.settled,
                    settings=self._settings,
                    limit=self._limit,
                )
            )

    async def _keep_gate(self) -> None:
        with contextlib.suppress(BrokerUnavailable):  # whoever iterates is told of the broken line
            while True:
                await self._changed.wait()
                self._changed.clear()
                async with self._turning, self._line.answering():
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
            await self._channel.basic_nack(tag_of(delivered), requeue=True)

    def _break(self, _cause: object) -> None:
        self._waiting.put_nowait(BrokerUnavailable("The line to RabbitMQ broke."))


class RabbitMQDelivery(Delivery):
    """A message in hand, on the channel that it came by."""

    def __init__(
        self,
        publish: Publish,
        settlements: Settlements,
        delivered: DeliveredMessage,
        *,
        queue: str,
        settled: Callable[[], None],
        settings: DeliverySettings,
        limit: DeadLetterLimit,
    ) -> None:
        super().__init__(
            message_of(delivered),
            queue=queue,
            redelivered=bool(delivered.redelivered),
            settings=settings,
            limit=limit,
        )
        self._publish = publish
        self._settlements = settlements
        self._settled = settled
        self._tag = tag_of(delivered)

    async def ack(self) -> None:
        try:
            await self._settlements.ack(self._tag)
        finally:
            self._settled()

    async def requeue(self) -> None:
        try:
            await self._settlements.requeue(self._tag)
        finally:
            self._settled()

    async def _publish_and_ack(self, successor: Message, delay: timedelta | None) -> None:
        if delay is not None:
            successor = delayed(successor, delay, back_to=self.queue)
        try:
            await self._publish(successor)
        except BrokerUnavailable:
            await self.requeue()
            raise
        await self.ack()


async def take_all(
    publish: Publish,
    line: RabbitMQLine,
    channel: AbstractChannel,
    *,
    queue: str,
    settings: DeliverySettings,
    limit: DeadLetterLimit,
) -> list[Delivery]:
    """Take what is in a queue now; it goes back when the channel closes.

    Until then the channel is the queue's only consumer: whoever comes second is turned away. What
    arrives later is delivered too, left alone, and goes back with the rest.
    """
    arrived: list[DeliveredMessage] = []

    async def on_message(delivered: DeliveredMessage) -> None:
        arrived.append(delivered)

    async with line.answering(LONGEST_STREAM):
        with _in_use_as_in_hand():
            await channel.basic_consume(queue, on_message, exclusive=True)
        while (await channel.queue_declare(queue, passive=True)).message_count:
            pass
        # That none waits any more may be told ahead of the last deliveries; what is asked after it
        # is answered behind them.
        await channel.queue_declare(queue, passive=True)
    settlements = Settlements(line, channel)
    return [
        RabbitMQDelivery(
            publish,
            settlements,
            each,
            queue=queue,
            settled=_no_limit,
            settings=settings,
            limit=limit,
        )
        for each in arrived
    ]


@contextlib.contextmanager
def _in_use_as_in_hand() -> Iterator[None]:
    """Raise `DeadLettersInHand` where a queue has its only consumer already."""
    try:
        yield
    except aiormq.ChannelAccessRefused as error:
        if "exclusive use" not in str(error):  # we are not allowed to read it
            raise
        raise DeadLettersInHand from error


def _no_limit() -> None:
    """Who takes all has a hand of any size."""


def _share(prefetch: int, queues: int) -> tuple[int, bool]:
    """Return how many each queue may deliver at once, and whether that could be too many."""
    if queues == 1:
        return prefetch, False
    if prefetch > LARGEST_WHOLE_HAND:
        return prefetch // queues, False
    return prefetch, True
