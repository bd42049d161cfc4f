"""The relay during outages, while it stops, and under overload loses nothing."""

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


async def test_messages_are_published_in_order_after_a_broker_outage(database: Database) -> None:
    broker, messages = RecordingBroker(), make_order_messages(5)
    broker.unavailable = True
    relay = Relay(database, broker, NO_SWEEP)

    async with relay.running():
        relay.enqueue(*await fill_outbox(database, *messages[:3]))
        await broker.tried.wait()
        relay.enqueue(*await fill_outbox(database, *messages[3:]))
        assert await backlog(database) == 5
        broker.unavailable = False
        await wait_until_outbox_is_empty(database)

    assert broker.taken == messages


async def test_row_is_deleted_after_a_database_outage(database: Database, dsn: str) -> None:
    broker, (first, second) = RecordingBroker(), make_order_messages(2)
    broker.answers.clear()
    relay = Relay(database, broker, NO_SWEEP)
    rows = await fill_outbox_by_order(database, first, second)

    async with relay.running():
        relay.enqueue(rows[0])
        await broker.tried.wait()
        await PostgresConnections(dsn).cut()
        broker.answers.set()
        async with open_database(dsn) as another:
            await wait_until_outbox_is_empty(another, but_for=1)
            relay.enqueue(rows[1])
            await wait_until_outbox_is_empty(another)

    assert message_ids(broker.taken) == message_ids([first, second])


async def test_relay_publishes_its_last_messages_before_it_stops(
    database: Database,
) -> None:
    broker, order = RecordingBroker(), make_order_message()
    relay = Relay(database, broker, NO_SWEEP)

    async with relay.running():
        relay.enqueue(*await fill_outbox(database, order))

    assert broker.taken == [order]
    assert await backlog(database) == 0


async def test_unavailable_broker_does_not_delay_the_stop(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unpublished messages stay in the outbox."""
    monkeypatch.setattr(relay_module, "FLUSH_TIMEOUT", 0.1)
    broker = RecordingBroker()
    broker.answers.clear()
    relay = Relay(database, broker, NO_SWEEP)

    async with asyncio.timeout(5), relay.running():
        relay.enqueue(*await fill_outbox(database, make_order_message()))

    assert broker.taken == []
    assert await backlog(database) == 1


@pytest.mark.usefixtures("quick_cancellation")
async def test_relay_that_loses_a_cancellation_ends_at_the_stop(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay_module, "FLUSH_TIMEOUT", 0.1)
    broker = RecordingBroker()
    broker.lost_cancellations = 1
    relay = Relay(database, broker, NO_SWEEP)

    async with asyncio.timeout(RECEIVE_TIMEOUT), relay.running():
        relay.enqueue(*await fill_outbox(database, make_order_message()))
        await broker.tried.wait()


async def test_unexpected_error_stops_the_relay(database: Database) -> None:
    broker = RecordingBroker()
    broker.error = ZeroDivisionError("a bug")
    relay = Relay(database, broker, NO_SWEEP)

    async def run() -> None:
        async with relay.running():
            relay.enqueue(*await fill_outbox(database, make_order_message()))
            await asyncio.Event().wait()

    with pytest.raises(ExceptionGroup) as raised:
        await asyncio.wait_for(run(), RECEIVE_TIMEOUT)

    assert raised.group_contains(ZeroDivisionError)
    assert await backlog(database) == 1


async def test_message_that_does_not_fit_into_memory_is_swept(database: Database) -> None:
    broker, order = RecordingBroker(), make_order_message()
    (row,) = await fill_outbox(database, order)
    relay = Relay(database, broker, sweep_settings(batch=5_000))
    others = [replace(row, id=row.id + number, previous_id=0) for number in range(1, 15_000)]

    async with relay.running():
        relay.enqueue(replace(row, previous_id=0), *others)
        await wait_until_outbox_is_empty(database)

    assert broker.taken == [order]


def test_memory_of_the_relay_is_bounded() -> None:
    database = Database("postgresql://unused", DatabaseSettings(), application_name="test")
    order = make_order_message()
    relay = Relay(database, RecordingBroker(), NO_SWEEP)

    tracemalloc.start()
    for row in range(150_000):
        relay.enqueue(OutboxMessage(row, f"stream-{row}", order, previous_id=row % 2 or None))
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert size < 10_000_000  # bytes; all of them would be 30 million
