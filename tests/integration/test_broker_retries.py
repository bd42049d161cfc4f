"""Retried and dead-lettered messages with both brokers."""

import time
from datetime import UTC, datetime

from restaurant_system.messaging.broker import Broker, Consumer
from restaurant_system.messaging.retry_policy import (
    ATTEMPTS,
    EXCHANGE,
    FIRST_SEEN,
    QUEUE,
    REASON,
    ROUTING_KEY,
    RetryPolicy,
    attempt_of,
)
from restaurant_system.models.message import Message
from tests.conftest import with_every_queue_type
from tests.support.messages import (
    DEAD_LETTERS,
    DINE_IN,
    TAKEOUT,
    make_order_message,
    make_order_messages,
    make_status_update,
    message_ids,
    receive_and_ack,
    receive_one,
)

# The delays of the brokers under test, see QUICK_RETRIES.
FIRST_DELAY, SECOND_DELAY = 0.2, 0.6


async def consume_dead_letter(broker: Broker) -> Message:
    """Consume the only dead letter and return it."""
    async with broker.consume([DEAD_LETTERS], prefetch=1) as consumer:
        (letter,) = await receive_and_ack(consumer, 1)
    assert (await broker.depths())[DEAD_LETTERS] == 0
    return letter


async def seconds_until_retried(consumer: Consumer, policy: RetryPolicy) -> float:
    """Retry the next message, and return the seconds until its redelivery."""
    delivery = await receive_one(consumer)
    start = time.monotonic()
    assert await policy.retry(delivery, "the oven is cold")
    again = await receive_one(consumer)
    seconds = time.monotonic() - start
    await again.requeue()
    return seconds


async def test_retry_delay_grows_with_each_attempt(broker: Broker, policy: RetryPolicy) -> None:
    await broker.publish(make_order_messages(1))

    async with broker.consume([TAKEOUT], prefetch=1) as cook:
        first = await seconds_until_retried(cook, policy)
        second = await seconds_until_retried(cook, policy)

    assert first >= FIRST_DELAY
    assert second >= SECOND_DELAY


async def test_retry_counts_as_an_attempt_and_requeue_does_not(
    broker: Broker, policy: RetryPolicy
) -> None:
    await broker.publish(make_order_messages(1))

    async with broker.consume([TAKEOUT], prefetch=1) as cook:
        first = await receive_one(cook)
        await policy.retry(first, "the oven is cold")
        second = await receive_one(cook)
        await second.requeue()
        again = await receive_one(cook)

    assert [attempt_of(each.message) for each in (first, second, again)] == [1, 2, 2]
    assert again.queue == TAKEOUT
    assert again.message.headers[REASON] == "the oven is cold"


@with_every_queue_type
async def test_retried_message_has_the_same_content_and_priority(
    broker: Broker, policy: RetryPolicy
) -> None:
    order = make_order_message(priority=5, headers={"table": "twelve"})
    await broker.publish([order])

    async with broker.consume([TAKEOUT], prefetch=1) as cook:
        await policy.retry(await receive_one(cook), "the oven is cold")
        again = (await receive_one(cook)).message

    assert_same_content(again, order)
    assert again.priority == 5
    assert again.headers["table"] == "twelve"


async def test_next_message_is_delivered_during_a_retry_delay(
    broker: Broker, policy: RetryPolicy
) -> None:
    failing, following = make_order_messages(2)
    await broker.publish([failing, following])

    async with broker.consume([TAKEOUT], prefetch=1) as cook:
        await policy.retry(await receive_one(cook), "no such dish")
        taken = await receive_and_ack(cook, 2)

    assert message_ids(taken) == message_ids([following, failing])


@with_every_queue_type
async def test_message_is_dead_lettered_after_the_last_attempt(
    broker: Broker, policy: RetryPolicy
) -> None:
    """A dead letter's headers have attempts, reason, origin and the time of the first failure."""
    order = make_order_message("dine_in", 5)
    await broker.publish([order])
    start = datetime.now(UTC).replace(microsecond=0)

    async with broker.consume([DINE_IN], prefetch=1) as cook:
        outcomes = [
            await policy.retry(await receive_one(cook), "the oven is cold") for _ in range(3)
        ]

    assert outcomes == [True, True, False]
    letter = await consume_dead_letter(broker)
    assert_same_content(letter, order)
    assert letter.headers[ATTEMPTS] == 3
    assert "the oven is cold" in str(letter.headers[REASON])
    assert letter.headers[QUEUE] == DINE_IN
    assert letter.headers[EXCHANGE] == "orders_topic"
    assert letter.headers[ROUTING_KEY] == "kitchen.dine_in.5"
    first_seen = datetime.fromisoformat(str(letter.headers[FIRST_SEEN]))
    assert start <= first_seen
    assert (datetime.now(UTC) - first_seen).total_seconds() >= FIRST_DELAY + SECOND_DELAY


async def test_invalid_message_is_dead_lettered_at_its_first_attempt(
    broker: Broker, policy: RetryPolicy
) -> None:
    order = make_order_message(body=b"not JSON")
    await broker.publish([order])

    async with broker.consume([TAKEOUT], prefetch=1) as cook:
        await policy.dead_letter(await receive_one(cook), "not JSON: expected value")

    letter = await consume_dead_letter(broker)
    assert_same_content(letter, order)
    assert letter.headers[ATTEMPTS] == 1
    assert letter.headers[REASON] == "not JSON: expected value"
    assert letter.headers[QUEUE] == TAKEOUT
    assert letter.headers[EXCHANGE] == "orders_topic"
    assert letter.headers[ROUTING_KEY] == "kitchen.takeout.1"


async def test_invalid_status_update_is_dead_lettered(broker: Broker, policy: RetryPolicy) -> None:
    update = make_status_update(body=b"not JSON")

    async with broker.subscribe("printer") as printer:
        await broker.publish([update])
        await policy.dead_letter(await receive_one(printer), "not JSON")

    letter = await consume_dead_letter(broker)
    assert_same_content(letter, update)
    assert letter.headers[QUEUE] == "notifications_queue.printer"
    assert letter.headers[EXCHANGE] == "notifications_fanout"


async def test_retried_update_returns_only_to_the_subscriber_that_failed(
    broker: Broker, policy: RetryPolicy
) -> None:
    update, following = make_status_update(), make_status_update()

    async with broker.subscribe("failing") as failing, broker.subscribe("other") as other:
        await broker.publish([update])
        await policy.retry(await receive_one(failing), "out of paper")
        again = await receive_one(failing)
        await broker.publish([following])
        seen = await receive_and_ack(other, 2)

    assert again.message.message_id == update.message_id
    assert message_ids(seen) == message_ids([update, following])


def assert_same_content(message: Message, original: Message) -> None:
    """Check the body and the properties that no delivery changes."""
    assert message.body == original.body
    assert message.message_id == original.message_id
    assert message.correlation_id == original.correlation_id
    assert message.type == original.type
    assert message.app_id == original.app_id
    assert message.timestamp == original.timestamp
    assert message.content_type == original.content_type


@with_every_queue_type
async def test_delayed_messages_are_counted(broker: Broker, policy: RetryPolicy) -> None:
    await broker.publish(make_order_messages(2))

    async with broker.consume([TAKEOUT], prefetch=1) as cook:
        before = await broker.delayed()
        await policy.retry(await receive_one(cook), "the oven is cold")
        await (await receive_one(cook)).ack()
        meanwhile = await broker.delayed()
        await receive_one(cook)
        afterwards = await broker.delayed()

    assert (before, meanwhile, afterwards) == (0, 1, 0)
