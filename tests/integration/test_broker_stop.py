"""Stopping consumers with both brokers."""

import asyncio

from restaurant_system.messaging.broker import Broker
from restaurant_system.messaging.retry_policy import attempt_of
from tests.conftest import needs_priorities, with_every_queue_type
from tests.support.messages import (
    KITCHEN,
    RECEIVE_TIMEOUT,
    TAKEOUT,
    make_messages_for_each_queue,
    make_order_messages,
    message_ids,
    receive,
    receive_and_ack,
    receive_one,
)


@with_every_queue_type
async def test_prefetched_messages_are_requeued_at_the_stop(
    broker: Broker, other_broker: Broker
) -> None:
    """Prefetched messages are requeued before the consumer is closed."""
    published = make_order_messages(3)
    await broker.publish(published)

    async with broker.consume([TAKEOUT], prefetch=3) as stopping:
        first = await receive_one(stopping)
        await stopping.stop()

        async with other_broker.consume([TAKEOUT], prefetch=3) as another:
            taken = await receive(another, 2)

    assert set(message_ids([first, *taken])) == set(message_ids(published))


async def test_unacknowledged_messages_can_be_settled_after_the_stop(
    broker: Broker, other_broker: Broker
) -> None:
    await broker.publish(make_order_messages(2))

    async with broker.consume([TAKEOUT], prefetch=2) as stopping:
        done, undone = await receive(stopping, 2)
        await stopping.stop()
        await done.ack()
        await undone.requeue()

    async with other_broker.consume([TAKEOUT], prefetch=2) as another:
        assert message_ids(await receive_and_ack(another, 1)) == message_ids([undone])
    assert (await other_broker.depths())[TAKEOUT] == 0


async def test_waiting_iteration_ends_at_the_stop(broker: Broker) -> None:
    """A second call of `stop` has no effect."""
    async with broker.consume(KITCHEN, prefetch=1) as stopping:
        waiting = asyncio.create_task(anext(aiter(stopping), None))
        await asyncio.sleep(0)
        await stopping.stop()
        await stopping.stop()

        async with asyncio.timeout(RECEIVE_TIMEOUT):
            assert await waiting is None


async def test_stopped_consumer_receives_no_new_messages(
    broker: Broker, other_broker: Broker
) -> None:
    async with broker.consume(KITCHEN, prefetch=1) as stopped:
        await stopped.stop()
        await broker.publish(make_messages_for_each_queue(1))

        async with other_broker.consume(KITCHEN, prefetch=4) as another:
            assert len(await receive(another, 4)) == 4


async def test_consumer_stopped_soon_after_a_settlement_receives_no_new_messages(
    broker: Broker, other_broker: Broker
) -> None:
    """The stop may come at any step of fetching the next message."""
    for pings in range(8):
        await broker.publish(make_order_messages(1))
        async with broker.consume(KITCHEN, prefetch=1) as stopping:
            delivery = await receive_one(stopping)
            await wait_for_pings(broker, 8)
            await delivery.ack()
            await wait_for_pings(broker, pings)
            await stopping.stop()
            await broker.publish(make_messages_for_each_queue(1))

            async with other_broker.consume(KITCHEN, prefetch=4) as another:
                for taken in await receive(another, 4):
                    await taken.ack()


@needs_priorities
async def test_messages_of_a_cancelled_consumer_return_to_their_places_as_not_attempted(
    broker: Broker, other_broker: Broker
) -> None:
    """The consumer may be cancelled at any step of fetching a message."""
    published = [order for _ in range(3) for order in make_messages_for_each_queue(1)]
    await broker.publish(published)
    for pings in range(8):
        async with broker.consume(KITCHEN, prefetch=3) as cancelled:
            consuming = asyncio.create_task(receive(cancelled, 4))
            await wait_for_pings(other_broker, pings)
            consuming.cancel()
            await asyncio.wait({consuming})

        async with other_broker.consume(KITCHEN, prefetch=len(published)) as another:
            taken = await receive(another, len(published))
        assert message_ids(taken) == message_ids(published)
        assert {attempt_of(each.message) for each in taken} == {1}


async def wait_for_pings(broker: Broker, pings: int) -> None:
    """Wait for the duration of `count` pings of the broker."""
    await asyncio.sleep(0)
    for _ in range(pings):
        await broker.ping()
