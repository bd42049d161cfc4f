"""What either broker promises to a consumer that stops: nothing more, and nothing lost."""

import asyncio

from restaurant_system.messaging.broker import Broker
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


async def test_a_stopped_consumer_gives_back_what_it_has_not_handed_out(
    broker: Broker, other_broker: Broker
) -> None:
    """After `stop` others get what was not handed out, while the line is still open."""
    published = make_order_messages(3)
    await broker.publish(published)

    async with broker.consume([TAKEOUT], prefetch=3) as stopping:
        in_hand = await receive_one(stopping)
        await stopping.stop()

        async with other_broker.consume([TAKEOUT], prefetch=3) as another:
            taken = await receive(another, 2)

    assert set(message_ids([in_hand, *taken])) == set(message_ids(published))


async def test_what_is_in_hand_can_be_settled_after_the_stop(
    broker: Broker, other_broker: Broker
) -> None:
    """`stop` leaves what is in hand to be acked, or given back."""
    await broker.publish(make_order_messages(2))

    async with broker.consume([TAKEOUT], prefetch=2) as stopping:
        done, undone = await receive(stopping, 2)
        await stopping.stop()
        await done.ack()
        await undone.requeue()

    async with other_broker.consume([TAKEOUT], prefetch=2) as another:
        assert message_ids(await receive_and_ack(another, 1)) == message_ids([undone])
    assert (await other_broker.depths())[TAKEOUT] == 0


async def test_iterating_ends_after_the_stop(broker: Broker) -> None:
    """Whoever waits for the next message learns that there will be none; stopping twice is fine."""
    async with broker.consume(KITCHEN, prefetch=1) as stopping:
        waiting = asyncio.create_task(anext(aiter(stopping), None))
        await asyncio.sleep(0)
        await stopping.stop()
        await stopping.stop()

        async with asyncio.timeout(RECEIVE_TIMEOUT):
            assert await waiting is None


async def test_a_stopped_consumer_takes_nothing_more(broker: Broker, other_broker: Broker) -> None:
    """What is published after `stop` goes to others, though the line is still open."""
    async with broker.consume(KITCHEN, prefetch=1) as stopped:
        await stopped.stop()
        await broker.publish(make_messages_for_each_queue(1))

        async with other_broker.consume(KITCHEN, prefetch=4) as another:
            assert len(await receive(another, 4)) == 4


async def test_a_consumer_that_stops_soon_after_settling_takes_nothing_more(
    broker: Broker, other_broker: Broker
) -> None:
    """`stop` holds, however far the consumer has come with asking for the next message."""
    for moments in range(8):
        await broker.publish(make_order_messages(1))
        async with broker.consume(KITCHEN, prefetch=1) as stopping:
            delivery = await receive_one(stopping)
            await let_pass(broker, 8)
            await delivery.ack()
            await let_pass(broker, moments)
            await stopping.stop()
            await broker.publish(make_messages_for_each_queue(1))

            async with other_broker.consume(KITCHEN, prefetch=4) as another:
                for taken in await receive(another, 4):
                    await taken.ack()


async def let_pass(broker: Broker, moments: int) -> None:
    """Let the broker answer so many times before the test goes on."""
    await asyncio.sleep(0)
    for _ in range(moments):
        await broker.ping()
