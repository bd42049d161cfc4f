"""Brokers and lines that fail exactly when a test wants them to."""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta

from restaurant_system.errors import BrokerUnavailable
from restaurant_system.messaging import topology
from restaurant_system.messaging.broker import Broker, Consumer, Delivery, Refused
from restaurant_system.models.message import Message


class RecordingBroker(Broker):
    """Remembers what it has taken, call by call; away, choosy or slow when it is told to be."""

    name = "recording"

    def __init__(self) -> None:
        self.calls: list[list[Message]] = []
        self.away = False
        self.refuses: list[Message] = []
        self.error: Exception | None = None
        self.tried = asyncio.Event()  # somebody has tried to reach it
        self.answers = asyncio.Event()
        self.answers.set()

    @property
    def taken(self) -> list[Message]:
        """What it has taken, in this order."""
        return [message for call in self.calls for message in call]

    async def connect(self) -> None:
        """Fail if it is away."""
        await self._reach()

    async def close(self) -> None:
        """Do nothing."""

    async def ping(self) -> float:
        """Fail if it is away."""
        await self._reach()
        return 1.0

    async def publish(self, messages: Sequence[Message]) -> list[Refused]:
        """Take what it does not refuse."""
        await self._reach()
        refused = {message.message_id for message in self.refuses}
        self.calls.append([each for each in messages if each.message_id not in refused])
        return [Refused(each, "not today") for each in messages if each.message_id in refused]

    @contextlib.asynccontextmanager
    async def consume(self, queues: Sequence[str], *, prefetch: int) -> AsyncIterator[Consumer]:
        """Fail: what it has taken is for the test to look at, and for nobody to consume."""
        raise NotImplementedError(f"Nobody consumes here: {prefetch} from {queues}.")
        yield

    @contextlib.asynccontextmanager
    async def subscribe(self, name: str | None = None) -> AsyncIterator[Consumer]:
        """Fail likewise."""
        raise NotImplementedError(f"Nobody subscribes here: {name}.")
        yield

    @contextlib.asynccontextmanager
    async def browse(self, queue: str) -> AsyncIterator[Sequence[Delivery]]:
        """Fail likewise: it has no queues."""
        raise NotImplementedError(f"Nobody browses here: {queue}.")
        yield

    async def depths(self) -> dict[str, int]:
        """Have nothing in any queue: what it has taken is for the test."""
        await self._reach()
        return {queue.name: 0 for queue in topology.QUEUES}

    async def delayed(self) -> int:
        """Put nothing off."""
        await self._reach()
        return 0

    async def is_blank(self) -> bool:
        """Have been there before."""
        await self._reach()
        return False

    async def mark(self) -> None:
        """Need no mark."""

    async def _reach(self) -> None:
        self.tried.set()
        await self.answers.wait()
        if self.away:
            raise BrokerUnavailable("The broker is away.")
        if self.error is not None:
            raise self.error


class FakeDelivery(Delivery):
    """A delivery that remembers how it was settled."""

    def __init__(self, message: Message) -> None:
        super().__init__(message, queue="fake", redelivered=False)
        self.settled: list[str] = []

    async def ack(self) -> None:
        """Be done."""
        self.settled.append("ack")

    async def requeue(self) -> None:
        """Go back."""
        self.settled.append("requeue")

    async def replace(self, successor: Message, delay: timedelta | None = None) -> None:
        """Record the successor."""
        self.settled.append(f"publish {successor.message_id} after {delay}")


class FakeConsumer(Consumer):
    """A line that hands out what a test puts on it, and breaks when the test wants it to."""

    def __init__(self, *deliveries: Delivery) -> None:
        self.stopped = False
        self.broken = False
        self._changed = asyncio.Event()
        self._deliveries = deque(deliveries)

    def cut(self) -> None:
        """Break, after what was put on the line before."""
        self.broken = True
        self._changed.set()

    async def __aiter__(self) -> AsyncIterator[Delivery]:
        while not self.stopped:
            if self._deliveries:
                yield self._deliveries.popleft()
            elif self.broken:
                raise BrokerUnavailable("The line broke.")
            else:
                self._changed.clear()
                await self._changed.wait()

    async def stop(self) -> None:
        """Hand out nothing more."""
        if self.broken:
            raise BrokerUnavailable("The line broke.")
        self.stopped = True
        self._changed.set()
