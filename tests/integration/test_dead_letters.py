"""What a person can do with dead letters, on either broker."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from uuid import UUID, uuid4

import pytest
from pydantic import SecretStr

from restaurant_system.config import DeliverySettings
from restaurant_system.errors import DeadLetterNotFound, DeadLettersInHand
from restaurant_system.messaging import dead_letters
from restaurant_system.messaging.broker import EXCHANGE, QUEUE, ROUTING_KEY, Broker, Delivery
from restaurant_system.messaging.dead_letters import All, Named, Tally
from restaurant_system.messaging.signature import UNSIGNED, Signer
from restaurant_system.models.message import Message
from tests.conftest import make_rabbitmq_broker
from tests.support.messages import (
    DEAD_LETTERS,
    DINE_IN,
    QUEUES,
    TAKEOUT,
    ids,
    make_order_message,
    make_status_update,
    orders,
    take_and_ack,
    take_one,
)


async def put_aside(broker: Broker, *messages: Message, queue: str = TAKEOUT) -> None:
    """Make dead letters of these messages, which all arrive in this queue."""
    await broker.publish(messages)
    async with broker.consume([queue], prefetch=1) as cook:
        for _ in messages:
            await (await take_one(cook)).dead_letter("the oven is cold")


async def requeue(broker: Broker, ids: Sequence[str]) -> Tally:
    """Send letters back where nobody signs."""
    return await dead_letters.requeue(broker, UNSIGNED, Named(ids), Tally())


async def discard(broker: Broker, ids: Sequence[str]) -> Tally:
    """Throw letters away."""
    return await dead_letters.discard(broker, Named(ids), Tally())


async def left_over(broker: Broker) -> list[UUID]:
    """Name the dead letters that there are."""
    return ids(letter.message for letter in await dead_letters.read(broker))


def named(messages: Sequence[Message]) -> list[str]:
    """Name messages as a person does."""
    return [str(message.message_id) for message in messages]


async def test_browsing_shows_everything_in_its_order_and_changes_nothing(broker: Broker) -> None:
    """What is only looked at stays where it was, in the same order."""
    letters = orders(3)
    await put_aside(broker, *letters)

    async with broker.browse(DEAD_LETTERS) as first:
        seen = ids(first)
    async with broker.browse(DEAD_LETTERS) as again:
        seen_again = ids(again)

    assert seen == seen_again == ids(letters)
    assert (await broker.depths())[DEAD_LETTERS] == 3


async def test_what_is_settled_while_browsing_is_gone_and_the_rest_keeps_its_place(
    broker: Broker,
) -> None:
    """Only what was acknowledged leaves the queue."""
    letters = orders(3)
    await put_aside(broker, *letters)

    async with broker.browse(DEAD_LETTERS) as taken:
        await taken[1].ack()

    assert await left_over(broker) == ids([letters[0], letters[2]])


async def test_one_at_a_time_has_the_letters_in_hand(broker: Broker, other_broker: Broker) -> None:
    """The second is told so, rather than that there are none; then it is their turn at once."""
    (letter,) = orders(1)
    await put_aside(broker, letter)

    for _ in range(5):
        async with broker.browse(DEAD_LETTERS):
            with pytest.raises(DeadLettersInHand):
                await dead_letters.read(other_broker)
            with pytest.raises(DeadLettersInHand):
                await requeue(other_broker, named([letter]))

        assert await left_over(other_broker) == ids([letter])


async def test_what_comes_while_somebody_looks_is_there_afterwards(broker: Broker) -> None:
    """A letter that arrives meanwhile is not in hand, and is not lost either."""
    early, late = orders(2)
    await put_aside(broker, early)

    async with broker.browse(DEAD_LETTERS) as in_hand:
        await put_aside(broker, late)
        assert ids(in_hand) == ids([early])
        await broker.ack_all(in_hand)

    assert await left_over(broker) == ids([late])


async def test_a_broker_that_is_new_has_no_dead_letters(
    amqp_url: str, delivery: DeliverySettings
) -> None:
    """Whoever looks before any service has ever run sees that there are none."""
    broker = make_rabbitmq_broker(amqp_url, delivery)

    async with contextlib.AsyncExitStack() as end:
        end.push_async_callback(broker.close)
        assert await dead_letters.read(broker) == []


async def test_what_was_in_a_hand_that_died_comes_back(
    broker: Broker, other_broker: Broker
) -> None:
    """A command that is cut off in the middle loses no letter."""
    (letter,) = orders(1)
    await put_aside(broker, letter)

    with pytest.raises(ZeroDivisionError):
        async with broker.browse(DEAD_LETTERS):
            raise ZeroDivisionError

    assert await left_over(other_broker) == ids([letter])


async def test_an_empty_queue_has_nothing_to_browse(broker: Broker) -> None:
    """Where there is nothing, nobody waits."""
    assert await dead_letters.read(broker) == []


async def test_a_letter_tells_its_story(broker: Broker) -> None:
    """Where it came from, how often it was tried, since when, and why it was put aside."""
    await put_aside(broker, make_order_message(priority=5))

    (letter,) = await dead_letters.read(broker)

    assert letter.order_number == "ORD_20241216_001"
    assert letter.reason == "the oven is cold"
    assert letter.attempts == "1"
    assert (letter.queue, letter.exchange) == (TAKEOUT, "orders_topic")
    assert letter.routing_key == "kitchen.takeout.5"
    assert letter.first_seen


async def test_what_is_sent_back_is_as_it_first_came(broker: Broker) -> None:
    """A cook gets the same order again, at its first attempt, with nothing that it collected."""
    order = make_order_message(priority=5, headers={"table": "twelve"})
    await broker.publish([order])
    async with broker.consume([TAKEOUT], prefetch=1) as cook:
        for _ in range(3):
            await (await take_one(cook)).retry("the oven is cold")

    outcome = await requeue(broker, named([order]))

    assert (outcome.done, outcome.refused) == (1, [])
    async with broker.consume([TAKEOUT], prefetch=1) as cook:
        again = await take_one(cook)
    assert again.message == order
    assert again.attempt == 1
    assert await dead_letters.read(broker) == []


async def test_who_sends_a_letter_back_vouches_for_it(broker: Broker) -> None:
    """What was put aside for want of a signature is signed anew, and is accepted then."""
    signer = Signer([SecretStr("the restaurant's own key")])
    unsigned = make_order_message()
    await put_aside(broker, unsigned)

    await dead_letters.requeue(broker, signer, Named(named([unsigned])), Tally())

    async with broker.consume([TAKEOUT], prefetch=1) as cook:
        signer.verify((await take_one(cook)).message)


async def test_nobody_vouches_for_what_they_have_not_named(broker: Broker) -> None:
    """Of all letters, those without a signature of ours stay; the reason they state is no proof."""
    signer = Signer([SecretStr("the restaurant's own key")])
    genuine = signer.sign(make_order_message())
    forged = Signer([SecretStr("somebody else's")]).sign(make_order_message())
    await put_aside(broker, make_order_message(), genuine, forged)

    outcome = await dead_letters.requeue(broker, signer, All(), Tally())

    assert (outcome.done, outcome.doubtful) == (1, 2)
    assert len(await left_over(broker)) == 2
    async with broker.consume([TAKEOUT], prefetch=1) as cook:
        assert (await take_one(cook)).message.message_id == genuine.message_id


async def test_an_update_goes_back_to_whom_it_is_owed(broker: Broker) -> None:
    """Each subscriber that put an update aside gets it once more, and nobody else does."""
    update, next_one = make_status_update(), make_status_update()
    async with (
        broker.subscribe("deft") as deft,
        broker.subscribe("clumsy") as clumsy,
        broker.subscribe("tired") as tired,
    ):
        await broker.publish([update])
        for subscriber in (clumsy, tired):
            await (await take_one(subscriber)).dead_letter("out of paper")

        outcome = await requeue(broker, named([update]))
        await broker.publish([next_one])

        assert outcome.done == 2
        for subscriber in (deft, clumsy, tired):
            assert ids(await take_and_ack(subscriber, 2)) == ids([update, next_one])


async def test_an_update_whose_subscriber_is_gone_stays_a_letter(broker: Broker) -> None:
    """Nothing is lost with a queue that went with its subscriber."""
    update = make_status_update()
    async with broker.subscribe() as passing:
        await broker.publish([update])
        await (await take_one(passing)).dead_letter("out of paper")

    outcome = await requeue(broker, named([update]))

    assert outcome.done == 0
    assert [refusal.reason.startswith("there is no queue") for refusal in outcome.refused] == [True]
    assert await left_over(broker) == ids([update])


@pytest.mark.parametrize("queue", [DINE_IN, "notifications_queue.printer"])
async def test_what_was_put_straight_into_a_queue_goes_back_there(
    broker: Broker, queue: str
) -> None:
    """A letter that came by no exchange goes back to the queue that it was in."""
    stray = make_order_message(exchange="", routing_key=queue)
    async with broker.subscribe("printer"):
        pass
    await put_aside(broker, stray, queue=queue)

    await requeue(broker, named([stray]))

    async with broker.consume([queue], prefetch=1) as cook:
        assert (await take_one(cook)).message.message_id == stray.message_id


async def test_what_no_queue_takes_stays_a_letter(broker: Broker) -> None:
    """A letter that does not say where it came from is refused, and the others go back."""
    stray, good = make_order_message(exchange="", routing_key=DEAD_LETTERS), make_order_message()
    await broker.publish([stray])
    await put_aside(broker, good)

    outcome = await requeue(broker, named([stray, good]))

    assert outcome.done == 1
    assert ids(each.message for each in outcome.refused) == ids([stray])
    assert await left_over(broker) == ids([stray])


@pytest.mark.parametrize("lost", [0, 1])
async def test_of_letters_with_one_id_the_one_whose_queue_is_gone_stays(
    broker: Broker, lost: int
) -> None:
    """Copies of a message that lay in two queues: the other one is sent back, and only it."""
    message_id = uuid4()
    queues = [TAKEOUT, TAKEOUT]
    queues[lost] = "notifications_queue.gone"
    await broker.publish(
        [
            make_order_message(exchange="orders_dlx", message_id=message_id, headers={QUEUE: queue})
            for queue in queues
        ]
    )

    tally = await dead_letters.requeue(broker, UNSIGNED, All(), Tally())

    assert (tally.done, len(tally.refused)) == (1, 1)
    assert [letter.queue for letter in await dead_letters.read(broker)] == [queues[lost]]
    assert (await broker.depths())[TAKEOUT] == 1


async def test_the_beginning_of_an_id_will_do(broker: Broker) -> None:
    """An id may be written as short as it is unique, as git has it."""
    chosen = make_order_message(message_id=UUID("11aa0000-0000-4000-8000-000000000000"))
    other = make_order_message(message_id=UUID("11bb0000-0000-4000-8000-000000000000"))
    await put_aside(broker, chosen, other)

    assert (await discard(broker, ["11A"])).done == 1

    assert await left_over(broker) == ids([other])


@pytest.mark.parametrize("wrong", ["11", "99", ""], ids=["ambiguous", "unknown", "empty"])
@pytest.mark.parametrize("act", [requeue, discard])
async def test_one_wrong_id_and_nothing_is_touched(
    broker: Broker, act: Callable[[Broker, list[str]], Awaitable[object]], wrong: str
) -> None:
    """An id that means no letter, or several, keeps the others from being touched as well."""
    one = make_order_message(message_id=UUID("11aa0000-0000-4000-8000-000000000000"))
    two = make_order_message(message_id=UUID("11bb0000-0000-4000-8000-000000000000"))
    await put_aside(broker, one, two)

    with pytest.raises(DeadLetterNotFound):
        await act(broker, [str(one.message_id), wrong])

    assert await left_over(broker) == ids([one, two])
    assert (await broker.depths())[TAKEOUT] == 0


async def test_what_is_discarded_is_gone(broker: Broker) -> None:
    """A letter that was thrown away comes back nowhere; the others stay."""
    gone, kept = orders(2)
    await put_aside(broker, gone, kept)

    assert (await discard(broker, named([gone]))).done == 1

    assert await left_over(broker) == ids([kept])
    assert (await broker.depths())[TAKEOUT] == 0


async def test_thousands_of_letters_are_no_burden(broker: Broker) -> None:
    """A bad evening's letters are all shown, sent back and thrown away, within moments."""
    story = {QUEUE: TAKEOUT, EXCHANGE: "orders_topic", ROUTING_KEY: "kitchen.takeout.1"}
    letters = [make_order_message(exchange="orders_dlx", headers=story) for _ in range(3_000)]
    await broker.publish(letters)

    async with asyncio.timeout(30):
        assert await left_over(broker) == ids(letters)
        some = await requeue(broker, named(letters[:1_000]))
        counted = await dead_letters.requeue(
            broker, UNSIGNED, All({letter.message_id for letter in letters[:2_000]}), Tally()
        )
        rest = await dead_letters.discard(broker, All(), Tally())

    assert (some.done, counted.done, rest.done) == (1_000, 1_000, 1_000)
    assert await broker.depths() == {**dict.fromkeys(QUEUES, 0), TAKEOUT: 2_000}


async def test_what_is_under_way_when_we_are_called_off_is_done_and_counted(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After Ctrl-C the tally is true: so many went back, and the rest stays."""
    monkeypatch.setattr(dead_letters, "BATCH", 2)
    letters = orders(5)
    await put_aside(broker, *letters)
    tally = Tally()
    task = asyncio.create_task(dead_letters.requeue(broker, UNSIGNED, All(), tally))
    ack_all = broker.ack_all

    async def called_off_meanwhile(deliveries: Sequence[Delivery]) -> None:
        task.cancel()
        await asyncio.sleep(0)
        await ack_all(deliveries)

    monkeypatch.setattr(broker, "ack_all", called_off_meanwhile)
    with pytest.raises(asyncio.CancelledError):
        await task

    assert tally.done == 2
    assert await left_over(broker) == ids(letters[2:])
    assert (await broker.depths())[TAKEOUT] == 2
