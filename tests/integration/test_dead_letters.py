"""What a person can do with dead letters, on either broker."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from uuid import UUID

import pytest
from pydantic import SecretStr

from restaurant_system.errors import NoSuchDeadLetter
from restaurant_system.messaging import dead_letters
from restaurant_system.messaging.broker import Broker
from restaurant_system.messaging.dead_letters import Requeued
from restaurant_system.messaging.signature import UNSIGNED, Signer
from restaurant_system.models.message import Message
from tests.support.messages import (
    DEAD_LETTERS,
    DINE_IN,
    TAKEOUT,
    an_order,
    an_update,
    ids,
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


async def requeue(broker: Broker, ids: Sequence[str]) -> Requeued:
    """Send letters back where nobody signs."""
    return await dead_letters.requeue(broker, UNSIGNED, ids)


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


async def test_what_somebody_has_in_hand_nobody_else_can_send_back(
    broker: Broker, other_broker: Broker
) -> None:
    """Two people at once do not send the same letter back twice."""
    (letter,) = orders(1)
    await put_aside(broker, letter)

    async with broker.browse(DEAD_LETTERS):
        assert await dead_letters.read(other_broker) == []
        with pytest.raises(NoSuchDeadLetter, match="somebody else has it in hand"):
            await requeue(other_broker, named([letter]))

    assert len(await dead_letters.read(other_broker)) == 1


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
    await put_aside(broker, an_order(priority=5))

    (letter,) = await dead_letters.read(broker)

    assert letter.order_number == "ORD_20241216_001"
    assert letter.reason == "the oven is cold"
    assert letter.attempts == "1"
    assert (letter.queue, letter.exchange) == (TAKEOUT, "orders_topic")
    assert letter.routing_key == "kitchen.takeout.5"
    assert letter.first_seen


async def test_what_is_sent_back_is_as_it_first_came(broker: Broker) -> None:
    """A cook gets the same order again, at its first attempt, with nothing that it collected."""
    order = an_order(priority=5, headers={"table": "twelve"})
    await broker.publish([order])
    async with broker.consume([TAKEOUT], prefetch=1) as cook:
        for _ in range(3):
            await (await take_one(cook)).retry("the oven is cold")

    outcome = await requeue(broker, named([order]))

    assert (outcome.count, outcome.refused) == (1, [])
    async with broker.consume([TAKEOUT], prefetch=1) as cook:
        again = await take_one(cook)
    assert again.message == order
    assert again.attempt == 1
    assert await dead_letters.read(broker) == []


async def test_who_sends_a_letter_back_vouches_for_it(broker: Broker) -> None:
    """What was put aside for want of a signature is signed anew, and is accepted then."""
    signer = Signer([SecretStr("the restaurant's own key")])
    unsigned = an_order()
    await put_aside(broker, unsigned)

    await dead_letters.requeue(broker, signer, named([unsigned]))

    async with broker.consume([TAKEOUT], prefetch=1) as cook:
        signer.verify((await take_one(cook)).message)


async def test_an_update_goes_back_to_every_subscriber(broker: Broker) -> None:
    """An update that one could not print goes through its fanout again."""
    update = an_update()
    async with broker.subscribe("deft") as deft, broker.subscribe("clumsy") as clumsy:
        await broker.publish([update])
        await (await take_one(clumsy)).dead_letter("out of paper")

        await requeue(broker, named([update]))

        assert ids(await take_and_ack(clumsy, 1)) == ids([update])
        assert ids(await take_and_ack(deft, 2)) == ids([update, update])


@pytest.mark.parametrize("queue", [DINE_IN, "notifications_queue.printer"])
async def test_what_was_put_straight_into_a_queue_goes_back_there(
    broker: Broker, queue: str
) -> None:
    """A letter that came by no exchange goes back to the queue that it was in."""
    stray = an_order(exchange="", routing_key=queue)
    async with broker.subscribe("printer"):
        pass
    await put_aside(broker, stray, queue=queue)

    await requeue(broker, named([stray]))

    async with broker.consume([queue], prefetch=1) as cook:
        assert (await take_one(cook)).message.message_id == stray.message_id


async def test_what_no_queue_takes_stays_a_letter(broker: Broker) -> None:
    """A letter that does not say where it came from is refused, and the others go back."""
    stray, good = an_order(exchange="", routing_key=DEAD_LETTERS), an_order()
    await broker.publish([stray])
    await put_aside(broker, good)

    outcome = await requeue(broker, named([stray, good]))

    assert outcome.count == 1
    assert ids(each.message for each in outcome.refused) == ids([stray])
    assert await left_over(broker) == ids([stray])


async def test_the_beginning_of_an_id_will_do(broker: Broker) -> None:
    """An id may be written as short as it is unique, as git has it."""
    chosen = an_order(message_id=UUID("11aa0000-0000-4000-8000-000000000000"))
    other = an_order(message_id=UUID("11bb0000-0000-4000-8000-000000000000"))
    await put_aside(broker, chosen, other)

    assert await dead_letters.discard(broker, ["11A"]) == 1

    assert await left_over(broker) == ids([other])


@pytest.mark.parametrize("wrong", ["11", "99", ""], ids=["ambiguous", "unknown", "empty"])
@pytest.mark.parametrize("act", [requeue, dead_letters.discard])
async def test_one_wrong_id_and_nothing_is_touched(
    broker: Broker, act: Callable[[Broker, list[str]], Awaitable[object]], wrong: str
) -> None:
    """An id that means no letter, or several, keeps the others from being touched as well."""
    one = an_order(message_id=UUID("11aa0000-0000-4000-8000-000000000000"))
    two = an_order(message_id=UUID("11bb0000-0000-4000-8000-000000000000"))
    await put_aside(broker, one, two)

    with pytest.raises(NoSuchDeadLetter):
        await act(broker, [str(one.message_id), wrong])

    assert await left_over(broker) == ids([one, two])
    assert (await broker.depths())[TAKEOUT] == 0


async def test_what_is_discarded_is_gone(broker: Broker) -> None:
    """A letter that was thrown away comes back nowhere; the others stay."""
    gone, kept = orders(2)
    await put_aside(broker, gone, kept)

    assert await dead_letters.discard(broker, named([gone])) == 1

    assert await left_over(broker) == ids([kept])
    assert (await broker.depths())[TAKEOUT] == 0


async def test_thousands_of_letters_are_no_burden(broker: Broker) -> None:
    """A bad evening's letters are all shown."""
    await broker.publish([an_order(exchange="orders_dlx") for _ in range(2_000)])

    async with asyncio.timeout(30):
        assert len(await dead_letters.read(broker)) == 2_000
