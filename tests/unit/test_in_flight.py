"""Which status updates count as in flight."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from restaurant_system.errors import BrokerUnavailable
from restaurant_system.messaging.broker import Consumer
from restaurant_system.messaging.in_flight import UpdatesInFlight
from tests.support.fakes import FakeConsumer, FakeDelivery, RecordingBroker
from tests.support.messages import make_order_message, make_status_update


class SubscribedBroker(RecordingBroker):
    """A broker with one subscription, on `consumer`."""

    def __init__(self) -> None:
        super().__init__()
        self.consumer = FakeConsumer()

    @contextlib.asynccontextmanager
    async def subscribe(self, name: str | None = None) -> AsyncIterator[Consumer]:
        """Yield the fake consumer."""
        assert name is None
        yield self.consumer


async def none_is_left(updates: UpdatesInFlight) -> bool:
    """Return whether no update is in flight."""
    waiting = asyncio.create_task(updates.wait_until_none_is_left())
    await asyncio.sleep(0.01)
    is_done = waiting.done()
    waiting.cancel()
    return is_done


async def test_update_is_in_flight_until_it_is_received() -> None:
    """Published orders do not count as status updates in flight."""
    update = make_status_update()
    broker = SubscribedBroker()
    broker.consumer = FakeConsumer(FakeDelivery(update))
    updates = UpdatesInFlight(broker)

    async with updates.subscribe() as consumer:
        await updates.publish([make_order_message()])
        assert await none_is_left(updates)
        await updates.publish([update])
        assert not await none_is_left(updates)

        await anext(aiter(consumer))

        assert await none_is_left(updates)


async def test_update_published_without_a_subscription_is_not_in_flight() -> None:
    """Updates count as in flight only while a subscription is open."""
    updates = UpdatesInFlight(SubscribedBroker())

    await updates.publish([make_status_update()])
    assert await none_is_left(updates)
    async with updates.subscribe():
        await updates.publish([make_status_update()])

    assert await none_is_left(updates)


async def test_update_that_was_refused_or_not_published_is_not_in_flight() -> None:
    broker, update = SubscribedBroker(), make_status_update()
    updates = UpdatesInFlight(broker)

    async with updates.subscribe():
        broker.refuses.append(update)
        await updates.publish([update])
        assert await none_is_left(updates)
        broker.unavailable = True
        with pytest.raises(BrokerUnavailable):
            await updates.publish([make_status_update()])

        assert await none_is_left(updates)
