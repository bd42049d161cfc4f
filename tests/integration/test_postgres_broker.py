"""What only the broker in PostgreSQL can get wrong: locks, polls and plans."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import asyncpg
import pytest
from pydantic import ValidationError

from restaurant_system.config import DatabaseSettings, DeliverySettings, OutboxSettings
from restaurant_system.database.connection import Database
from restaurant_system.errors import BrokerUnavailable
from restaurant_system.messaging.broker import Broker
from restaurant_system.messaging.postgres import LOCK_CLASS, PostgresBroker
from restaurant_system.messaging.relay import Relay
from restaurant_system.messaging.retry_policy import RetryPolicy
from tests.support.broker_connections import PostgresConnections
from tests.support.messages import (
    DELIVERY,
    KITCHEN,
    RECEIVE_TIMEOUT,
    TAKEOUT,
    make_order_message,
    make_order_messages,
    make_status_update,
    receive,
    receive_one,
)
from tests.support.outbox import fill_outbox
from tests.support.waiting import eventually

BLOCKED = """
SELECT count(*) > 0 FROM pg_stat_activity
WHERE datname = current_database() AND wait_event_type = 'Lock'
"""

LEFT = "SELECT (SELECT count(*) FROM broker_subscriptions) + (SELECT count(*) FROM broker_messages)"


@pytest.fixture
def broker(postgres_broker: PostgresBroker) -> Broker:
    """Open the one broker that is meant here."""
    return postgres_broker


@pytest.fixture
async def operator(dsn: str) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    """Open a session of somebody who gets in the way."""
    connection = await asyncpg.connect(dsn)
    yield connection
    await connection.close()


async def test_a_consumer_that_is_stopped_while_it_claims_hands_out_nothing(
    broker: Broker,
    other_broker: Broker,
    operator: "asyncpg.Connection[asyncpg.Record]",
) -> None:
    """What a claim brings after `stop` goes back, while the line is still open."""

    async def blocked() -> bool:
        return bool(await operator.fetchval(BLOCKED))

    await broker.publish(make_order_messages(2))
    async with broker.consume([TAKEOUT], prefetch=2) as stopping:
        async with operator.transaction():
            await operator.execute("LOCK TABLE broker_messages IN SHARE MODE")
            waiting = asyncio.create_task(anext(aiter(stopping), None))
            await eventually(blocked, doing="for the claim to wait for the lock")
            await stopping.stop()

        async with asyncio.timeout(RECEIVE_TIMEOUT):
            assert await waiting is None
        async with other_broker.consume([TAKEOUT], prefetch=2) as another:
            assert len(await receive(another, 2)) == 2


async def test_a_message_that_cannot_be_settled_comes_again(
    broker: Broker, dsn: str, operator: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    """When only the session that settles breaks, the message does not stay in hand for ever."""
    order = make_order_message()
    await broker.publish([order])

    async with broker.consume([TAKEOUT], prefetch=1) as cook:
        delivery = await receive_one(cook)
        async with operator.transaction():
            await operator.execute("SELECT FROM broker_messages FOR UPDATE")
            settling = asyncio.create_task(delivery.ack())
            await PostgresConnections(dsn).cut_blocked()
            with pytest.raises(BrokerUnavailable):
                await settling
        with pytest.raises(BrokerUnavailable):
            await receive_one(cook)

    async with broker.consume([TAKEOUT], prefetch=1) as cook:
        assert (await receive_one(cook)).message == order


async def test_of_messages_settled_together_each_is_told_its_own_fate(
    broker: Broker, operator: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    """One that was taken out of our hand meanwhile cannot be acknowledged; the others are."""
    await broker.publish(make_order_messages(20))

    async with broker.consume([TAKEOUT], prefetch=20) as cook:
        held = await receive(cook, 20)
        lost = await operator.fetchval(
            "UPDATE broker_messages SET consumer = NULL WHERE id IN"
            " (SELECT max(id) FROM broker_messages) RETURNING message_id"
        )
        outcomes = await asyncio.gather(
            *(delivery.ack() for delivery in held), return_exceptions=True
        )

    failed = [
        each.message.message_id
        for each, outcome in zip(held, outcomes, strict=True)
        if isinstance(outcome, BrokerUnavailable)
    ]
    assert failed == [lost]
    assert (await broker.depths())[TAKEOUT] == 1


async def test_a_line_that_breaks_while_it_is_opened_is_unavailable(
    broker: Broker, dsn: str, operator: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    """A server that goes away just then is away, not an error of another kind."""
    number = await operator.fetchval("SELECT nextval('broker_consumers')::integer")
    await operator.execute("SELECT pg_advisory_lock($1, $2)", LOCK_CLASS, number + 1)

    async def open_line() -> None:
        async with broker.consume(KITCHEN, prefetch=1):
            pass

    opening = asyncio.create_task(open_line())
    await PostgresConnections(dsn).cut_blocked()

    with pytest.raises(BrokerUnavailable):
        await opening


async def test_the_limit_holds_in_a_long_queue_too(
    broker: Broker, operator: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    """However the claim is planned, no message is held that was not asked for."""
    await broker.publish([*make_order_messages(1_500), *make_order_messages(1_500, "delivery")])
    await operator.execute("ANALYZE broker_messages")

    async with broker.consume(KITCHEN, prefetch=1) as cook:
        await receive_one(cook)

        depths = await broker.depths()
    assert depths[TAKEOUT] + depths[DELIVERY] == 2_999


async def test_a_message_that_waits_for_its_next_attempt_is_in_no_queues_depth(
    database: Database,
) -> None:
    """A deferred message does not wait for a cook before its time has come."""
    broker, policy = PostgresBroker(database), RetryPolicy(DeliverySettings(retry_delays=(3600,)))
    await broker.publish(make_order_messages(2))

    async with broker.consume([TAKEOUT], prefetch=1) as cook:
        await policy.defer(await receive_one(cook))

    assert (await broker.depths())[TAKEOUT] == 1


async def test_the_queue_of_a_subscriber_that_was_cut_off_goes(
    broker: Broker,
    other_broker: Broker,
    dsn: str,
    operator: "asyncpg.Connection[asyncpg.Record]",
) -> None:
    """The queue of a temporary subscriber that died is dropped by whoever is still there."""

    async def nothing_is_left() -> bool:
        return bool(await operator.fetchval(LEFT) == 0)

    async with broker.subscribe():
        await broker.publish([make_status_update()])
        assert await operator.fetchval(LEFT) == 2
        await PostgresConnections(dsn).cut_consumers()

        async with other_broker.consume(KITCHEN, prefetch=1) as idle:
            waiting = asyncio.create_task(anext(aiter(idle), None))
            await eventually(nothing_is_left, doing="for the queue to go")
            await idle.stop()
            await waiting


async def test_the_smallest_pool_is_enough_for_the_relay(dsn: str, database: Database) -> None:
    """A pool as small as the configuration allows lets orders out of the outbox."""
    order = make_order_message()
    rows = await fill_outbox(database, order)
    small = Database(dsn, smallest_pool(), application_name="test")
    await small.connect()

    relay = Relay(small, PostgresBroker(small), OutboxSettings())
    async with relay.running():
        relay.hand_over(*rows)
        async with PostgresBroker(database).consume([TAKEOUT], prefetch=1) as cook:
            assert (await receive_one(cook)).message == order
    await small.close()


def smallest_pool() -> DatabaseSettings:
    """Return the settings of the smallest pool that is not refused."""
    with contextlib.suppress(ValidationError):
        return DatabaseSettings(pool_min=0, pool_max=1, connect_timeout=1)
    return DatabaseSettings(pool_min=0, pool_max=2, connect_timeout=1)
