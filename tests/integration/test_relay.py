"""The relay: what is owed reaches the broker, once if all goes well, and in order."""

import asyncio
from collections import Counter
from datetime import timedelta

import pytest

from restaurant_system.config import OutboxSettings
from restaurant_system.database import outbox
from restaurant_system.database.connection import Database
from restaurant_system.messaging import relay as relay_module
from restaurant_system.messaging.broker import Broker
from restaurant_system.messaging.relay import Relay
from tests.support.fakes import RecordingBroker
from tests.support.messages import (
    TAKEOUT,
    make_order_message,
    make_order_messages,
    make_status_update,
    message_ids,
    receive_and_ack,
)
from tests.support.outbox import (
    NO_SWEEP,
    OTHER_NUMBER,
    backdate,
    fill_outbox,
    fill_outbox_by_order,
    sweep_settings,
    wait_until_outbox_is_empty,
)

# One sweep is all that a test waits for.
SELDOM_SWEEPING = OutboxSettings(batch=2, sweep_interval=60, sweep_after=0.001)


async def test_what_is_handed_over_reaches_the_broker_and_leaves_the_outbox(
    database: Database, broker: Broker
) -> None:
    """A row is published with all it carries, and struck off."""
    owed = make_order_messages(5, priority=5)
    relay = Relay(database, broker, NO_SWEEP)

    async with relay.running():
        relay.hand_over(*await fill_outbox(database, *owed))
        async with broker.consume([TAKEOUT], prefetch=1) as cook:
            assert await receive_and_ack(cook, 5) == owed
        await wait_until_outbox_is_empty(database)


async def test_what_a_dead_process_left_behind_reaches_the_broker(
    database: Database, broker: Broker
) -> None:
    """Rows that nobody handed over are published by whoever is there, in order."""
    missed = [make_status_update() for _ in range(3)]

    async with broker.subscribe() as subscriber:
        await fill_outbox(database, *missed)
        async with Relay(database, broker, sweep_settings()).running():
            assert await receive_and_ack(subscriber, 3) == missed
            await wait_until_outbox_is_empty(database)


async def test_a_row_of_a_process_in_good_health_is_left_to_it(database: Database) -> None:
    """Only what has waited for longer than `sweep_after` is swept."""
    broker, old, young = RecordingBroker(), make_order_message(), make_order_message()
    row, _ = await fill_outbox_by_order(database, old, young)
    await backdate(database, row.id, timedelta(hours=2))

    async with Relay(database, broker, NO_SWEEP).running():
        await wait_until_outbox_is_empty(database, but_for=1)

    assert broker.taken == [old]


async def test_a_refused_message_stays_and_its_neighbours_go(database: Database) -> None:
    """Only what the broker has confirmed is struck off."""
    broker, (first, refused, last) = RecordingBroker(), make_order_messages(3)
    broker.refuses = [refused]
    rows = await fill_outbox_by_order(database, first, refused, last)

    relay = Relay(database, broker, NO_SWEEP)
    async with relay.running():
        relay.hand_over(*rows)
        await wait_until_outbox_is_empty(database, but_for=1)

    assert broker.taken == [first, last]


@pytest.fixture
def _soon_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay_module, "REFUSED_RETRY_DELAY", timedelta(seconds=0.1))


@pytest.mark.usefixtures("_soon_tried_again")
async def test_a_refused_message_is_tried_again(database: Database) -> None:
    """What was refused goes as soon as the broker takes it."""
    broker, order = RecordingBroker(), make_order_message()
    broker.refuses = [order]
    await fill_outbox(database, order)

    async with Relay(database, broker, sweep_settings()).running():
        await broker.tried.wait()
        broker.refuses = []
        await wait_until_outbox_is_empty(database)

    assert broker.taken == [order]


async def test_a_refused_message_is_not_tried_again_at_once(database: Database) -> None:
    """The broker is not pestered with what it has just refused."""
    broker, refused, later = RecordingBroker(), make_order_message(), make_order_message()
    broker.refuses = [refused]
    await fill_outbox(database, refused)

    async with Relay(database, broker, sweep_settings()).running():
        await broker.tried.wait()
        await fill_outbox(database, later, about=OTHER_NUMBER)
        await wait_until_outbox_is_empty(database, but_for=1)

    assert broker.calls == [[], [later]]


async def test_refused_messages_do_not_hold_up_those_behind_them(database: Database) -> None:
    """However many the broker refuses, what it would take does reach it."""
    broker, refused, good = RecordingBroker(), make_order_messages(5), make_order_message()
    broker.refuses = refused
    await fill_outbox_by_order(database, *refused, good)

    async with Relay(database, broker, sweep_settings(batch=2)).running():
        await wait_until_outbox_is_empty(database, but_for=5)

    assert broker.taken == [good]


async def test_a_sweep_goes_on_past_those_that_are_refused(database: Database) -> None:
    """What stands behind many refused messages leaves in the same sweep, not one of many later."""
    broker, refused, good = RecordingBroker(), make_order_messages(9), make_order_message()
    broker.refuses = refused
    await fill_outbox_by_order(database, *refused, good)

    async with Relay(database, broker, SELDOM_SWEEPING).running():
        await wait_until_outbox_is_empty(database, but_for=9)

    assert broker.taken == [good]


async def test_what_is_fresh_leaves_between_what_was_left_behind(database: Database) -> None:
    """A long sweep lets what is handed over have its turn, and goes on without a pause."""
    broker, left_behind, fresh = RecordingBroker(), make_order_messages(9), make_order_message()
    rows = await fill_outbox_by_order(database, *left_behind, fresh)
    for row in rows[:-1]:
        await backdate(database, row.id, timedelta(hours=2))
    relay = Relay(database, broker, SELDOM_SWEEPING.model_copy(update={"sweep_after": 3600}))

    relay.hand_over(rows[-1])
    async with relay.running():
        await wait_until_outbox_is_empty(database)

    assert broker.taken.index(fresh) < 3
    assert len(broker.taken) == 10


