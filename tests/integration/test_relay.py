"""The relay publishes outbox messages in order, usually once."""

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

# Only the first sweep happens during a test.
ONE_SWEEP = OutboxSettings(batch=2, sweep_interval=60, sweep_after=0.001)


async def test_messages_passed_to_the_relay_are_published_and_deleted(
    database: Database, broker: Broker
) -> None:
    messages = make_order_messages(5, priority=5)
    relay = Relay(database, broker, NO_SWEEP)

    async with relay.running():
        relay.enqueue(*await fill_outbox(database, *messages))
        async with broker.consume([TAKEOUT], prefetch=1) as cook:
            assert await receive_and_ack(cook, 5) == messages
        await wait_until_outbox_is_empty(database)


async def test_messages_of_a_dead_process_are_swept_in_order(
    database: Database, broker: Broker
) -> None:
    missed = [make_status_update() for _ in range(3)]

    async with broker.subscribe() as subscriber:
        await fill_outbox(database, *missed)
        async with Relay(database, broker, sweep_settings()).running():
            assert await receive_and_ack(subscriber, 3) == missed
            await wait_until_outbox_is_empty(database)


async def test_only_rows_older_than_sweep_after_are_swept(database: Database) -> None:
    broker, old, new = RecordingBroker(), make_order_message(), make_order_message()
    row, _ = await fill_outbox_by_order(database, old, new)
    await backdate(database, row.id, timedelta(hours=2))

    async with Relay(database, broker, NO_SWEEP).running():
        await wait_until_outbox_is_empty(database, but_for=1)

    assert broker.taken == [old]


async def test_refused_message_stays_and_the_others_are_deleted(database: Database) -> None:
    broker, (first, refused, last) = RecordingBroker(), make_order_messages(3)
    broker.refuses = [refused]
    rows = await fill_outbox_by_order(database, first, refused, last)

    relay = Relay(database, broker, NO_SWEEP)
    async with relay.running():
        relay.enqueue(*rows)
        await wait_until_outbox_is_empty(database, but_for=1)

    assert broker.taken == [first, last]


@pytest.fixture
def _short_retry_delay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay_module, "REFUSED_RETRY_DELAY", timedelta(seconds=0.1))


@pytest.mark.usefixtures("_short_retry_delay")
async def test_refused_message_is_published_again_later(database: Database) -> None:
    broker, order = RecordingBroker(), make_order_message()
    broker.refuses = [order]
    await fill_outbox(database, order)

    async with Relay(database, broker, sweep_settings()).running():
        await broker.tried.wait()
        broker.refuses = []
        await wait_until_outbox_is_empty(database)

    assert broker.taken == [order]


async def test_refused_message_is_not_published_again_at_once(database: Database) -> None:
    broker, refused, later = RecordingBroker(), make_order_message(), make_order_message()
    broker.refuses = [refused]
    await fill_outbox(database, refused)

    async with Relay(database, broker, sweep_settings()).running():
        await broker.tried.wait()
        await fill_outbox(database, later, about=OTHER_NUMBER)
        await wait_until_outbox_is_empty(database, but_for=1)

    assert broker.calls == [[], [later]]


async def test_more_refused_messages_than_a_batch_do_not_block_later_ones(
    database: Database,
) -> None:
    broker, refused, good = RecordingBroker(), make_order_messages(5), make_order_message()
    broker.refuses = refused
    await fill_outbox_by_order(database, *refused, good)

    async with Relay(database, broker, sweep_settings(batch=2)).running():
        await wait_until_outbox_is_empty(database, but_for=5)

    assert broker.taken == [good]


async def test_sweep_continues_after_refused_messages(database: Database) -> None:
    """A message behind many refused ones is published in the same sweep."""
    broker, refused, good = RecordingBroker(), make_order_messages(9), make_order_message()
    broker.refuses = refused
    await fill_outbox_by_order(database, *refused, good)

    async with Relay(database, broker, ONE_SWEEP).running():
        await wait_until_outbox_is_empty(database, but_for=9)

    assert broker.taken == [good]


async def test_new_message_is_published_during_a_long_sweep(database: Database) -> None:
    """A long sweep continues without a pause while new messages are published."""
    broker, left_behind, new = RecordingBroker(), make_order_messages(9), make_order_message()
    rows = await fill_outbox_by_order(database, *left_behind, new)
    for row in rows[:-1]:
        await backdate(database, row.id, timedelta(hours=2))
    relay = Relay(database, broker, ONE_SWEEP.model_copy(update={"sweep_after": 3600}))

    relay.enqueue(rows[-1])
    async with relay.running():
        await wait_until_outbox_is_empty(database)

    assert broker.taken.index(new) < 3
    assert len(broker.taken) == 10


