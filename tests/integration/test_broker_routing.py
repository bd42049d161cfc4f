"""Publication and routing with both brokers."""

import asyncio
from uuid import uuid4

import pytest

from restaurant_system.messaging.broker import Broker, Refused
from restaurant_system.messaging.retry_policy import attempt_of
from tests.conftest import with_every_queue_type
from tests.support.messages import (
    DEAD_LETTERS,
    DELIVERY,
    DINE_IN,
    GENERAL,
    KITCHEN,
    TAKEOUT,
    make_order_message,
    make_order_messages,
    make_status_update,
    message_ids,
    receive,
    receive_and_ack,
    receive_one,
    unroutable,
)

EMPTY = dict.fromkeys((*KITCHEN, DEAD_LETTERS), 0)


async def test_order_is_routed_only_to_the_queue_of_its_type(broker: Broker) -> None:
    """The priority of an order does not change its queue."""
    await broker.publish([make_order_message("dine_in", priority) for priority in (1, 2, 5, 7, 10)])
    await broker.publish([make_order_message("takeout", priority) for priority in (1, 5, 10)])
    await broker.publish([make_order_message("delivery", priority) for priority in (1, 10)])

    assert await broker.depths() == {**EMPTY, DINE_IN: 5, TAKEOUT: 3, DELIVERY: 2}


async def test_order_that_matches_no_binding_goes_to_the_general_queue(broker: Broker) -> None:
    keys = ["kitchen.catering.5", "kitchen.takeout", "kitchen.takeout.1.now", "takeout"]
    strays = [make_order_message(routing_key=key) for key in keys]

    refused = await broker.publish(strays)

    assert refused == []
    assert await broker.depths() == {**EMPTY, GENERAL: len(keys)}
    async with broker.consume([GENERAL], prefetch=1) as cook:
        assert message_ids(await receive_and_ack(cook, len(keys))) == message_ids(strays)


async def test_new_broker_has_depth_zero_for_every_queue(broker: Broker) -> None:
    assert await broker.depths() == EMPTY


@with_every_queue_type
async def test_depths_do_not_count_unacknowledged_messages(broker: Broker) -> None:
    await broker.publish(make_order_messages(3))

    async with broker.consume([TAKEOUT], prefetch=2) as cook:
        await receive(cook, 2)

        assert await broker.depths() == {**EMPTY, TAKEOUT: 1}


async def test_depth_is_zero_while_the_last_message_is_unacknowledged(broker: Broker) -> None:
    await broker.publish(make_order_messages(1))

    async with broker.consume([TAKEOUT], prefetch=1) as cook:
        await receive_one(cook)

        assert await broker.depths() == EMPTY


@with_every_queue_type
async def test_message_arrives_with_all_properties(broker: Broker) -> None:
    sent = make_order_message(
        priority=5,
        body='{"customer_name": "Zoë 🍕"}'.encode() + b"\x00\xff",
        correlation_id="req-é-42",
        type="order.something",
        app_id="till-3",
        content_type="application/x-note",
        headers={"table": "twelve", "covers": 4, "balance": -7, "far": 2**40},
    )

    await broker.publish([sent])

    async with broker.consume([TAKEOUT], prefetch=1) as cook:
        delivery = await receive_one(cook)
    assert delivery.message == sent
    assert delivery.queue == TAKEOUT
    assert attempt_of(delivery.message) == 1
    assert not delivery.redelivered


async def test_body_that_is_empty_or_larger_than_a_frame_arrives(broker: Broker) -> None:
    sent = [make_order_message(body=b""), make_order_message(body=bytes(range(256)) * 2_000)]

    await broker.publish(sent)

    async with broker.consume([TAKEOUT], prefetch=1) as cook:
        assert await receive_and_ack(cook, 2) == sent


async def test_messages_arrive_in_the_order_of_publication(broker: Broker) -> None:
    sent = make_order_messages(120)

    for start in range(0, 120, 40):
        await broker.publish(sent[start : start + 40])

    async with broker.consume([TAKEOUT], prefetch=10) as cook:
        assert message_ids(await receive_and_ack(cook, 120)) == message_ids(sent)


async def test_unroutable_message_is_refused_with_the_reason_and_the_others_published(
    broker: Broker,
) -> None:
    first, lost, second = make_order_message(), unroutable(), make_order_message()

    refused = await broker.publish([first, lost, second])

    assert [each.message for each in refused] == [lost]
    assert isinstance(refused[0], Refused)
    assert "delivery_retry" in refused[0].reason
    async with broker.consume([TAKEOUT], prefetch=2) as cook:
        assert message_ids(await receive_and_ack(cook, 2)) == message_ids([first, second])
    assert await broker.depths() == EMPTY


@pytest.mark.parametrize("lost", [(0,), (1,), (0, 1), ()])
async def test_of_messages_with_one_id_the_unroutable_ones_are_refused(
    broker: Broker, lost: tuple[int, ...]
) -> None:
    """Copies of one message share its id, but may be routed differently."""
    message_id = uuid4()
    copies = [
        unroutable(message_id) if index in lost else make_order_message(message_id=message_id)
        for index in range(2)
    ]

    refused = await broker.publish([make_order_message(), *copies, make_order_message()])

    assert [id(each.message) for each in refused] == [id(copies[index]) for index in lost]
    assert (await broker.depths())[TAKEOUT] == 4 - len(lost)


async def test_of_copies_published_concurrently_the_unroutable_ones_are_refused(
    broker: Broker,
) -> None:
    message_id = uuid4()

    results = await asyncio.gather(
        *(
            broker.publish(
                [unroutable(message_id) if index % 2 else make_order_message(message_id=message_id)]
            )
            for index in range(10)
        )
    )

    assert [len(refused) for refused in results] == [0, 1] * 5
    assert (await broker.depths())[TAKEOUT] == 5


async def test_publication_succeeds_after_a_refusal(broker: Broker) -> None:
    await broker.publish([unroutable()])

    refused = await broker.publish(make_order_messages(1))

    assert refused == []
    assert (await broker.depths())[TAKEOUT] == 1


async def test_update_without_a_subscriber_is_not_refused(broker: Broker) -> None:
    assert await broker.publish([make_status_update()]) == []

    assert await broker.depths() == EMPTY


async def test_empty_batch_is_published(broker: Broker) -> None:
    assert await broker.publish([]) == []


async def test_ping_returns_the_latency_in_milliseconds(broker: Broker) -> None:
    assert 0 < await broker.ping() < 5_000


async def test_connecting_again_keeps_messages(broker: Broker) -> None:
    await broker.publish(make_order_messages(1))

    await broker.connect()

    assert (await broker.depths())[TAKEOUT] == 1


async def test_message_to_an_unknown_exchange_is_refused_and_the_others_published(
    broker: Broker,
) -> None:
    lost = make_order_message(exchange="unknown_exchange")

    refused = await broker.publish([make_order_message(), lost, make_order_message()])

    assert refused == [Refused(lost, "there is no exchange 'unknown_exchange'")]
    assert await broker.depths() == {**EMPTY, TAKEOUT: 2}
