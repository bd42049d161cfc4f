"""The relay when a part is away, when it stops, and when there is too much: nothing is lost."""

import asyncio
import tracemalloc
from dataclasses import replace

import pytest

from restaurant_system.config import DatabaseSettings
from restaurant_system.database.connection import Database
from restaurant_system.database.outbox import OutboxMessage
from restaurant_system.messaging import relay as relay_module
from restaurant_system.messaging.relay import Relay
from tests.conftest import open_database
from tests.support.broker_connections import PostgresConnections
from tests.support.fakes import RecordingBroker
from tests.support.messages import (
    RECEIVE_TIMEOUT,
    make_order_message,
    make_order_messages,
    message_ids,
)
from tests.support.outbox import (
    NO_SWEEP,
    backlog,
    fill_outbox,
    fill_outbox_by_order,
    sweep_settings,
    wait_until_outbox_is_empty,
)


async def test_an_outage_of_the_broker_loses_nothing(database: Database) -> None:
    """With the broker away the rows stay; once it is back they go, in order, by themselves."""
    broker, owed = RecordingBroker(), make_order_messages(5)
    broker.away = True
    relay = Relay(database, broker, NO_SWEEP)

    async with relay.running():
        relay.hand_over(*await fill_outbox(database, *owed[:3]))
        await broker.tried.wait()
        relay.hand_over(*await fill_outbox(database, *owed[3:]))
        assert await backlog(database) == 5
        broker.away = False
        await wait_until_outbox_is_empty(database)

    assert broker.taken == owed


async def test_an_outage_of_the_database_loses_nothing(database: Database, dsn: str) -> None:
    """A row whose deletion could not be committed is deleted later, and the relay goes on."""
    broker, (first, second) = RecordingBroker(), make_order_messages(2)
    broker.answers.clear()
    relay = Relay(database, broker, NO_SWEEP)
    rows = await fill_outbox_by_order(database, first, second)

    async with relay.running():
        relay.hand_over(rows[0])
        await broker.tried.wait()
        await PostgresConnections(dsn).cut()
        broker.answers.set()
        async with open_database(dsn) as another:
            await wait_until_outbox_is_empty(another, but_for=1)
            relay.hand_over(rows[1])
            await wait_until_outbox_is_empty(another)

    assert message_ids(broker.taken) == message_ids([first, second])


async def test_what_is_handed_over_last_is_published_before_the_relay_stops(
    database: Database,
) -> None:
    """Leaving the block flushes: a service that stops leaves no work to the sweep of others."""
    broker, order = RecordingBroker(), make_order_message()
    relay = Relay(database, broker, NO_SWEEP)

    async with relay.running():
        relay.hand_over(*await fill_outbox(database, order))

    assert broker.taken == [order]
    assert await backlog(database) == 0


async def test_a_broker_that_is_away_does_not_hold_up_the_stop(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The flush gives up after a while; what it did not publish is still owed."""
    monkeypatch.setattr(relay_module, "FLUSH_TIMEOUT", 0.1)
    broker = RecordingBroker()
    broker.answers.clear()
    relay = Relay(database, broker, NO_SWEEP)

    async with asyncio.timeout(5), relay.running():
        relay.hand_over(*await fill_outbox(database, make_order_message()))

    assert broker.taken == []
    assert await backlog(database) == 1


async def test_an_error_of_our_own_stops_the_relay_loudly(database: Database) -> None:
    """What is no outage is not retried for ever in silence."""
    broker = RecordingBroker()
    broker.error = ZeroDivisionError("a bug")
    relay = Relay(database, broker, NO_SWEEP)

    async def run() -> None:
        async with relay.running():
            relay.hand_over(*await fill_outbox(database, make_order_message()))
            await asyncio.Event().wait()

    with pytest.raises(ExceptionGroup) as raised:
        await asyncio.wait_for(run(), RECEIVE_TIMEOUT)

    assert raised.group_contains(ZeroDivisionError)
    assert await backlog(database) == 1


async def test_what_does_not_fit_into_memory_is_swept(database: Database) -> None:
    """A row whose id was forgotten under load waits a little, and goes."""
    broker, order = RecordingBroker(), make_order_message()
    (owed,) = await fill_outbox(database, order)
    relay = Relay(database, broker, sweep_settings(batch=5_000))
    forgotten = [replace(owed, id=owed.id + place, previous_id=0) for place in range(1, 15_000)]

    async with relay.running():
        relay.hand_over(replace(owed, previous_id=0), *forgotten)
        await wait_until_outbox_is_empty(database)

    assert broker.taken == [order]


def test_a_long_outage_takes_no_more_and_more_memory() -> None:
    """However much is handed over, the relay remembers only so much of it."""
    nowhere = Database("postgresql://nowhere", DatabaseSettings(), application_name="test")
    order = make_order_message()
    relay = Relay(nowhere, RecordingBroker(), NO_SWEEP)

    tracemalloc.start()
    for row in range(150_000):
        relay.hand_over(OutboxMessage(row, f"stream-{row}", order, previous_id=row % 2 or None))
    remembered, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert remembered < 10_000_000  # bytes; all of them would be 30 million
