"""What either broker promises about messages whose handling fails: later, or never again."""

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


async def the_dead_letter(broker: Broker) -> Message:
    """Take the only dead letter there is."""
    async with broker.consume([DEAD_LETTERS], prefetch=1) as office:
        (letter,) = await receive_and_ack(office, 1)
    assert (await broker.depths())[DEAD_LETTERS] == 0
    return letter


async def seconds_until_retried(consumer: Consumer, policy: RetryPolicy) -> float:
    """Fail at the next message, and return how long it then stays away."""
    delivery = await receive_one(consumer)
    start = time.monotonic()
    assert await policy.retry(delivery, "the oven is cold")
    again = await receive_one(consumer)
    away = time.monotonic() - start
    await again.requeue()
    return away


async def test_a_failed_attempt_is_repeated_later_each_time_after_a_longer_delay(
    broker: Broker, policy: RetryPolicy
) -> None:
    """What failed for now comes back after a delay, and the delays grow as they are set."""
    await broker.publish(make_order_messages(1))

    async with broker.consume([TAKEOUT], prefetch=1) as cook:
        first = await seconds_until_retried(cook, policy)
        second = await seconds_until_retried(cook, policy)

    assert first >= FIRST_DELAY
    assert second >= SECOND_DELAY


async def test_attempts_are_counted(broker: Broker, policy: RetryPolicy) -> None:
    """A failure counts as an attempt; being given back does not."""
    await broker.publish(make_order_messages(1))

    async with broker.consume([TAKEOUT], prefetch=1) as cook:
        first = await receive_one(cook)
        await policy.retry(first, "the oven is cold")
        second = await receive_one(cook)
        await second.requeue()
        again = await receive_one(cook)

    assert [attempt_of(first.message), attempt_of(second.message), attempt_of(again.message)] == [
        1,
        2,
        2,
    ]
    assert again.queue == TAKEOUT
    assert again.message.headers[REASON] == "the oven is cold"


async def test_a_retried_message_is_the_same_message(broker: Broker, policy: RetryPolicy) -> None:
    """Body, identity and urgency of a message survive its retries."""
    order = make_order_message(priority=5, headers={"table": "twelve"})
    await broker.publish([order])

    async with broker.consume([TAKEOUT], prefetch=1) as cook:
        await policy.retry(await receive_one(cook), "the oven is cold")
        again = (await receive_one(cook)).message

    assert_same_content(again, order)
    assert again.priority == 5
    assert again.headers["table"] == "twelve"


async def test_the_others_do_not_wait_for_a_failed_one(broker: Broker, policy: RetryPolicy) -> None:
    """While a failed message is away, the next one is handled."""
    failing, following = make_order_messages(2)
    await broker.publish([failing, following])

    async with broker.consume([TAKEOUT], prefetch=1) as cook:
        await policy.retry(await receive_one(cook), "no such dish")
        taken = await receive_and_ack(cook, 2)

    assert message_ids(taken) == message_ids([following, failing])


async def test_a_message_that_fails_too_often_is_put_aside(
    broker: Broker, policy: RetryPolicy
) -> None:
    """After the last attempt a message is a dead letter that tells its whole story."""
    order = make_order_message("dine_in", 5)
    await broker.publish([order])
    start = datetime.now(UTC).replace(microsecond=0)

    async with broker.consume([DINE_IN], prefetch=1) as cook:
        outcomes = [
            await policy.retry(await receive_one(cook), "the oven is cold") for _ in range(3)
        ]

    assert outcomes == [True, True, False]
    letter = await the_dead_letter(broker)
    assert_same_content(letter, order)
    assert letter.headers[ATTEMPTS] == 3
    assert "the oven is cold" in str(letter.headers[REASON])
    assert letter.headers[QUEUE] == DINE_IN
    assert letter.headers[EXCHANGE] == "orders_topic"
    assert letter.headers[ROUTING_KEY] == "kitchen.dine_in.5"
    first_seen = datetime.fromisoformat(str(letter.headers[FIRST_SEEN]))
    assert start <= first_seen
    assert (datetime.now(UTC) - first_seen).total_seconds() >= FIRST_DELAY + SECOND_DELAY


