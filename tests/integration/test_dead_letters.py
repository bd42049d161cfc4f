"""Reading, requeueing and discarding dead letters, with both brokers."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from uuid import UUID, uuid4

import pytest
from pydantic import SecretStr

from restaurant_system.config import DeliverySettings
from restaurant_system.errors import DeadLetterNotFound, DeadLettersLocked
from restaurant_system.messaging import dead_letters
from restaurant_system.messaging.broker import Broker, Delivery
from restaurant_system.messaging.dead_letters import All, ById, Result
from restaurant_system.messaging.retry_policy import (
    EXCHANGE,
    QUEUE,
    ROUTING_KEY,
    RetryPolicy,
    attempt_of,
)
from restaurant_system.messaging.signature import UNSIGNED, Signer
from restaurant_system.models.message import Message
from tests.conftest import QUICK_RETRIES, make_rabbitmq_broker, with_every_queue_type
from tests.support.messages import (
    DEAD_LETTERS,
    DINE_IN,
    QUEUES,
    TAKEOUT,
    make_order_message,
    make_order_messages,
    make_status_update,
    make_update_about,
    message_ids,
    receive_and_ack,
    receive_one,
)


async def dead_letter(broker: Broker, *messages: Message, queue: str = TAKEOUT) -> None:
    """Publish messages to a queue, consume them there and dead-letter them."""
    policy = RetryPolicy(QUICK_RETRIES)
    await broker.publish(messages)
    async with broker.consume([queue], prefetch=1) as cook:
        for _ in messages:
            await policy.dead_letter(await receive_one(cook), "the oven is cold")


async def requeue(broker: Broker, ids: Sequence[str]) -> Result:
    """Requeue dead letters by id, without signatures."""
    return await dead_letters.requeue(broker, UNSIGNED, ById(ids), Result())


async def discard(broker: Broker, ids: Sequence[str]) -> Result:
    """Discard dead letters by id."""
    return await dead_letters.discard(broker, ById(ids), Result())


async def remaining(broker: Broker) -> list[UUID]:
    """Return the ids of the dead letters."""
    return message_ids(letter.message for letter in await dead_letters.read(broker))


def ids_of(messages: Sequence[Message]) -> list[str]:
    """Return the ids of messages as text."""
    return [str(message.message_id) for message in messages]


@with_every_queue_type
async def test_browsing_returns_all_in_order_and_changes_nothing(broker: Broker) -> None:
    letters = make_order_messages(3)
    await dead_letter(broker, *letters)

    async with broker.browse(DEAD_LETTERS) as first:
        seen = message_ids(first)
    async with broker.browse(DEAD_LETTERS) as again:
        seen_again = message_ids(again)

    assert seen == seen_again == message_ids(letters)
    assert (await broker.depths())[DEAD_LETTERS] == 3


@with_every_queue_type
async def test_browsed_message_leaves_the_queue_only_when_acknowledged(
    broker: Broker,
) -> None:
    letters = make_order_messages(3)
    await dead_letter(broker, *letters)

    async with broker.browse(DEAD_LETTERS) as taken:
        await taken[1].ack()

    assert await remaining(broker) == message_ids([letters[0], letters[2]])


@with_every_queue_type
async def test_second_browser_is_refused_until_the_first_has_ended(
    broker: Broker, other_broker: Broker
) -> None:
    (letter,) = make_order_messages(1)
    await dead_letter(broker, letter)

    for _ in range(5):
        async with broker.browse(DEAD_LETTERS):
            with pytest.raises(DeadLettersLocked):
                await dead_letters.read(other_broker)
            with pytest.raises(DeadLettersLocked):
                await requeue(other_broker, ids_of([letter]))

        assert await remaining(other_broker) == message_ids([letter])


@with_every_queue_type
async def test_message_that_arrives_while_browsing_is_kept(broker: Broker) -> None:
    early, late = make_order_messages(2)
    await dead_letter(broker, early)

    async with broker.browse(DEAD_LETTERS) as locked:
        await dead_letter(broker, late)
        assert message_ids(locked) == message_ids([early])
        await broker.ack_all(locked)

    assert await remaining(broker) == message_ids([late])


async def test_new_broker_has_no_dead_letters(amqp_url: str, delivery: DeliverySettings) -> None:
    broker = make_rabbitmq_broker(amqp_url, delivery)

    async with contextlib.AsyncExitStack() as end:
        end.push_async_callback(broker.close)
        assert await dead_letters.read(broker) == []


@with_every_queue_type
async def test_interrupted_browser_returns_its_messages(
    broker: Broker, other_broker: Broker
) -> None:
    (letter,) = make_order_messages(1)
    await dead_letter(broker, letter)

    with pytest.raises(ZeroDivisionError):
        async with broker.browse(DEAD_LETTERS):
            raise ZeroDivisionError

    assert await remaining(other_broker) == message_ids([letter])


async def test_browsing_an_empty_queue_returns_at_once(broker: Broker) -> None:
    assert await dead_letters.read(broker) == []


async def test_dead_letter_states_origin_attempts_first_failure_and_reason(broker: Broker) -> None:
    await dead_letter(broker, make_order_message(priority=5))

    (letter,) = await dead_letters.read(broker)

    assert letter.order_number == "ORD_20241216_001"
    assert letter.reason == "the oven is cold"
    assert letter.attempts == "1"
    assert (letter.queue, letter.exchange) == (TAKEOUT, "orders_topic")
    assert letter.routing_key == "kitchen.takeout.5"
    assert letter.first_seen


@with_every_queue_type
async def test_requeued_order_equals_the_original_and_starts_at_the_first_attempt(
    broker: Broker, policy: RetryPolicy
) -> None:
    order = make_order_message(priority=5, headers={"table": "twelve"})
    await broker.publish([order])
    async with broker.consume([TAKEOUT], prefetch=1) as cook:
        for _ in range(3):
            await policy.retry(await receive_one(cook), "the oven is cold")

    outcome = await requeue(broker, ids_of([order]))

    assert (outcome.done, outcome.refused) == (1, [])
    async with broker.consume([TAKEOUT], prefetch=1) as cook:
        again = await receive_one(cook)
    assert again.message == order
    assert attempt_of(again.message) == 1
    assert await dead_letters.read(broker) == []


async def test_unsigned_dead_letter_requeued_by_id_is_signed(broker: Broker) -> None:
    signer = Signer([SecretStr("the restaurant's own key")])
    unsigned = make_order_message()
    await dead_letter(broker, unsigned)

    await dead_letters.requeue(broker, signer, ById(ids_of([unsigned])), Result())

    async with broker.consume([TAKEOUT], prefetch=1) as cook:
        signer.verify((await receive_one(cook)).message)


async def test_requeue_all_leaves_unsigned_dead_letters(broker: Broker) -> None:
    signer = Signer([SecretStr("the restaurant's own key")])
    genuine = signer.sign(make_order_message())
    forged = Signer([SecretStr("somebody else's")]).sign(make_order_message())
    await dead_letter(broker, make_order_message(), genuine, forged)

    outcome = await dead_letters.requeue(broker, signer, All(), Result())

    assert (outcome.done, outcome.unverified) == (1, 2)
    assert len(await remaining(broker)) == 2
    async with broker.consume([TAKEOUT], prefetch=1) as cook:
        assert (await receive_one(cook)).message.message_id == genuine.message_id


@pytest.mark.parametrize("by_id", [False, True], ids=["all", "by id"])
async def test_order_is_not_requeued_to_a_queue_outside_the_kitchen(
    broker: Broker, *, by_id: bool
) -> None:
    """The headers that name the queue are not signed; a forger could have changed them."""
    signer = Signer([SecretStr("the restaurant's own key")])
    order = signer.sign(make_order_message())
    update = signer.sign(make_update_about("ORD_20241216_001"))
    to_spy = {QUEUE: "notifications_queue.spy", EXCHANGE: "notifications_fanout"}
    await broker.publish(
        [
            replace(each, exchange="orders_dlx", headers={**each.headers, **to_spy})
            for each in (order, update)
        ]
    )
    selection = ById(ids_of([order, update])) if by_id else All()

    async with broker.subscribe("spy") as spy:
        outcome = await dead_letters.requeue(broker, signer, selection, Result())

        assert message_ids(await receive_and_ack(spy, 1)) == message_ids([update])
    assert (outcome.done, outcome.unverified) == (1, 0)
    assert message_ids(each.message for each in outcome.refused) == message_ids([order])
    assert await remaining(broker) == message_ids([order])


async def test_requeued_update_goes_only_to_the_subscriber_that_dead_lettered_it(
    broker: Broker, policy: RetryPolicy
) -> None:
    update, next_one = make_update_about("ORD_20241216_001"), make_status_update()
    async with (
        broker.subscribe("deft") as deft,
        broker.subscribe("clumsy") as clumsy,
        broker.subscribe("tired") as tired,
    ):
        await broker.publish([update])
        for subscriber in (clumsy, tired):
            await policy.dead_letter(await receive_one(subscriber), "out of paper")

        outcome = await requeue(broker, ids_of([update]))
        await broker.publish([next_one])

        assert outcome.done == 2
        for subscriber in (deft, clumsy, tired):
            assert message_ids(await receive_and_ack(subscriber, 2)) == message_ids(
                [update, next_one]
            )


async def test_update_of_a_deleted_subscriber_queue_stays_dead_lettered(
    broker: Broker, policy: RetryPolicy
) -> None:
    update = make_update_about("ORD_20241216_001")
    async with broker.subscribe() as passing:
        await broker.publish([update])
        await policy.dead_letter(await receive_one(passing), "out of paper")

    outcome = await requeue(broker, ids_of([update]))

    assert outcome.done == 0
    assert [refusal.reason.startswith("there is no queue") for refusal in outcome.refused] == [True]
    assert await remaining(broker) == message_ids([update])


@pytest.mark.parametrize(
    "stray",
    [
        make_order_message(exchange="", routing_key=DINE_IN),
        make_update_about(
            "ORD_20241216_001", exchange="", routing_key="notifications_queue.printer"
        ),
    ],
    ids=["order", "update"],
)
async def test_message_published_to_the_default_exchange_is_requeued_to_its_queue(
    broker: Broker, stray: Message
) -> None:
    queue = stray.routing_key
    async with broker.subscribe("printer"):
        pass
    await dead_letter(broker, stray, queue=queue)

    await requeue(broker, ids_of([stray]))

    async with broker.consume([queue], prefetch=1) as cook:
        assert (await receive_one(cook)).message.message_id == stray.message_id


async def test_unroutable_dead_letter_stays_and_others_are_requeued(broker: Broker) -> None:
    stray, good = make_order_message(exchange="", routing_key=DEAD_LETTERS), make_order_message()
    await broker.publish([stray])
    await dead_letter(broker, good)

    outcome = await requeue(broker, ids_of([stray, good]))

    assert outcome.done == 1
    assert message_ids(each.message for each in outcome.refused) == message_ids([stray])
    assert await remaining(broker) == message_ids([stray])


@pytest.mark.parametrize("lost", [0, 1])
async def test_of_copies_with_one_id_only_the_routable_one_is_requeued(
    broker: Broker, lost: int
) -> None:
    message_id = uuid4()
    queues = [TAKEOUT, TAKEOUT]
    queues[lost] = "notifications_queue.gone"
    await broker.publish(
        [
            make_order_message(exchange="orders_dlx", message_id=message_id, headers={QUEUE: queue})
            for queue in queues
        ]
    )

    result = await requeue(broker, [str(message_id)])

    assert (result.done, len(result.refused)) == (1, 1)
    assert [letter.queue for letter in await dead_letters.read(broker)] == [queues[lost]]
    assert (await broker.depths())[TAKEOUT] == 1


async def test_unique_prefix_of_an_id_selects_a_dead_letter(broker: Broker) -> None:
    selection = make_order_message(message_id=UUID("11aa0000-0000-4000-8000-000000000000"))
    other = make_order_message(message_id=UUID("11bb0000-0000-4000-8000-000000000000"))
    await dead_letter(broker, selection, other)

    assert (await discard(broker, ["11A"])).done == 1

    assert await remaining(broker) == message_ids([other])


@pytest.mark.parametrize("act", [requeue, discard])
async def test_unknown_or_ambiguous_dead_letter_id_changes_nothing(
    broker: Broker, act: Callable[[Broker, list[str]], Awaitable[object]]
) -> None:
    one = make_order_message(message_id=UUID("11aa0000-0000-4000-8000-000000000000"))
    two = make_order_message(message_id=UUID("11bb0000-0000-4000-8000-000000000000"))
    await dead_letter(broker, one, two)

    for wrong in ("11", "99", ""):  # ambiguous, unknown and empty
        with pytest.raises(DeadLetterNotFound):
            await act(broker, [str(one.message_id), wrong])

    assert await remaining(broker) == message_ids([one, two])
    assert (await broker.depths())[TAKEOUT] == 0


async def test_discarded_dead_letter_is_deleted_and_others_stay(broker: Broker) -> None:
    gone, kept = make_order_messages(2)
    await dead_letter(broker, gone, kept)

    assert (await discard(broker, ids_of([gone]))).done == 1

    assert await remaining(broker) == message_ids([kept])
    assert (await broker.depths())[TAKEOUT] == 0


async def test_thousands_of_dead_letters_are_read_requeued_and_discarded_in_time(
    broker: Broker,
) -> None:
    story = {QUEUE: TAKEOUT, EXCHANGE: "orders_topic", ROUTING_KEY: "kitchen.takeout.1"}
    letters = [make_order_message(exchange="orders_dlx", headers=story) for _ in range(3_000)]
    await broker.publish(letters)

    async with asyncio.timeout(30):
        assert await remaining(broker) == message_ids(letters)
        some = await requeue(broker, ids_of(letters[:1_000]))
        counted = await dead_letters.requeue(
            broker, UNSIGNED, All({letter.message_id for letter in letters[:2_000]}), Result()
        )
        rest = await dead_letters.discard(broker, All(), Result())

    assert (some.done, counted.done, rest.done) == (1_000, 1_000, 1_000)
    assert await broker.depths() == {**dict.fromkeys(QUEUES, 0), TAKEOUT: 2_000}


async def test_cancelled_requeue_completes_its_batch_and_counts_it(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dead_letters, "BATCH_SIZE", 2)
    letters = make_order_messages(5)
    await dead_letter(broker, *letters)
    result = Result()
    task = asyncio.create_task(dead_letters.requeue(broker, UNSIGNED, All(), result))
    ack_all = broker.ack_all

    async def cancel_and_ack(deliveries: Sequence[Delivery]) -> None:
        task.cancel()
        await asyncio.sleep(0)
        await ack_all(deliveries)

    monkeypatch.setattr(broker, "ack_all", cancel_and_ack)
    with pytest.raises(asyncio.CancelledError):
        await task

    assert result.done == 2
    assert await remaining(broker) == message_ids(letters[2:])
    assert (await broker.depths())[TAKEOUT] == 2
