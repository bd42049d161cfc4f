"""What either broker promises about deliveries: in which order, to whom, and until when."""

import asyncio
from collections import Counter
from uuid import UUID

import pytest

from restaurant_system.messaging.broker import Broker, Consumer
from restaurant_system.messaging.retry_policy import attempt_of, move
from tests.support.messages import (
    DINE_IN,
    GENERAL,
    KITCHEN,
    RECEIVE_TIMEOUT,
    TAKEOUT,
    make_messages_for_each_queue,
    make_order_message,
    make_order_messages,
    message_ids,
    receive,
    receive_and_ack,
    receive_one,
)


async def test_the_most_urgent_comes_first_then_the_oldest(broker: Broker) -> None:
    """Within a queue urgency decides, and among equals age."""
    urgencies = (1, 10, 5, 1, 10, 5)
    await broker.publish([make_order_message(priority=urgency) for urgency in urgencies[:3]])
    await broker.publish([make_order_message(priority=urgency) for urgency in urgencies[3:]])

    async with broker.consume([TAKEOUT], prefetch=1) as cook:
        taken = await receive_and_ack(cook, 6)

    assert [message.priority for message in taken] == [10, 10, 5, 5, 1, 1]


async def test_equals_come_by_age(broker: Broker) -> None:
    """Of orders of one urgency, the oldest comes first, though others are served in between."""
    brisk = make_order_messages(3, priority=5)
    rush = make_order_messages(3, priority=10)
    await broker.publish([message for pair in zip(brisk, rush, strict=True) for message in pair])

    async with broker.consume([TAKEOUT], prefetch=1) as cook:
        taken = await receive_and_ack(cook, 6)

    assert message_ids(taken) == message_ids([*rush, *brisk])


async def test_an_urgent_order_overtakes_those_that_wait(broker: Broker) -> None:
    """An order that comes later and is more urgent is next, even for a cook who is busy."""
    await broker.publish(make_order_messages(3))
    urgent = make_order_message(priority=10)

    async with broker.consume([TAKEOUT], prefetch=1) as cook:
        in_hand = await receive_one(cook)
        await broker.publish([urgent])
        await in_hand.ack()
        following = await receive_one(cook)

    assert following.message.message_id == urgent.message_id


PRECEDENCE = [(1, "dine_in"), (1, "takeout"), (10, "catering"), (1, "dine_in"), (5, "delivery")]


@pytest.mark.parametrize("prefetch", [1, 3, 64])
async def test_most_urgent_of_all_queues_comes_first_then_the_oldest(
    broker: Broker, prefetch: int
) -> None:
    """Orders of one urgency that lie in different queues come in the order of publication."""
    published = [
        make_order_message(order_type, priority) for priority, order_type in PRECEDENCE * 3
    ]
    await broker.publish(published[:7])
    await broker.publish(published[7:])

    async with broker.consume(KITCHEN, prefetch=prefetch) as consumer:
        taken = await receive_and_ack(consumer, len(published))

    by_urgency = sorted(published, key=lambda order: -order.priority)
    assert message_ids(taken) == message_ids(by_urgency)


@pytest.mark.parametrize("prefetch", [1, 12])
async def test_stream_of_orders_in_one_queue_does_not_hold_up_another_queue(
    broker: Broker, prefetch: int
) -> None:
    """However many orders arrive meanwhile, the urgent one is next, then the one that is older."""
    await broker.publish(make_order_messages(2 * prefetch, "dine_in"))
    older, urgent = make_order_message("takeout"), make_order_message("delivery", 10)

    async with broker.consume(KITCHEN, prefetch=prefetch) as consumer:
        first, *others = await receive(consumer, prefetch)
        await broker.publish([older, *make_order_messages(prefetch, "dine_in"), urgent])
        await first.ack()
        following = await receive_one(consumer)
        for delivery in (*others, following):
            await delivery.ack()
        taken = await receive_and_ack(consumer, prefetch + 1)

    assert message_ids([following]) == message_ids([urgent])
    assert message_ids(taken[-1:]) == message_ids([older])