async def test_a_message_that_can_never_succeed_is_put_aside_at_once(
    broker: Broker, policy: RetryPolicy
) -> None:
    """A dead letter carries its reason and where it came from, at its first attempt too."""
    order = make_order_message(body=b"not JSON")
    await broker.publish([order])

    async with broker.consume([TAKEOUT], prefetch=1) as cook:
        await policy.dead_letter(await receive_one(cook), "not JSON: expected value")

    letter = await the_dead_letter(broker)
    assert_same_content(letter, order)
    assert letter.headers[ATTEMPTS] == 1
    assert letter.headers[REASON] == "not JSON: expected value"
    assert letter.headers[QUEUE] == TAKEOUT
    assert letter.headers[EXCHANGE] == "orders_topic"
    assert letter.headers[ROUTING_KEY] == "kitchen.takeout.1"


async def test_a_status_update_can_be_put_aside_too(broker: Broker, policy: RetryPolicy) -> None:
    """An update that a subscriber cannot read ends among the dead letters, not in a loop."""
    update = make_status_update(body=b"not JSON")

    async with broker.subscribe("printer") as printer:
        await broker.publish([update])
        await policy.dead_letter(await receive_one(printer), "not JSON")

    letter = await the_dead_letter(broker)
    assert_same_content(letter, update)
    assert letter.headers[QUEUE] == "notifications_queue.printer"
    assert letter.headers[EXCHANGE] == "notifications_fanout"


async def test_a_deferred_message_comes_back_any_number_of_times(
    broker: Broker, policy: RetryPolicy
) -> None:
    """To be deferred is no failure: the message comes back each time, at its first attempt."""
    order = make_order_message(priority=5)
    await broker.publish([order])

    async with broker.consume([TAKEOUT], prefetch=1) as cook:
        for _ in range(2):
            delivery = await receive_one(cook)
            assert attempt_of(delivery.message) == 1
            await policy.defer(delivery)
        last = await receive_one(cook)

    assert attempt_of(last.message) == 1
    assert_same_content(last.message, order)
    assert (await broker.depths())[DEAD_LETTERS] == 0


async def test_a_deferral_forgets_no_failed_attempt(broker: Broker, policy: RetryPolicy) -> None:
    """Attempts that failed before a deferral still count after it."""
    await broker.publish(make_order_messages(1))

    async with broker.consume([TAKEOUT], prefetch=1) as cook:
        await policy.retry(await receive_one(cook), "the oven is cold")
        await policy.defer(await receive_one(cook))

        assert attempt_of((await receive_one(cook)).message) == 2


async def test_a_retried_message_comes_back_to_its_own_queue_only(
    broker: Broker, policy: RetryPolicy
) -> None:
    """A durable subscriber's failed update comes back to it, and to no other subscriber."""
    update, following = make_status_update(), make_status_update()

    async with broker.subscribe("clumsy") as clumsy, broker.subscribe("deft") as deft:
        await broker.publish([update])
        await policy.retry(await receive_one(clumsy), "out of paper")
        again = await receive_one(clumsy)
        await broker.publish([following])
        seen = await receive_and_ack(deft, 2)

    assert again.message.message_id == update.message_id
    assert message_ids(seen) == message_ids([update, following])


def assert_same_content(message: Message, original: Message) -> None:
    """Check what never changes on a message's way."""
    assert message.body == original.body
    assert message.message_id == original.message_id
    assert message.correlation_id == original.correlation_id
    assert message.type == original.type
    assert message.app_id == original.app_id
    assert message.timestamp == original.timestamp
    assert message.content_type == original.content_type


async def test_what_waits_out_a_delay_is_counted(broker: Broker, policy: RetryPolicy) -> None:
    """A message that was put off is in no queue of the topology, but it is not gone."""
    await broker.publish(make_order_messages(2))

    async with broker.consume([TAKEOUT], prefetch=1) as cook:
        before = await broker.delayed()
        await policy.defer(await receive_one(cook))
        await (await receive_one(cook)).ack()
        meanwhile = await broker.delayed()
        await receive_one(cook)
        afterwards = await broker.delayed()

    assert (before, meanwhile, afterwards) == (0, 1, 0)
