"""What either broker promises when a line breaks, or the server is not there at all."""

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
from tests.conftest import QUICK_RETRIES
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


async def test_whoever_waits_for_a_message_learns_that_the_line_broke(
    broker: Broker, broker_connections: BrokerConnections
) -> None:
    """Iterating raises `BrokerUnavailable` when the line breaks."""
    async with broker.consume(KITCHEN, prefetch=1) as cook:
        waiting = asyncio.create_task(receive_one(cook))
        await asyncio.sleep(0)
        await broker_connections.cut()

        with pytest.raises(BrokerUnavailable):
            await waiting


async def test_a_subscriber_learns_that_the_line_broke(
    broker: Broker, broker_connections: BrokerConnections
) -> None:
    """Iterating over updates raises `BrokerUnavailable` when the line breaks."""
    async with broker.subscribe() as subscriber:
        await broker_connections.cut()

        with pytest.raises(BrokerUnavailable):
            await receive_one(subscriber)


async def test_a_delivery_of_a_broken_line_cannot_be_settled_and_comes_again(
    broker: Broker, broker_connections: BrokerConnections, policy: RetryPolicy
) -> None:
    """Settling over a broken line raises `BrokerUnavailable`; a new line brings the message."""
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
        partial(policy.defer, lost[3]),
        partial(policy.dead_letter, lost[4], "no such dish"),
    ):
        with pytest.raises(BrokerUnavailable):
            await settle()

    async with broker.consume([TAKEOUT], prefetch=5) as cook:
        again = await receive(cook, 5)
    assert message_ids(again) == message_ids(published)
    assert all(each.redelivered and attempt_of(each.message) == 1 for each in again)


async def test_what_a_broken_line_held_goes_to_another_consumer(
    broker: Broker, other_broker: Broker, broker_connections: BrokerConnections
) -> None:
    """A consumer whose line is gone holds nothing, though it does not know it yet."""
    published = make_order_messages(3)
    await broker.publish(published)

    async with broker.consume([TAKEOUT], prefetch=3) as cut_off:
        await receive(cut_off, 3)
        await broker_connections.cut()
        await soon(other_broker.ping)

        async with other_broker.consume([TAKEOUT], prefetch=3) as another:
            taken = await receive(another, 3)
    assert message_ids(taken) == message_ids(published)
    assert all(each.redelivered for each in taken)


async def test_what_a_broken_line_held_does_not_wait_until_the_others_are_idle(
    broker: Broker, other_broker: Broker, broker_connections: BrokerConnections
) -> None:
    """An urgent order from a dead cook's hands comes next, however busy the living ones are."""
    urgent = make_order_message(priority=10)
    await broker.publish([urgent])

    async with broker.consume([TAKEOUT], prefetch=1) as cut_off:
        await receive_one(cut_off)
        await broker_connections.cut()
        await soon(other_broker.ping)

        async with other_broker.consume([TAKEOUT], prefetch=1) as busy:
            deadline = time.monotonic() + RECEIVE_TIMEOUT
            seen: list[Message] = []
            while message_ids(seen[-1:]) != message_ids([urgent]):
                assert time.monotonic() < deadline, f"not among the next {len(seen)} orders"
                await other_broker.publish(make_order_messages(2))
                seen += await receive_and_ack(busy, 1)


async def test_the_broker_works_again_after_a_cut(
    broker: Broker, broker_connections: BrokerConnections
) -> None:
    """The same broker opens a new line for each kind of call, and nothing was lost meanwhile."""
    before, after = make_order_messages(2)
    await broker.publish([before])
    await broker_connections.cut()

    await soon(broker.ping)
    await soon(broker.connect)
    await soon(lambda: broker.publish([after]))

    assert (await broker.depths())[TAKEOUT] == 2
    async with broker.consume([TAKEOUT], prefetch=1) as cook:
        taken = await receive_and_ack(cook, 2)
    assert message_ids(taken) == message_ids([before, after])


async def test_each_call_opens_the_line_anew_by_itself(
    broker: Broker, broker_connections: BrokerConnections
) -> None:
    """Whatever is called first after a cut works, if not at once then at the next try."""

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
        await soon(call)


async def test_a_publisher_that_is_cut_off_publishes_again_and_nothing_is_missing(
    broker: Broker, broker_connections: BrokerConnections
) -> None:
    """A cut in the middle of publishing is told; what is then published again is all there."""
    published: list[Message] = []
    cuts_over = asyncio.Event()

    async def publish_on() -> None:
        while not cuts_over.is_set():
            published.extend(make_order_messages(10))
            await soon(lambda: broker.publish(published[-10:]))

    publishing = asyncio.create_task(publish_on())
    for _ in range(3):
        await broker_connections.cut()
    cuts_over.set()
    await publishing

    arrived: set[UUID] = set()
    async with broker.consume([TAKEOUT], prefetch=100) as cook:
        while not arrived >= set(message_ids(published)):
            arrived.update(message_ids(await receive_and_ack(cook, 1)))


async def test_a_durable_subscription_survives_the_cut(
    broker: Broker, broker_connections: BrokerConnections
) -> None:
    """A named subscriber that is cut off misses nothing."""
    missed = make_status_update()
    async with broker.subscribe("printer") as printer:
        await broker_connections.cut()
        with pytest.raises(BrokerUnavailable):
            await receive_one(printer)

    await soon(lambda: broker.publish([missed]))

    async with broker.subscribe("printer") as printer:
        assert (await receive_one(printer)).message == missed


async def soon(call: Callable[[], Awaitable[object]]) -> None:
    """Call it until it does not find the broker away; any other error is one."""

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
    """Point at a server that is not there."""
    port = free_port()
    if request.param == "rabbitmq":
        return RabbitMQBroker(
            RabbitMQSettings(host="127.0.0.1", port=port), QUICK_RETRIES.retry_delays
        )
    dsn = f"postgresql://postgres@127.0.0.1:{port}/nowhere"
    return PostgresBroker(Database(dsn, DatabaseSettings(), application_name="test"))


async def test_a_server_that_is_not_there_is_unavailable(absent_broker: Broker) -> None:
    """Every call says `BrokerUnavailable` when there is no server."""

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