async def test_messages_given_back_while_choosing_are_found_by_another_consumer(
    broker: Broker, other_broker: Broker
) -> None:
    """A full consumer withholds nothing, and what it gave back is where it was in its queue."""
    published = make_messages_for_each_queue(2)
    await broker.publish(published)

    async with broker.consume(KITCHEN, prefetch=1) as full:
        held = await receive(full, 1)
        async with other_broker.consume(KITCHEN, prefetch=1) as other:
            taken = await receive_and_ack(other, len(published) - 1)

    assert message_ids(held) + message_ids(taken) == message_ids(published)


async def test_moved_message_is_in_the_other_queue_and_is_not_an_attempt(broker: Broker) -> None:
    """A message that is moved leaves its queue, and arrives in the other as it was."""
    stray = make_order_message("catering", 5, headers={"table": "twelve"})
    await broker.publish([stray])

    async with broker.consume([GENERAL], prefetch=1) as consumer:
        await move(await receive_one(consumer), TAKEOUT)
    async with broker.consume([TAKEOUT], prefetch=1) as consumer:
        moved = await receive_one(consumer)

    assert message_ids([moved]) == message_ids([stray])
    assert (moved.message.body, moved.message.headers) == (stray.body, stray.headers)
    assert (moved.message.priority, attempt_of(moved.message)) == (5, 1)
    assert (await broker.depths())[GENERAL] == 0


@pytest.mark.parametrize("prefetch", [1, 2, 8])
async def test_nobody_holds_more_than_the_limit_over_all_queues(
    broker: Broker, other_broker: Broker, prefetch: int
) -> None:
    """The limit holds for all queues together; what is above it goes to whoever has a free hand."""
    published = make_messages_for_each_queue(3)
    await broker.publish(published)

    async with broker.consume(KITCHEN, prefetch=prefetch) as busy:
        held = await receive(busy, prefetch)
        async with other_broker.consume(KITCHEN, prefetch=100) as idle:
            rest = await receive(idle, len(published) - prefetch)

    assert set(message_ids(held) + message_ids(rest)) == set(message_ids(published))


async def test_a_hand_is_filled_from_whatever_queue_has_something(broker: Broker) -> None:
    """Where only one kind of order comes, whoever takes all kinds has both hands full of it."""
    published = [make_order_message() for _ in range(12)]
    await broker.publish(published)

    async with broker.consume(KITCHEN, prefetch=len(published)) as cook:
        held = await receive(cook, len(published))

    assert set(message_ids(held)) == set(message_ids(published))


async def test_a_hand_that_holds_something_is_given_only_what_still_fits(
    broker: Broker, other_broker: Broker
) -> None:
    """What is in hand counts against the limit when more arrives."""
    await broker.publish(make_order_messages(2))

    async with broker.consume([TAKEOUT], prefetch=3) as busy:
        await receive(busy, 2)
        await broker.publish(make_order_messages(5))
        await receive(busy, 1)
        async with other_broker.consume([TAKEOUT], prefetch=10) as idle:
            assert len(await receive(idle, 4)) == 4


async def test_a_full_hand_is_not_given_more(broker: Broker, other_broker: Broker) -> None:
    """An order that comes while a cook's hands are full goes to another one."""
    await broker.publish(make_order_messages(1))

    async with broker.consume(KITCHEN, prefetch=1) as busy:
        await receive_one(busy)
        more = asyncio.create_task(receive_one(busy))
        for order_type in ("dine_in", "takeout", "delivery", "catering"):
            await broker.publish(make_order_messages(1, order_type))
        async with other_broker.consume(KITCHEN, prefetch=4) as idle:
            await receive(idle, 4)

            assert not more.done()
        more.cancel()


async def test_an_empty_hand_is_given_the_next(broker: Broker) -> None:
    """Each order that is settled makes room for the next one, whichever queue that is in."""
    await broker.publish(make_messages_for_each_queue(2))

    async with broker.consume(KITCHEN, prefetch=1) as cook:
        taken = await receive_and_ack(cook, 8)

    assert Counter(message.routing_key for message in taken) == {
        "kitchen.dine_in.1": 2,
        "kitchen.takeout.1": 2,
        "kitchen.delivery.1": 2,
        "kitchen.catering.1": 2,
    }