@pytest.mark.usefixtures("_soon_tried_again")
async def test_a_message_does_not_overtake_a_refused_one_of_its_stream(database: Database) -> None:
    """Updates of one order leave in order, also when the broker refuses one for now."""
    broker = RecordingBroker()
    cooking, ready = make_status_update(), make_status_update()
    broker.refuses = [cooking]
    await fill_outbox(database, cooking, ready)

    async with Relay(database, broker, sweep_settings()).running():
        await broker.tried.wait()
        broker.refuses = []
        await wait_until_outbox_is_empty(database)

    assert message_ids(broker.taken) == message_ids([cooking, ready])


async def test_what_is_under_way_is_left_to_it(database: Database) -> None:
    """While one relay waits for the confirmation, others leave the row to it for a while."""
    slow, quick = RecordingBroker(), RecordingBroker()
    slow.answers.clear()
    published = make_order_messages(2)
    under_way, left_behind = await fill_outbox_by_order(database, *published)
    await backdate(database, left_behind.id, timedelta(seconds=5))
    slow_relay = Relay(database, slow, NO_SWEEP)

    async with slow_relay.running():
        slow_relay.hand_over(under_way)
        await slow.tried.wait()
        async with Relay(database, quick, sweep_settings(after=4)).running():
            await wait_until_outbox_is_empty(database, but_for=1)
        slow.answers.set()
        await wait_until_outbox_is_empty(database)

    assert (slow.taken, quick.taken) == (published[:1], published[1:])


async def test_two_relays_publish_each_row_once(database: Database) -> None:
    """However many wait for the same rows and sweep them, each is published by one of them."""
    broker, owed = RecordingBroker(), make_order_messages(300)
    relays = [Relay(database, broker, sweep_settings(batch=7)) for _ in range(2)]
    rows = await fill_outbox_by_order(database, *owed)
    for relay in relays:
        relay.hand_over(*rows)
    await asyncio.sleep(0.01)  # by now they are fresh no more

    async with relays[0].running(), relays[1].running():
        await wait_until_outbox_is_empty(database)

    assert Counter(message_ids(broker.taken)) == Counter(message_ids(owed))


async def test_a_stream_leaves_in_order_though_its_first_message_was_left_behind(
    database: Database,
) -> None:
    """What is handed over waits for an earlier message that a crash left to the sweep."""
    broker, left_behind, fresh = RecordingBroker(), make_status_update(), make_status_update()
    await fill_outbox(database, left_behind)
    (row,) = await fill_outbox(database, fresh)
    relay = Relay(database, broker, sweep_settings(after=0.5))

    async with relay.running():
        relay.hand_over(row)
        await wait_until_outbox_is_empty(database)

    assert message_ids(broker.taken) == message_ids([left_behind, fresh])


async def test_a_stream_leaves_in_order_though_it_was_handed_over_out_of_order(
    database: Database,
) -> None:
    """Whoever commits second and speaks first does not make its message overtake."""
    broker, first, second = RecordingBroker(), make_status_update(), make_status_update()
    early, late = await fill_outbox(database, first, second)
    relay = Relay(database, broker, sweep_settings(batch=1, after=0.5))

    async with relay.running():
        relay.hand_over(late, early)
        await wait_until_outbox_is_empty(database)

    assert message_ids(broker.taken) == message_ids([first, second])


async def test_what_follows_another_process_leaves_as_soon_as_it_may(database: Database) -> None:
    """Behind a row of another process a message waits for its turn, not for a sweep."""
    broker, theirs, ours = RecordingBroker(), make_status_update(), make_status_update()
    (before,) = await fill_outbox(database, theirs)
    (behind,) = await fill_outbox(database, ours)
    relay = Relay(database, broker, NO_SWEEP)

    async with relay.running():
        relay.hand_over(behind)
        await asyncio.sleep(0.2)
        assert broker.taken == []
        async with database.connection() as connection:
            await outbox.delete(connection, [before.id])
        await wait_until_outbox_is_empty(database)

    assert message_ids(broker.taken) == message_ids([ours])


async def test_a_repeat_is_not_heard_after_what_follows_it(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While another process has a row in hand that left from here, what is behind it waits."""
    monkeypatch.setattr(relay_module, "DELETE_INTERVAL", 0.2)
    broker, cooking, ready = RecordingBroker(), make_status_update(), make_status_update()
    (first,) = await fill_outbox(database, cooking)
    (second,) = await fill_outbox(database, ready)
    relay = Relay(database, broker, NO_SWEEP)

    async with relay.running():
        relay.hand_over(first, second)
        await broker.tried.wait()
        async with database.transaction() as sweep:
            (claimed,) = await outbox.claim(sweep, [first.id])
            await asyncio.sleep(0.5)  # the relay would strike it off meanwhile
            await broker.publish([claimed.message])
            await outbox.delete(sweep, [claimed.id])
        await wait_until_outbox_is_empty(database)

    assert message_ids(broker.taken) == message_ids([cooking, cooking, ready])


async def test_batches_have_a_limit(database: Database) -> None:
    """No more than `batch` messages are under way at once."""
    broker, owed = RecordingBroker(), make_order_messages(10)
    relay = Relay(database, broker, NO_SWEEP.model_copy(update={"batch": 4}))

    async with relay.running():
        relay.hand_over(*await fill_outbox_by_order(database, *owed))
        await wait_until_outbox_is_empty(database)

    assert [len(call) for call in broker.calls] == [4, 4, 2]
