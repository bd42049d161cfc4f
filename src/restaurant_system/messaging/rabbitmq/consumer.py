"""Consumers of RabbitMQ's queues: of one queue, or of several in one order of precedence."""

import asyncio
import contextlib
from abc import abstractmethod
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial

from aiormq.abc import AbstractChannel, DeliveredMessage

from restaurant_system.errors import BrokerUnavailable
from restaurant_system.messaging.broker import Consumer, Delivery
from restaurant_system.messaging.rabbitmq.connection import RabbitMQConnection
from restaurant_system.messaging.rabbitmq.delivery import RabbitMQDelivery
from restaurant_system.messaging.rabbitmq.message_format import precedence, tag_of

CHOSEN_TOGETHER = 64  # messages that are fetched before the first of them is handed on, at most

MakeDelivery = Callable[[DeliveredMessage, str, Callable[[], None]], RabbitMQDelivery]


class ChannelConsumer(Consumer):
    """Consumes on one channel; the iteration ends with an error when that closes."""

    def __init__(
        self,
        line: RabbitMQConnection,
        channel: AbstractChannel,
        queues: Sequence[str],
        make_delivery: MakeDelivery,
        *,
        prefetch: int,
    ) -> None:
        self._line = line
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
            await self._give_back(self._ready.popleft()[1])

    @abstractmethod
    async def _open(self) -> None:
        """Prepare the channel."""

    async def _fetch(self) -> None:
        """Make messages ready, if any wait; if none does, `_changed` is set when one arrives.

        Raises `BrokerUnavailable`.
        """

    async def _close(self) -> None:
        """Take no more messages; those that are not ready yet go back to their queues."""
        await self._cancel_consumers()

    def _settled(self) -> None:
        """Note that a message was settled."""

    async def _limit_each_consumer(self, prefetch: int) -> None:
        """Set how many unsettled messages each consumer that is opened from now on may have."""
        async with self._line.answering(self._channel):
            await self._channel.basic_qos(prefetch_count=prefetch)

    async def _give_back(self, delivered: DeliveredMessage) -> None:
        async with self._line.answering(self._channel):
            await self._channel.basic_nack(tag_of(delivered), requeue=True)

    async def _consume(self, queue: str) -> None:
        async with self._line.answering(self._channel):
            started = await self._channel.basic_consume(queue, partial(self._on_message, queue))
        self._tags.append(str(started.consumer_tag))

    @abstractmethod
    async def _on_message(self, queue: str, delivered: DeliveredMessage) -> None:
        """Accept a message that RabbitMQ has pushed."""

    async def _cancel_consumers(self) -> None:
        while self._tags:
            async with self._line.answering(self._channel):
                await self._channel.basic_cancel(self._tags.pop())

    def _break(self, _cause: object) -> None:
        self._broken = True
        self._changed.set()


class PushConsumer(ChannelConsumer):
    """Takes the messages of one queue as RabbitMQ pushes them."""

    async def _open(self) -> None:
        await self._limit_each_consumer(self._prefetch)
        (queue,) = self._queues
        await self._consume(queue)

    async def _on_message(self, queue: str, delivered: DeliveredMessage) -> None:
        self._ready.append((queue, delivered))
        self._changed.set()


class MergingConsumer(ChannelConsumer):
    """Takes, from several queues, the most urgent message first, of equals the oldest.

    RabbitMQ orders each queue by itself. So while messages wait, the first one of every queue is
    fetched, those that take precedence are kept, as many as there is room for, and the others go
    back to their places, where any other consumer finds them.

    Once all queues are empty, consumers are opened, and what they are pushed is taken as it comes;
    they are cancelled as soon as there is no more room.
    """

    def __init__(
        self,
        line: RabbitMQConnection,
        channel: AbstractChannel,
        queues: Sequence[str],
        make_delivery: MakeDelivery,
        *,
        prefetch: int,
    ) -> None:
        super().__init__(line, channel, queues, make_delivery, prefetch=prefetch)
        self._unsettled = 0
        self._first: dict[str, DeliveredMessage] = {}  # of each queue, while choosing
        self._pushed: list[tuple[str, DeliveredMessage]] = []  # by RabbitMQ, and not taken yet
        self._fetching = asyncio.Lock()

    @property
    def _room(self) -> int:
        return self._prefetch - self._unsettled

    async def _open(self) -> None:
        """Leave the queues alone until the first message is asked for."""

    async def _fetch(self) -> None:
        async with self._fetching:
            if self._stopped:
                return
            if self._room <= 0:
                await self._cancel_consumers()
            elif self._pushed:
                self._take_pushed()
            elif not self._tags:
                await self._choose()
                if not self._ready:
                    await self._open_consumers()

    async def _open_consumers(self) -> None:
        await self._limit_each_consumer(self._room)
        for queue in self._queues:
            await self._consume(queue)

    async def _cancel_consumers(self) -> None:
        await super()._cancel_consumers()
        while self._pushed:
            await self._give_back(self._pushed.pop()[1])

    async def _on_message(self, queue: str, delivered: DeliveredMessage) -> None:
        self._pushed.append((queue, delivered))
        self._changed.set()

    def _take_pushed(self) -> None:
        """Make ready what takes precedence of what was pushed, as far as there is room."""
        self._pushed.sort(key=lambda pushed: precedence(pushed[1]), reverse=True)
        while self._pushed and self._room > 0:
            self._take(*self._pushed.pop())

    def _take(self, queue: str, delivered: DeliveredMessage) -> None:
        self._unsettled += 1
        self._ready.append((queue, delivered))

    async def _choose(self) -> None:
        """Make ready what takes precedence; give back the rest."""
        not_empty = set(self._queues)
        room = min(self._room, CHOSEN_TOGETHER)
        while len(self._ready) < room:
            for queue in sorted(not_empty - self._first.keys()):
                if not await self._get_first(queue):
                    not_empty.discard(queue)
            if not self._first:
                return
            best = min(self._first, key=lambda queue: precedence(self._first[queue]))
            self._take(best, self._first.pop(best))
        while self._first:
            await self._give_back(self._first.popitem()[1])

    async def _get_first(self, queue: str) -> bool:
        """Get the first message of a queue; return whether there was one."""
        async with self._line.answering(self._channel):
            got = await self._channel.basic_get(queue)
        if got.delivery_tag is None:
            return False
        self._first[queue] = got
        return True

    async def _close(self) -> None:
        async with self._fetching:
            await super()._close()

    def _settled(self) -> None:
        self._unsettled -= 1
        self._changed.set()


def consumer(
    line: RabbitMQConnection,
    channel: AbstractChannel,
    queues: Sequence[str],
    make_delivery: MakeDelivery,
    *,
    prefetch: int,
) -> ChannelConsumer:
    """Return a consumer that holds at most `prefetch` unsettled messages over all its queues.

    RabbitMQ limits each queue's consumer by itself; a limit for the channel is deprecated in 4.x.
    """
    kind = PushConsumer if len(queues) == 1 else MergingConsumer
    return kind(line, channel, queues, make_delivery, prefetch=prefetch)
