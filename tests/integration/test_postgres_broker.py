"""Locks, polls and query plans of the broker in PostgreSQL."""

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

LOCKED = """
SELECT count(*) > 0 FROM pg_locks
WHERE locktype = 'advisory' AND classid::bigint = $1
  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""

REMAINING = (
    "SELECT (SELECT count(*) FROM broker_subscriptions) + (SELECT count(*) FROM broker_messages)"
)


@pytest.fixture
def broker(postgres_broker: PostgresBroker) -> Broker:
    """Return the PostgreSQL broker: the tests of this module do not run with RabbitMQ."""
    return postgres_broker


@pytest.fixture
async def operator(dsn: str) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    """Open a session that interferes with the broker."""
    connection = await asyncpg.connect(dsn)
    yield connection
    await connection.close()


async def test_messages_claimed_during_the_stop_are_requeued(
    broker: Broker,
    other_broker: Broker,
    operator: "asyncpg.Connection[asyncpg.Record]",
) -> None:
    """Messages that are claimed during the stop are requeued before the consumer is closed."""

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


async def test_consumer_whose_closing_is_cancelled_leaves_no_lock(
    broker: Broker, operator: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    """Another consumer requeues its messages then."""
    opened = asyncio.Event()

    async def consume() -> None:
        async with broker.consume([TAKEOUT], prefetch=1):
            opened.set()
            await asyncio.Event().wait()

    async def is_blocked() -> bool:
        return bool(await operator.fetchval(BLOCKED))

    async def is_unlocked() -> bool:
        return not await operator.fetchval(LOCKED, LOCK_CLASS)

    consuming = asyncio.create_task(consume())
    await asyncio.wait_for(opened.wait(), RECEIVE_TIMEOUT)
    assert not await is_unlocked()
    async with operator.transaction():
        await operator.execute("LOCK TABLE broker_messages")
        consuming.cancel()
        await eventually(is_blocked, doing="for the requeue to wait for the lock")
        consuming.cancel()
        await asyncio.wait({consuming})

    await eventually(is_unlocked, doing="for the lock to be released")


async def test_message_whose_acknowledgement_failed_is_redelivered(
    broker: Broker, dsn: str, operator: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    """The connection that acknowledges breaks; the consumer's own connection does not."""
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


async def test_of_concurrent_acknowledgements_only_that_of_a_requeued_message_fails(
    broker: Broker, operator: "asyncpg.Connection[asyncpg.Record]"
) -> None:
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


async def test_connection_broken_while_opening_raises_broker_unavailable(
    broker: Broker, dsn: str, operator: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    number = await operator.fetchval("SELECT nextval('broker_consumers')::integer")
    await operator.execute("SELECT pg_advisory_lock($1, $2)", LOCK_CLASS, number + 1)

    async def open_consumer() -> None:
        async with broker.consume(KITCHEN, prefetch=1):
            pass

    opening = asyncio.create_task(open_consumer())
    await PostgresConnections(dsn).cut_blocked()

    with pytest.raises(BrokerUnavailable):
        await opening


async def test_prefetch_limits_claims_from_a_long_queue(
    broker: Broker, operator: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    """The prefetch limit holds with every query plan."""
    await broker.publish([*make_order_messages(1_500), *make_order_messages(1_500, "delivery")])
    await operator.execute("ANALYZE broker_messages")

    async with broker.consume(KITCHEN, prefetch=1) as cook:
        await receive_one(cook)

        depths = await broker.depths()
    assert depths[TAKEOUT] + depths[DELIVERY] == 2_999


async def test_depth_does_not_count_delayed_messages(
    database: Database,
) -> None:
    broker, policy = PostgresBroker(database), RetryPolicy(DeliverySettings(retry_delays=(3600,)))
    await broker.publish(make_order_messages(2))

    async with broker.consume([TAKEOUT], prefetch=1) as cook:
        await policy.retry(await receive_one(cook), "the oven is cold")

    assert (await broker.depths())[TAKEOUT] == 1


async def test_queue_of_a_dead_temporary_subscriber_is_dropped_by_another_consumer(
    broker: Broker,
    other_broker: Broker,
    dsn: str,
    operator: "asyncpg.Connection[asyncpg.Record]",
) -> None:
    async def nothing_is_left() -> bool:
        return bool(await operator.fetchval(REMAINING) == 0)

    async with broker.subscribe():
        await broker.publish([make_status_update()])
        assert await operator.fetchval(REMAINING) == 2
        await PostgresConnections(dsn).cut_consumers()

        async with other_broker.consume(KITCHEN, prefetch=1) as idle:
            waiting = asyncio.create_task(anext(aiter(idle), None))
            await eventually(nothing_is_left, doing="for the queue to be dropped")
            await idle.stop()
            await waiting


async def test_relay_works_with_the_smallest_pool(dsn: str, database: Database) -> None:
    order = make_order_message()
    rows = await fill_outbox(database, order)
    small = Database(dsn, smallest_pool(), application_name="test")
    await small.connect()

    relay = Relay(small, PostgresBroker(small), OutboxSettings())
    async with relay.running():
        relay.enqueue(*rows)
        async with PostgresBroker(database).consume([TAKEOUT], prefetch=1) as cook:
            assert (await receive_one(cook)).message == order
    await small.close()


def smallest_pool() -> DatabaseSettings:
    """Return the settings of the smallest allowed pool."""
    with contextlib.suppress(ValidationError):
        return DatabaseSettings(pool_min=0, pool_max=1, connect_timeout=1)
    return DatabaseSettings(pool_min=0, pool_max=2, connect_timeout=1)