@pytest.mark.usefixtures("_short_retry_delay")
async def test_message_waits_for_a_refused_one_of_its_stream(database: Database) -> None:
    broker = RecordingBroker()
    cooking, ready = make_status_update(), make_status_update()
    broker.refuses = [cooking]
    await fill_outbox(database, cooking, ready)

    async with Relay(database, broker, sweep_settings()).running():
        await broker.tried.wait()
        broker.refuses = []
        await wait_until_outbox_is_empty(database)

    assert message_ids(broker.taken) == message_ids([cooking, ready])


async def test_message_in_flight_is_not_swept_by_another_relay(database: Database) -> None:
    slow, quick = RecordingBroker(), RecordingBroker()
    slow.answers.clear()
    published = make_order_messages(2)
    in_flight, left_behind = await fill_outbox_by_order(database, *published)
    await backdate(database, left_behind.id, timedelta(seconds=5))
    slow_relay = Relay(database, slow, NO_SWEEP)

    async with slow_relay.running():
        slow_relay.enqueue(in_flight)
        await slow.tried.wait()
        async with Relay(database, quick, sweep_settings(after=4)).running():
            await wait_until_outbox_is_empty(database, but_for=1)
        slow.answers.set()
        await wait_until_outbox_is_empty(database)

    assert (slow.taken, quick.taken) == (published[:1], published[1:])


async def test_two_relays_publish_each_row_once(database: Database) -> None:
    broker, messages = RecordingBroker(), make_order_messages(300)
    relays = [Relay(database, broker, sweep_settings(batch=7)) for _ in range(2)]
    rows = await fill_outbox_by_order(database, *messages)
    for relay in relays:
        relay.enqueue(*rows)
    await asyncio.sleep(0.01)  # so that they are too old to be published from memory

    async with relays[0].running(), relays[1].running():
        await wait_until_outbox_is_empty(database)

    assert Counter(message_ids(broker.taken)) == Counter(message_ids(messages))


async def test_new_message_waits_for_an_older_one_that_a_crash_left_behind(
    database: Database,
) -> None:
    broker, left_behind, new = RecordingBroker(), make_status_update(), make_status_update()
    await fill_outbox(database, left_behind)
    (row,) = await fill_outbox(database, new)
    relay = Relay(database, broker, sweep_settings(after=0.5))

    async with relay.running():
        relay.enqueue(row)
        await wait_until_outbox_is_empty(database)

    assert message_ids(broker.taken) == message_ids([left_behind, new])


async def test_stream_is_published_in_order_if_passed_out_of_order(
    database: Database,
) -> None:
    broker, first, second = RecordingBroker(), make_status_update(), make_status_update()
    early, late = await fill_outbox(database, first, second)
    relay = Relay(database, broker, sweep_settings(batch=1, after=0.5))

    async with relay.running():
        relay.enqueue(late, early)
        await wait_until_outbox_is_empty(database)

    assert message_ids(broker.taken) == message_ids([first, second])


async def test_message_behind_another_process_is_published_without_a_sweep(
    database: Database,
) -> None:
    broker, other, own = RecordingBroker(), make_status_update(), make_status_update()
    (before,) = await fill_outbox(database, other)
    (behind,) = await fill_outbox(database, own)
    relay = Relay(database, broker, NO_SWEEP)

    async with relay.running():
        relay.enqueue(behind)
        await asyncio.sleep(0.2)
        assert broker.taken == []
        async with database.connection() as connection:
            await outbox.delete(connection, [before.id])
        await wait_until_outbox_is_empty(database)

    assert message_ids(broker.taken) == message_ids([own])


async def test_message_waits_while_another_process_repeats_the_one_before(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay_module, "DELETE_INTERVAL", 0.2)
    broker, cooking, ready = RecordingBroker(), make_status_update(), make_status_update()
    (first,) = await fill_outbox(database, cooking)
    (second,) = await fill_outbox(database, ready)
    relay = Relay(database, broker, NO_SWEEP)

    async with relay.running():
        relay.enqueue(first, second)
        await broker.tried.wait()
        async with database.transaction() as sweep:
            (claimed,) = await outbox.claim(sweep, [first.id])
            await asyncio.sleep(0.5)  # the relay would delete it meanwhile
            await broker.publish([claimed.message])
            await outbox.delete(sweep, [claimed.id])
        await wait_until_outbox_is_empty(database)

    assert message_ids(broker.taken) == message_ids([cooking, cooking, ready])


async def test_relay_publishes_at_most_the_configured_batch_size(database: Database) -> None:
    broker, messages = RecordingBroker(), make_order_messages(10)
    relay = Relay(database, broker, NO_SWEEP.model_copy(update={"batch": 4}))

    async with relay.running():
        relay.enqueue(*await fill_outbox_by_order(database, *messages))
        await wait_until_outbox_is_empty(database)

    assert [len(call) for call in broker.calls] == [4, 4, 2]
