"""What either broker promises about publishing: where messages go, and what arrives there."""

import asyncio
from uuid import uuid4

import pytest

from restaurant_system.messaging.broker import Broker, Refused
from restaurant_system.messaging.retry_policy import attempt_of
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


async def test_an_order_goes_to_its_types_queue_and_no_other(broker: Broker) -> None:
    """Each order is in exactly one queue, its type's, whatever its priority."""
    await broker.publish([make_order_message("dine_in", priority) for priority in (1, 2, 5, 7, 10)])
    await broker.publish([make_order_message("takeout", priority) for priority in (1, 5, 10)])
    await broker.publish([make_order_message("delivery", priority) for priority in (1, 10)])

    assert await broker.depths() == {**EMPTY, DINE_IN: 5, TAKEOUT: 3, DELIVERY: 2}


async def test_an_order_that_no_type_takes_goes_to_the_general_queue(broker: Broker) -> None:
    """An order that no other queue takes is never lost: the general queue takes it."""
    keys = ["kitchen.catering.5", "kitchen.takeout", "kitchen.takeout.1.now", "takeout"]
    strays = [make_order_message(routing_key=key) for key in keys]

    refused = await broker.publish(strays)

    assert refused == []
    assert await broker.depths() == {**EMPTY, GENERAL: len(keys)}
    async with broker.consume([GENERAL], prefetch=1) as cook:
        assert message_ids(await receive_and_ack(cook, len(keys))) == message_ids(strays)


async def test_the_broker_is_empty_at_first(broker: Broker) -> None:
    """Every queue of the topology has a depth, if only 0."""
    assert await broker.depths() == EMPTY


async def test_depths_count_what_waits_and_not_what_is_in_hand(broker: Broker) -> None:
    """A message in hand waits no longer."""
    await broker.publish(make_order_messages(3))

    async with broker.consume([TAKEOUT], prefetch=2) as cook:
        await receive(cook, 2)

        assert await broker.depths() == {**EMPTY, TAKEOUT: 1}


async def test_a_queue_whose_messages_are_all_in_hand_is_empty(broker: Broker) -> None:
    """A queue has a depth, 0, also when its last message is in hand."""
    await broker.publish(make_order_messages(1))

    async with broker.consume([TAKEOUT], prefetch=1) as cook:
        await receive_one(cook)

        assert await broker.depths() == EMPTY


async def test_every_property_arrives(broker: Broker) -> None:
    """A message arrives as it was sent, its timestamp to the second."""
    sent = make_order_message(
        priority=5,
        body='{"customer_name": "Zoë 🍕"}'.encode() + b"\x00\xff",
        correlation_id="req-é-42",
        type="order.something",
        app_id="till-3",
        content_type="application/x-note",
        headers={"table": "twelve", "guests": 4, "balance": -7, "far": 2**40},
    )

    await broker.publish([sent])

    async with broker.consume([TAKEOUT], prefetch=1) as cook:
        delivery = await receive_one(cook)
    assert delivery.message == sent
    assert delivery.queue == TAKEOUT
    assert attempt_of(delivery.message) == 1
    assert not delivery.redelivered


async def test_a_body_of_any_size_arrives(broker: Broker) -> None:
    """An empty body and one larger than a frame arrive as they were sent."""
    sent = [make_order_message(body=b""), make_order_message(body=bytes(range(256)) * 2_000)]

    await broker.publish(sent)

    async with broker.consume([TAKEOUT], prefetch=1) as cook:
        assert await receive_and_ack(cook, 2) == sent


async def test_the_order_of_publishing_is_kept(broker: Broker) -> None:
    """Messages of one key arrive in the order in which they were published, call after call."""
    sent = make_order_messages(120)

    for start in range(0, 120, 40):
        await broker.publish(sent[start : start + 40])

    async with broker.consume([TAKEOUT], prefetch=10) as cook:
        assert message_ids(await receive_and_ack(cook, 120)) == message_ids(sent)


async def test_an_unroutable_message_is_refused_and_its_neighbours_are_taken(
    broker: Broker,
) -> None:
    """The broker says which messages it refused, and why; the others of the call are taken."""
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
    """Copies of a message share its id; each of them is confirmed or refused by itself."""
    message_id = uuid4()
    copies = [
        unroutable(message_id) if place in lost else make_order_message(message_id=message_id)
        for place in range(2)
    ]

    refused = await broker.publish([make_order_message(), *copies, make_order_message()])

    assert [id(each.message) for each in refused] == [id(copies[place]) for place in lost]
    assert (await broker.depths())[TAKEOUT] == 4 - len(lost)


async def test_of_messages_with_one_id_published_at_once_the_unroutable_one_is_refused(
    broker: Broker,
) -> None:
    """Two callers publish copies at the same time; only the one with the lost copy hears of it."""
    message_id = uuid4()

    results = await asyncio.gather(
        *(
            broker.publish(
                [unroutable(message_id) if turn % 2 else make_order_message(message_id=message_id)]
            )
            for turn in range(10)
        )
    )

    assert [len(refused) for refused in results] == [0, 1] * 5
    assert (await broker.depths())[TAKEOUT] == 5


async def test_the_line_still_publishes_after_a_refusal(broker: Broker) -> None:
    """A refusal spoils nothing for what is published next."""
    await broker.publish([unroutable()])

    refused = await broker.publish(make_order_messages(1))

    assert refused == []
    assert (await broker.depths())[TAKEOUT] == 1


async def test_news_without_an_audience_is_no_error(broker: Broker) -> None:
    """A status update that nobody subscribes to is taken, and gone."""
    assert await broker.publish([make_status_update()]) == []

    assert await broker.depths() == EMPTY


async def test_publishing_nothing_is_no_error(broker: Broker) -> None:
    """An empty batch is taken."""
    assert await broker.publish([]) == []


async def test_a_ping_says_how_long_the_broker_took(broker: Broker) -> None:
    """The answer to a ping is a time in milliseconds."""
    assert 0 < await broker.ping() < 5_000


async def test_connecting_again_changes_nothing(broker: Broker) -> None:
    """The line may be opened, and the topology declared, at any time."""
    await broker.publish(make_order_messages(1))

    await broker.connect()

    assert (await broker.depths())[TAKEOUT] == 1


async def test_a_message_to_nowhere_is_refused_and_its_neighbours_are_taken(broker: Broker) -> None:
    """An exchange that nobody knows is a refusal like any other, not the end of the publisher."""
    lost = make_order_message(exchange="orders_of_yesterday")

    refused = await broker.publish([make_order_message(), lost, make_order_message()])

    assert refused == [Refused(lost, "there is no exchange 'orders_of_yesterday'")]
    assert await broker.depths() == {**EMPTY, TAKEOUT: 2}