async def test_an_idle_consumer_is_woken(broker: Broker) -> None:
    """A consumer that waits gets what is published meanwhile."""
    async with broker.consume(KITCHEN, prefetch=1) as cook:
        waiting = asyncio.create_task(receive_one(cook))
        await asyncio.sleep(0)
        order = make_order_message("dine_in")
        await broker.publish([order])

        assert (await waiting).message.message_id == order.message_id


async def test_only_the_named_queues_are_consumed(broker: Broker) -> None:
    """A specialised cook gets nothing from other queues."""
    await broker.publish([*make_order_messages(2, "dine_in"), *make_order_messages(1)])

    async with broker.consume([TAKEOUT], prefetch=10) as cook:
        delivery = await receive_one(cook)
        depths = await broker.depths()

    assert delivery.queue == TAKEOUT
    assert depths[DINE_IN] == 2


async def test_an_acked_message_is_gone_for_good(broker: Broker, other_broker: Broker) -> None:
    """What is acked comes to nobody again."""
    await broker.publish(make_order_messages(2))

    async with broker.consume([TAKEOUT], prefetch=2) as cook:
        acked, kept = await receive(cook, 2)
        await acked.ack()

    async with other_broker.consume([TAKEOUT], prefetch=2) as another:
        assert message_ids(await receive_and_ack(another, 1)) == message_ids([kept])
    assert (await broker.depths())[TAKEOUT] == 0


async def test_a_requeued_message_is_back_at_its_old_place(broker: Broker) -> None:
    """What is given back comes again at once, before its equals, and says that it was out."""
    first, second = make_order_messages(2, priority=5)
    await broker.publish([make_order_message(priority=1), first, second])

    async with broker.consume([TAKEOUT], prefetch=1) as cook:
        given_back = await receive_one(cook)
        await given_back.requeue()
        again = await receive_one(cook)

    assert message_ids([given_back, again]) == message_ids([first, first])
    assert again.message == first
    assert (given_back.redelivered, again.redelivered) == (False, True)
    assert attempt_of(again.message) == 1


async def test_what_an_unsettled_consumer_leaves_goes_to_another(
    broker: Broker, other_broker: Broker
) -> None:
    """A consumer that goes away loses nothing: what it held goes to others, in order."""
    published = make_order_messages(3)
    await broker.publish(published)

    async with broker.consume([TAKEOUT], prefetch=3) as leaving:
        await receive(leaving, 3)

    async with other_broker.consume([TAKEOUT], prefetch=3) as staying:
        taken = await receive(staying, 3)
    assert message_ids(taken) == message_ids(published)
    assert all(delivery.redelivered for delivery in taken)
    assert all(attempt_of(delivery.message) == 1 for delivery in taken)


async def test_each_message_is_in_one_hand_only(broker: Broker, other_broker: Broker) -> None:
    """Two who take from the same queues as fast as they can never get the same message."""
    published = make_messages_for_each_queue(30)
    await broker.publish(published)
    seen: list[UUID] = []

    async def take_all(consumer: Consumer) -> None:
        async for delivery in consumer:
            seen.append(delivery.message.message_id)
            await delivery.ack()
            if len(seen) >= len(published):
                everything_seen.set()

    everything_seen = asyncio.Event()
    async with (
        broker.consume(KITCHEN, prefetch=1) as careful,
        other_broker.consume(KITCHEN, prefetch=8) as greedy,
    ):
        hands = [asyncio.create_task(take_all(each)) for each in (careful, greedy)]
        async with asyncio.timeout(RECEIVE_TIMEOUT):
            await everything_seen.wait()
        for hand in hands:
            hand.cancel()

    assert Counter(seen) == Counter(message_ids(published))


async def test_what_is_acked_at_the_same_time_is_gone(broker: Broker, other_broker: Broker) -> None:
    """Of many in hand, those that are acked at once are done with, and the rest comes again."""
    await broker.publish(make_order_messages(30))

    async with broker.consume([TAKEOUT], prefetch=30) as cook:
        done, kept = (await receive(cook, 30))[:20], 10
        await asyncio.gather(*(delivery.ack() for delivery in done))

    async with other_broker.consume([TAKEOUT], prefetch=30) as another:
        again = await receive(another, kept)
    assert not set(message_ids(again)) & set(message_ids(done))
    assert (await broker.depths())[TAKEOUT] == kept
