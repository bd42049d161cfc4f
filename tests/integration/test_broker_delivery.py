"""Deliveries with both brokers: their order, their consumer, and how they are settled."""

import asyncio
from collections import Counter
from uuid import UUID

import pytest

from restaurant_system.messaging.broker import Broker, Consumer
from restaurant_system.messaging.retry_policy import attempt_of, move
from tests.conftest import needs_priorities, with_every_queue_type
from tests.support.messages import (
    DEAD_LETTERS,
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


@needs_priorities
async def test_messages_of_a_queue_are_delivered_by_priority(broker: Broker) -> None:
    priorities = (1, 10, 5, 1, 10, 5)
    await broker.publish([make_order_message(priority=each) for each in priorities[:3]])
    await broker.publish([make_order_message(priority=each) for each in priorities[3:]])

    async with broker.consume([TAKEOUT], prefetch=1) as cook:
        taken = await receive_and_ack(cook, 6)

    assert [message.priority for message in taken] == [10, 10, 5, 5, 1, 1]


@needs_priorities
async def test_messages_of_equal_priority_are_delivered_oldest_first(broker: Broker) -> None:
    normal = make_order_messages(3, priority=5)
    urgent = make_order_messages(3, priority=10)
    await broker.publish([message for pair in zip(normal, urgent, strict=True) for message in pair])

    async with broker.consume([TAKEOUT], prefetch=1) as cook:
        taken = await receive_and_ack(cook, 6)

    assert message_ids(taken) == message_ids([*urgent, *normal])


@needs_priorities
async def test_urgent_order_is_delivered_before_waiting_orders(broker: Broker) -> None:
    await broker.publish(make_order_messages(3))
    urgent = make_order_message(priority=10)

    async with broker.consume([TAKEOUT], prefetch=1) as cook:
        first = await receive_one(cook)
        await broker.publish([urgent])
        await first.ack()
        following = await receive_one(cook)

    assert following.message.message_id == urgent.message_id


@pytest.mark.parametrize("prefetch", [1, 3, 64])
async def test_all_messages_of_several_queues_are_delivered_once(
    broker: Broker, prefetch: int
) -> None:
    published = make_messages_for_each_queue(4)
    await broker.publish(published)

    async with broker.consume(KITCHEN, prefetch=prefetch) as consumer:
        taken = await receive_and_ack(consumer, len(published))

    assert sorted(message_ids(taken)) == sorted(message_ids(published))
    assert sum((await broker.depths()).values()) == 0


async def test_message_that_a_full_consumer_cannot_take_is_delivered_to_another(
    broker: Broker, other_broker: Broker
) -> None:
    published = make_messages_for_each_queue(2)
    await broker.publish(published)

    async with broker.consume(KITCHEN, prefetch=1) as full:
        held = await receive(full, 1)
        async with other_broker.consume(KITCHEN, prefetch=1) as other:
            taken = await receive_and_ack(other, len(published) - 1)

    assert sorted(message_ids(held) + message_ids(taken)) == sorted(message_ids(published))


async def test_moved_message_is_unchanged_and_not_an_attempt(broker: Broker) -> None:
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
async def test_prefetch_limits_unacknowledged_messages_over_all_queues(
    broker: Broker, other_broker: Broker, prefetch: int
) -> None:
    """Messages above the limit are delivered to another consumer."""
    published = make_messages_for_each_queue(3)
    await broker.publish(published)

    async with broker.consume(KITCHEN, prefetch=prefetch) as busy:
        held = await receive(busy, prefetch)
        async with other_broker.consume(KITCHEN, prefetch=100) as idle:
            rest = await receive(idle, len(published) - prefetch)

    assert set(message_ids(held) + message_ids(rest)) == set(message_ids(published))


async def test_consumer_of_several_queues_fills_its_prefetch_from_one_queue(broker: Broker) -> None:
    published = [make_order_message() for _ in range(12)]
    await broker.publish(published)

    async with broker.consume(KITCHEN, prefetch=len(published)) as cook:
        held = await receive(cook, len(published))

    assert set(message_ids(held)) == set(message_ids(published))


@with_every_queue_type
async def test_unacknowledged_messages_count_against_the_prefetch_limit(
    broker: Broker, other_broker: Broker
) -> None:
    await broker.publish(make_order_messages(2))

    async with broker.consume([TAKEOUT], prefetch=3) as busy:
        await receive(busy, 2)
        await broker.publish(make_order_messages(5))
        await receive(busy, 1)
        async with other_broker.consume([TAKEOUT], prefetch=10) as idle:
            assert len(await receive(idle, 4)) == 4


async def test_full_consumer_receives_no_further_messages(
    broker: Broker, other_broker: Broker
) -> None:
    """Further messages are delivered to another consumer."""
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


async def test_next_message_is_delivered_after_each_settlement(broker: Broker) -> None:
    """The next message may be in any of the consumed queues."""
    await broker.publish(make_messages_for_each_queue(2))

    async with broker.consume(KITCHEN, prefetch=1) as cook:
        taken = await receive_and_ack(cook, 8)

    assert Counter(message.routing_key for message in taken) == {
        "kitchen.dine_in.1": 2,
        "kitchen.takeout.1": 2,
        "kitchen.delivery.1": 2,
        "kitchen.catering.1": 2,
    }


async def test_waiting_consumer_receives_a_new_message(broker: Broker) -> None:
    async with broker.consume(KITCHEN, prefetch=1) as cook:
        waiting = asyncio.create_task(receive_one(cook))
        await asyncio.sleep(0)
        order = make_order_message("dine_in")
        await broker.publish([order])

        assert (await waiting).message.message_id == order.message_id


async def test_only_the_named_queues_are_consumed(broker: Broker) -> None:
    await broker.publish([*make_order_messages(2, "dine_in"), *make_order_messages(1)])

    async with broker.consume([TAKEOUT], prefetch=10) as cook:
        delivery = await receive_one(cook)
        depths = await broker.depths()

    assert delivery.queue == TAKEOUT
    assert depths[DINE_IN] == 2


async def test_acknowledged_message_is_not_redelivered(
    broker: Broker, other_broker: Broker
) -> None:
    await broker.publish(make_order_messages(2))

    async with broker.consume([TAKEOUT], prefetch=2) as cook:
        acked, kept = await receive(cook, 2)
        await acked.ack()

    async with other_broker.consume([TAKEOUT], prefetch=2) as another:
        assert message_ids(await receive_and_ack(another, 1)) == message_ids([kept])
    assert (await broker.depths())[TAKEOUT] == 0


@with_every_queue_type
async def test_requeued_message_is_redelivered_at_once_and_first(broker: Broker) -> None:
    first, second = make_order_messages(2)
    await broker.publish([first, second])

    async with broker.consume([TAKEOUT], prefetch=1) as cook:
        requeued = await receive_one(cook)
        await requeued.requeue()
        again = await receive_one(cook)

    assert message_ids([requeued, again]) == message_ids([first, first])
    assert again.message == first
    assert (requeued.redelivered, again.redelivered) == (False, True)
    assert attempt_of(again.message) == 1


@with_every_queue_type
async def test_order_that_is_given_back_repeatedly_is_never_dead_lettered(
    broker: Broker, other_broker: Broker
) -> None:
    """RabbitMQ 4.x limits the deliveries of a quorum queue to 20 by default."""
    order = make_order_message()
    await broker.publish([order])

    async with broker.consume([TAKEOUT], prefetch=1) as cook:
        for _ in range(30):
            await (await receive_one(cook)).requeue()
        again = await receive_one(cook)

    assert again.message == order
    assert (await other_broker.depths())[DEAD_LETTERS] == 0


@with_every_queue_type
async def test_unacknowledged_messages_of_a_closed_consumer_are_redelivered_in_order(
    broker: Broker, other_broker: Broker
) -> None:
    published = make_order_messages(3)
    await broker.publish(published)

    async with broker.consume([TAKEOUT], prefetch=3) as leaving:
        await receive(leaving, 3)

    async with other_broker.consume([TAKEOUT], prefetch=3) as staying:
        taken = await receive(staying, 3)
    assert message_ids(taken) == message_ids(published)
    assert all(delivery.redelivered for delivery in taken)
    assert all(attempt_of(delivery.message) == 1 for delivery in taken)


@with_every_queue_type
async def test_concurrent_consumers_never_receive_the_same_message(
    broker: Broker, other_broker: Broker
) -> None:
    published = make_messages_for_each_queue(30)
    await broker.publish(published)
    seen: list[UUID] = []

    async def consume_all(consumer: Consumer) -> None:
        async for delivery in consumer:
            seen.append(delivery.message.message_id)
            await delivery.ack()
            if len(seen) >= len(published):
                all_seen.set()

    all_seen = asyncio.Event()
    async with (
        broker.consume(KITCHEN, prefetch=1) as one,
        other_broker.consume(KITCHEN, prefetch=8) as another,
    ):
        tasks = [asyncio.create_task(consume_all(each)) for each in (one, another)]
        async with asyncio.timeout(RECEIVE_TIMEOUT):
            await all_seen.wait()
        for task in tasks:
            task.cancel()

    assert Counter(seen) == Counter(message_ids(published))


async def test_concurrently_acknowledged_messages_are_not_redelivered(
    broker: Broker, other_broker: Broker
) -> None:
    await broker.publish(make_order_messages(30))

    async with broker.consume([TAKEOUT], prefetch=30) as cook:
        done, kept = (await receive(cook, 30))[:20], 10
        await asyncio.gather(*(delivery.ack() for delivery in done))

    async with other_broker.consume([TAKEOUT], prefetch=30) as another:
        again = await receive(another, kept)
    assert not set(message_ids(again)) & set(message_ids(done))
    assert (await broker.depths())[TAKEOUT] == kept
