"""Subscriptions to status updates with both brokers."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial

import pytest

from restaurant_system.database.connection import Database
from restaurant_system.messaging.broker import Broker, Consumer
from restaurant_system.models.message import Message
from tests.conftest import with_every_queue_type
from tests.support.management_api import ManagementApi
from tests.support.messages import (
    RECEIVE_TIMEOUT,
    make_order_message,
    make_status_update,
    message_ids,
    receive,
    receive_and_ack,
    receive_one,
)
from tests.support.waiting import eventually

PREFIX = "notifications_queue."


def updates(count: int) -> list[Message]:
    """Return this number of status updates."""
    return [make_status_update() for _ in range(count)]


async def test_every_subscriber_receives_every_update_in_order(
    broker: Broker, other_broker: Broker
) -> None:
    sent = updates(3)

    async with (
        broker.subscribe() as first,
        broker.subscribe() as second,
        other_broker.subscribe("printer") as third,
    ):
        await broker.publish(sent)

        for subscriber in (first, second, third):
            assert await receive_and_ack(subscriber, 3) == sent


async def test_new_subscriber_receives_only_new_updates(broker: Broker) -> None:
    await broker.publish(updates(1))
    new = make_status_update()

    async with broker.subscribe() as subscriber:
        await broker.publish([new])

        assert (await receive_one(subscriber)).message == new


async def test_subscriber_receives_no_orders(broker: Broker) -> None:
    order, update = make_order_message(), make_status_update()

    async with broker.subscribe() as subscriber:
        await broker.publish([order, update, order])
        assert (await receive_one(subscriber)).message == update
        await broker.publish([update])
        assert (await receive_one(subscriber)).message == update

    assert sum((await broker.depths()).values()) == 2


@with_every_queue_type
async def test_unacknowledged_update_of_a_durable_subscriber_is_redelivered(broker: Broker) -> None:
    sent = updates(2)

    async with broker.subscribe("printer") as printer:
        await broker.publish(sent)
        done, _ = await receive(printer, 2)
        await done.ack()

    async with broker.subscribe("printer") as printer:
        again = await receive_one(printer)
    assert again.message == sent[1]
    assert again.redelivered


@with_every_queue_type
async def test_durable_subscriber_receives_missed_updates_in_order(
    broker: Broker, other_broker: Broker
) -> None:
    missed, new = updates(5), make_status_update()
    async with broker.subscribe("printer"):
        pass

    await broker.publish(missed[:2])
    await broker.publish(missed[2:])

    async with other_broker.subscribe("printer") as printer:
        await broker.publish([new])
        assert await receive_and_ack(printer, 6) == [*missed, new]


async def test_each_update_goes_to_one_subscriber_of_a_name(
    broker: Broker, other_broker: Broker
) -> None:
    sent = updates(40)
    seen: list[Message] = []
    all_seen = asyncio.Event()

    async def read(subscriber: Consumer) -> None:
        async for delivery in subscriber:
            seen.append(delivery.message)
            await delivery.ack()
            if len(seen) >= len(sent):
                all_seen.set()

    async with broker.subscribe("printer") as one, other_broker.subscribe("printer") as another:
        readers = [asyncio.create_task(read(subscriber)) for subscriber in (one, another)]
        await broker.publish(sent)
        async with asyncio.timeout(RECEIVE_TIMEOUT):
            await all_seen.wait()
        for reader in readers:
            reader.cancel()

    assert Counter(message_ids(seen)) == Counter(message_ids(sent))


@with_every_queue_type
async def test_second_subscriber_of_a_name_waits_for_the_first_to_disconnect(
    broker: Broker, other_broker: Broker
) -> None:
    """The second subscriber then receives all updates in order, also unacknowledged ones."""
    sent = updates(5)

    async with contextlib.AsyncExitStack() as first:
        one = await first.enter_async_context(broker.subscribe("printer"))
        await broker.publish(sent[:2])
        await receive(one, 2)
        async with other_broker.subscribe("printer") as second:
            reading = asyncio.create_task(receive_and_ack(second, 5))
            await broker.publish(sent[2:])
            done, _ = await asyncio.wait({reading}, timeout=1)
            assert not done
            await first.aclose()

            assert message_ids(await reading) == message_ids(sent)


async def test_queue_without_a_name_is_deleted_with_its_subscription(
    broker: Broker, subscriber_queues: Callable[[], Awaitable[set[str]]]
) -> None:
    async with broker.subscribe(), broker.subscribe("printer"):
        assert len(await subscriber_queues()) == 2

    async def only_the_durable_queue_is_left() -> bool:
        return await subscriber_queues() == {f"{PREFIX}printer"}

    await eventually(
        only_the_durable_queue_is_left, doing="for the temporary queue to be deleted", seconds=5
    )


@pytest.fixture
def subscriber_queues(
    request: pytest.FixtureRequest, broker: Broker
) -> Callable[[], Awaitable[set[str]]]:
    """Return a function that returns the subscriber queues bound in the broker."""
    if broker.name == "rabbitmq":
        management_api: ManagementApi = request.getfixturevalue("management_api")
        return partial(_bound_in_rabbitmq, management_api)
    database: Database = request.getfixturevalue("database")
    return partial(_bound_in_postgres, database)


async def _bound_in_rabbitmq(management_api: ManagementApi) -> set[str]:
    bindings = management_api.listed("bindings")
    return {each["destination"] for each in bindings if each["source"] == "notifications_fanout"}


async def _bound_in_postgres(database: Database) -> set[str]:
    async with database.connection() as connection:
        return {row["queue"] for row in await connection.fetch("TABLE broker_subscriptions")}
