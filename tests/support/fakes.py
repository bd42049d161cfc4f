"""Fake the broker, consumers and deliveries, with failures on demand."""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta

from restaurant_system.errors import BrokerUnavailable
from restaurant_system.messaging import topology
from restaurant_system.messaging.broker import Broker, Consumer, Delivery, Refused
from restaurant_system.models.message import Message
from tests.support.waiting import lose_cancellations


class RecordingBroker(Broker):
    """Records what is published, call by call; unavailable, refusing or slow on demand."""

    name = "recording"

    def __init__(self) -> None:
        self.calls: list[list[Message]] = []
        self.unavailable = False
        self.refuses: list[Message] = []
        self.error: Exception | None = None
        self.tried = asyncio.Event()  # a call was made
        self.answers = asyncio.Event()
        self.answers.set()
        self.lost_cancellations = 0  # of each call, which returns only then

    @property
    def taken(self) -> list[Message]:
        """All published messages, in the order of publishing."""
        return [message for call in self.calls for message in call]

    async def connect(self) -> None:
        """Fail while the broker is unavailable."""
        await self._check_available()

    async def close(self) -> None:
        """Do nothing: this broker keeps no state to close or mark."""

    async def ping(self) -> float:
        """Fail while the broker is unavailable."""
        await self._check_available()
        return 1.0

    async def publish(self, messages: Sequence[Message]) -> list[Refused]:
        """Record the messages except those in `refuses`."""
        await self._check_available()
        refused = {message.message_id for message in self.refuses}
        self.calls.append([each for each in messages if each.message_id not in refused])
        return [Refused(each, "not today") for each in messages if each.message_id in refused]

    @contextlib.asynccontextmanager
    async def consume(self, queues: Sequence[str], *, prefetch: int) -> AsyncIterator[Consumer]:
        """Fail: published messages are only recorded."""
        raise NotImplementedError(f"This broker has no consumers: {prefetch} from {queues}.")
        yield

    @contextlib.asynccontextmanager
    async def subscribe(self, name: str | None = None) -> AsyncIterator[Consumer]:
        """Fail: published messages are only recorded."""
        raise NotImplementedError(f"This broker has no subscribers: {name}.")
        yield

    @contextlib.asynccontextmanager
    async def browse(
        self, queue: str, *, limit: int | None = None
    ) -> AsyncIterator[Sequence[Delivery]]:
        """Fail: there are no queues."""
        raise NotImplementedError(f"This broker has no queues: {limit} from {queue}.")
        yield

    async def depths(self) -> dict[str, int]:
        """Return 0 for each queue."""
        await self._check_available()
        return {queue.name: 0 for queue in topology.QUEUES}

    async def delayed(self) -> int:
        """Return 0 as the number of delayed messages."""
        await self._check_available()
        return 0

    async def is_blank(self) -> bool:
        """Return `False`: the fake broker counts as used before."""
        await self._check_available()
        return False

    async def mark(self) -> None:
        """Do nothing: this broker keeps no state to close or mark."""

    async def _check_available(self) -> None:
        self.tried.set()
        await self.answers.wait()
        await lose_cancellations(self.lost_cancellations)
        if self.unavailable:
            raise BrokerUnavailable("The broker is unavailable.")
        if self.error is not None:
            raise self.error


class FakeDelivery(Delivery):
    """A delivery that records how it was settled."""

    def __init__(self, message: Message, queue: str = "kitchen_queue") -> None:
        super().__init__(message, queue=queue, redelivered=False)
        self.settled: list[str] = []

    async def ack(self) -> None:
        """Record that the message was acknowledged."""
        self.settled.append("ack")

    async def requeue(self) -> None:
        """Record that the message was requeued."""
        self.settled.append("requeue")

    async def replace(self, successor: Message, delay: timedelta | None = None) -> None:
        """Record the message that replaces this delivery."""
        self.settled.append(f"publish {successor.message_id} after {delay}")


class FakeConsumer(Consumer):
    """Yields given deliveries, and loses its connection on demand."""

    def __init__(self, *deliveries: Delivery) -> None:
        self.stopped = False
        self.broken = False
        self._changed = asyncio.Event()
        self._deliveries = deque(deliveries)

    def cut(self) -> None:
        """Break the connection after the remaining deliveries."""
        self.broken = True
        self._changed.set()

    async def __aiter__(self) -> AsyncIterator[Delivery]:
        while not self.stopped:
            if self._deliveries:
                yield self._deliveries.popleft()
            elif self.broken:
                raise BrokerUnavailable("The connection was lost.")
            else:
                self._changed.clear()
                await self._changed.wait()

    async def stop(self) -> None:
        """Stop the consumer: it yields no more deliveries."""
        if self.broken:
            raise BrokerUnavailable("The connection was lost.")
        self.stopped = True
        self._changed.set()
