"""Broken connections and unreachable servers with both brokers."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial
from uuid import UUID

import pytest

from restaurant_system.config import DatabaseSettings, RabbitMQSettings
from restaurant_system.database.connection import Database
from restaurant_system.errors import BrokerUnavailable
from restaurant_system.messaging.broker import Broker
from restaurant_system.messaging.postgres import PostgresBroker
from restaurant_system.messaging.rabbitmq import RabbitMQBroker
from restaurant_system.messaging.retry_policy import RetryPolicy, attempt_of
from restaurant_system.models.message import Message
from tests.conftest import QUICK_RETRIES, with_every_queue_type
from tests.support.broker_connections import BrokerConnections
from tests.support.messages import (
    KITCHEN,
    RECEIVE_TIMEOUT,
    TAKEOUT,
    make_order_message,
    make_order_messages,
    make_status_update,
    message_ids,
    receive,
    receive_and_ack,
    receive_one,
)
from tests.support.processes import free_port
from tests.support.waiting import eventually


async def test_broken_connection_ends_a_waiting_iteration_with_an_error(
    broker: Broker, broker_connections: BrokerConnections
) -> None:
    async with broker.consume(KITCHEN, prefetch=1) as cook:
        waiting = asyncio.create_task(receive_one(cook))
        await asyncio.sleep(0)
        await broker_connections.cut()

        with pytest.raises(BrokerUnavailable):
            await waiting


async def test_broken_connection_ends_a_subscription_with_an_error(
    broker: Broker, broker_connections: BrokerConnections
) -> None:
    async with broker.subscribe() as subscriber:
        await broker_connections.cut()

        with pytest.raises(BrokerUnavailable):
            await receive_one(subscriber)


@with_every_queue_type
async def test_delivery_of_a_broken_connection_cannot_be_settled_and_is_redelivered(
    broker: Broker, broker_connections: BrokerConnections, policy: RetryPolicy
) -> None:
    published = make_order_messages(5)
    await broker.publish(published)
    async with broker.consume([TAKEOUT], prefetch=5) as cook:
        lost = await receive(cook, 5)
        await broker_connections.cut()
        with pytest.raises(BrokerUnavailable):
            await receive_one(cook)

    for settle in (
        lost[0].ack,
        lost[1].requeue,
        partial(policy.retry, lost[2], "the oven is cold"),
        partial(policy.dead_letter, lost[3], "no such dish"),
    ):
        with pytest.raises(BrokerUnavailable):
            await settle()

    async with broker.consume([TAKEOUT], prefetch=5) as cook:
        again = await receive(cook, 5)
    assert message_ids(again) == message_ids(published)
    assert all(each.redelivered and attempt_of(each.message) == 1 for each in again)


async def test_unacknowledged_messages_of_a_broken_connection_go_to_another_consumer(
    broker: Broker, other_broker: Broker, broker_connections: BrokerConnections
) -> None:
    """The messages are redelivered even if the first consumer has not detected the loss."""
    published = make_order_messages(3)
    await broker.publish(published)

    async with broker.consume([TAKEOUT], prefetch=3) as disconnected:
        await receive(disconnected, 3)
        await broker_connections.cut()
        await retry(other_broker.ping)

        async with other_broker.consume([TAKEOUT], prefetch=3) as another:
            taken = await receive(another, 3)
    assert message_ids(taken) == message_ids(published)
    assert all(each.redelivered for each in taken)


async def test_orphaned_urgent_message_is_redelivered_while_other_consumers_are_busy(
    broker: Broker, other_broker: Broker, broker_connections: BrokerConnections
) -> None:
    urgent = make_order_message(priority=10)
    await broker.publish([urgent])

    async with broker.consume([TAKEOUT], prefetch=1) as disconnected:
        await receive_one(disconnected)
        await broker_connections.cut()
        await retry(other_broker.ping)

        async with other_broker.consume([TAKEOUT], prefetch=1) as busy:
            deadline = time.monotonic() + RECEIVE_TIMEOUT
            seen: list[Message] = []
            while message_ids(seen[-1:]) != message_ids([urgent]):
                assert time.monotonic() < deadline, f"not among the next {len(seen)} orders"
                await other_broker.publish(make_order_messages(2))
                seen += await receive_and_ack(busy, 1)


async def test_broker_reconnects_after_a_broken_connection_without_loss(
    broker: Broker, broker_connections: BrokerConnections
) -> None:
    before, after = make_order_messages(2)
    await broker.publish([before])
    await broker_connections.cut()

    await retry(broker.ping)
    await retry(broker.connect)
    await retry(lambda: broker.publish([after]))

    assert (await broker.depths())[TAKEOUT] == 2
    async with broker.consume([TAKEOUT], prefetch=1) as cook:
        taken = await receive_and_ack(cook, 2)
    assert message_ids(taken) == message_ids([before, after])


async def test_each_call_reconnects_by_itself(
    broker: Broker, broker_connections: BrokerConnections
) -> None:
    """A call succeeds at the second attempt at the latest."""

    async def consume() -> None:
        async with broker.consume([TAKEOUT], prefetch=1) as cook:
            await (await receive_one(cook)).requeue()

    async def subscribe() -> None:
        async with broker.subscribe() as subscriber:
            await broker.publish([make_status_update()])
            await receive_one(subscriber)

    await broker.publish(make_order_messages(1))

    for call in (consume, subscribe, broker.depths):
        await broker_connections.cut()
        await retry(call)


async def test_messages_published_again_after_broken_connections_all_arrive(
    broker: Broker, broker_connections: BrokerConnections
) -> None:
    published: list[Message] = []
    is_done = asyncio.Event()

    async def publish_repeatedly() -> None:
        while not is_done.is_set():
            published.extend(make_order_messages(10))
            await retry(lambda: broker.publish(published[-10:]))

    publishing = asyncio.create_task(publish_repeatedly())
    for _ in range(3):
        await broker_connections.cut()
    is_done.set()
    await publishing

    arrived: set[UUID] = set()
    async with broker.consume([TAKEOUT], prefetch=100) as cook:
        while not arrived >= set(message_ids(published)):
            arrived.update(message_ids(await receive_and_ack(cook, 1)))


async def test_durable_subscriber_receives_updates_published_while_it_was_disconnected(
    broker: Broker, broker_connections: BrokerConnections
) -> None:
    missed = make_status_update()
    async with broker.subscribe("printer") as printer:
        await broker_connections.cut()
        with pytest.raises(BrokerUnavailable):
            await receive_one(printer)

    await retry(lambda: broker.publish([missed]))

    async with broker.subscribe("printer") as printer:
        assert (await receive_one(printer)).message == missed


async def retry(call: Callable[[], Awaitable[object]]) -> None:
    """Repeat a call while it raises `BrokerUnavailable`; fail at any other error."""

    async def works() -> bool:
        try:
            async with asyncio.timeout(RECEIVE_TIMEOUT):
                await call()
        except BrokerUnavailable:
            return False
        return True

    await eventually(works, doing="for the broker to answer")


@pytest.fixture(params=["postgres", "rabbitmq"])
def absent_broker(request: pytest.FixtureRequest) -> Broker:
    """Return a broker on whose port no server listens."""
    port = free_port()
    if request.param == "rabbitmq":
        return RabbitMQBroker(
            RabbitMQSettings(host="127.0.0.1", port=port), QUICK_RETRIES.retry_delays
        )
    dsn = f"postgresql://postgres@127.0.0.1:{port}/database"
    return PostgresBroker(Database(dsn, DatabaseSettings(), application_name="test"))


async def test_every_call_raises_broker_unavailable_without_a_server(absent_broker: Broker) -> None:
    async def consume() -> None:
        async with absent_broker.consume([TAKEOUT], prefetch=1):
            pass

    async def subscribe() -> None:
        async with absent_broker.subscribe():
            pass

    async def publish() -> None:
        await absent_broker.publish(make_order_messages(1))

    calls = (absent_broker.connect, absent_broker.ping, absent_broker.depths)
    for call in (*calls, publish, consume, subscribe):
        with pytest.raises(BrokerUnavailable):
            await call()
    await absent_broker.close()
