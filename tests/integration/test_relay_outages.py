"""The relay when a part is away, when it stops, and when there is too much: nothing is lost."""

import asyncio
import tracemalloc

import pytest

from restaurant_system.config import DatabaseSettings
from restaurant_system.database.connection import Database
from restaurant_system.messaging import relay as relay_module
from restaurant_system.messaging.relay import Relay
from tests.conftest import opened
from tests.support.fakes import RecordingBroker
from tests.support.lines import PostgresLines
from tests.support.messages import PATIENCE, an_order, ids, orders
from tests.support.outbox import HAND_OVER_ONLY, backlog, emptied, owe, owe_each, sweeping


async def test_an_outage_of_the_broker_loses_nothing(database: Database) -> None:
    """With the broker away the rows stay; once it is back they go, in order, by themselves."""
    broker, owed = RecordingBroker(), orders(5)
    broker.away = True
    relay = Relay(database, broker, HAND_OVER_ONLY)

    async with relay.running():
        relay.hand_over(*await owe(database, *owed[:3]))
        await broker.tried.wait()
        relay.hand_over(*await owe(database, *owed[3:]))
        assert await backlog(database) == 5
        broker.away = False
        await emptied(database)

    assert broker.taken == owed


async def test_an_outage_of_the_database_loses_nothing(database: Database, dsn: str) -> None:
    """A row whose deletion could not be committed is published again, and the relay goes on."""
    broker, (first, second) = RecordingBroker(), orders(2)
    broker.answers.clear()
    relay = Relay(database, broker, HAND_OVER_ONLY)
    rows = await owe_each(database, first, second)

    async with relay.running():
        relay.hand_over(rows[0])
        await broker.tried.wait()
        await PostgresLines(dsn).cut()
        broker.answers.set()
        async with opened(dsn) as another:
            await emptied(another, but_for=1)
            relay.hand_over(rows[1])
            await emptied(another)

    assert ids(broker.taken) == ids([first, first, second])


async def test_what_is_handed_over_last_is_published_before_the_relay_stops(
    database: Database,
) -> None:
    """Leaving the block flushes: a service that stops leaves no work to the sweep of others."""
    broker, order = RecordingBroker(), an_order()
    relay = Relay(database, broker, HAND_OVER_ONLY)

    async with relay.running():
        relay.hand_over(*await owe(database, order))

    assert broker.taken == [order]
    assert await backlog(database) == 0


async def test_a_broker_that_is_away_does_not_hold_up_the_stop(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The flush gives up after a while; what it did not publish is still owed."""
    monkeypatch.setattr(relay_module, "FLUSH_SECONDS", 0.1)
    broker = RecordingBroker()
    broker.answers.clear()
    relay = Relay(database, broker, HAND_OVER_ONLY)

    async with asyncio.timeout(5), relay.running():
        relay.hand_over(*await owe(database, an_order()))

    assert broker.taken == []
    assert await backlog(database) == 1


async def test_an_error_of_our_own_stops_the_relay_loudly(database: Database) -> None:
    """What is no outage is not retried for ever in silence."""
    broker = RecordingBroker()
    broker.error = ZeroDivisionError("a bug")
    relay = Relay(database, broker, HAND_OVER_ONLY)

    async def run() -> None:
        async with relay.running():
            relay.hand_over(*await owe(database, an_order()))
            await asyncio.Event().wait()

    with pytest.raises(ExceptionGroup) as raised:
        await asyncio.wait_for(run(), PATIENCE)

    assert raised.group_contains(ZeroDivisionError)
    assert await backlog(database) == 1


async def test_what_does_not_fit_into_memory_is_swept(database: Database) -> None:
    """A row whose id was forgotten under load waits a little, and goes."""
    broker, order = RecordingBroker(), an_order()
    (row,) = await owe(database, order)
    relay = Relay(database, broker, sweeping(batch=5_000))

    async with relay.running():
        relay.hand_over(row, *range(row + 1, row + 15_000))
        await emptied(database)

    assert broker.taken == [order]


def test_a_long_outage_takes_no_more_and_more_memory() -> None:
    """However much is handed over, the relay remembers only so much of it."""
    nowhere = Database("postgresql://nowhere", DatabaseSettings(), application_name="test")
    relay = Relay(nowhere, RecordingBroker(), HAND_OVER_ONLY)

    tracemalloc.start()
    for first in range(0, 300_000, 1_000):
        relay.hand_over(*range(first, first + 1_000))
    remembered, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert remembered < 2_000_000  # bytes; all of them would be 12 million
