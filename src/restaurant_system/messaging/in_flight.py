"""Track status updates that this process has published and not received yet."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, Sequence
from uuid import UUID

from restaurant_system.messaging import topology
from restaurant_system.messaging.broker import Broker, Consumer, Delivery, Refused
from restaurant_system.models.message import Message


class UpdatesInFlight:
    """A broker through which one process publishes status updates and subscribes to them.

    An update is in flight from its publication until the subscription yields it. One that is
    published without a subscription, refused, or lost with the subscription's connection is not.
    """

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._is_subscribed = False
        self._ids: set[UUID] = set()
        self._none_left = asyncio.Event()
        self._none_left.set()

    async def connect(self) -> None:
        """Connect to the broker, as `Broker.connect` does."""
        await self._broker.connect()

    async def publish(self, messages: Sequence[Message]) -> list[Refused]:
        """Publish messages, as `Broker.publish` does."""
        updates = [each.message_id for each in messages if _is_update(each)]
        if self._is_subscribed and updates:
            self._ids.update(updates)
            self._none_left.clear()
        try:
            refused = await self._broker.publish(messages)
        except BaseException:
            self._remove(updates)
            raise
        self._remove(each.message.message_id for each in refused)
        return refused

    @contextlib.asynccontextmanager
    async def subscribe(self, name: str | None = None) -> AsyncIterator[Consumer]:
        """Subscribe to status updates as `Broker.subscribe` does, one subscription at a time."""
        async with self._broker.subscribe(name) as consumer:
            self._is_subscribed = True
            try:
                yield _Receiver(consumer, self)
            finally:
                self._is_subscribed = False
                self._remove(tuple(self._ids))

    async def wait_until_none_is_left(self) -> None:
        """Wait until no status update is in flight."""
        await self._none_left.wait()

    def note_received(self, message: Message) -> None:
        """Count a status update as received: it is no longer in flight."""
        self._remove([message.message_id])

    def _remove(self, ids: Iterable[UUID]) -> None:
        self._ids.difference_update(ids)
        if not self._ids:
            self._none_left.set()


class _Receiver(Consumer):
    """A consumer that counts each update as received when it yields it."""

    def __init__(self, consumer: Consumer, in_flight: UpdatesInFlight) -> None:
        self._consumer = consumer
        self._in_flight = in_flight

    async def __aiter__(self) -> AsyncIterator[Delivery]:
        async for delivery in self._consumer:
            self._in_flight.note_received(delivery.message)
            yield delivery

    async def stop(self) -> None:
        await self._consumer.stop()


def _is_update(message: Message) -> bool:
    return message.exchange == topology.NOTIFICATIONS_FANOUT.name
