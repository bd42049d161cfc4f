"""What either broker promises to those who subscribe to status updates."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial

import pytest

from restaurant_system.database.connection import Database
from restaurant_system.messaging.broker import Broker, Consumer
from restaurant_system.models.message import Message
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
    """Write so many status updates."""
    return [make_status_update() for _ in range(count)]


async def test_every_subscriber_sees_every_update(broker: Broker, other_broker: Broker) -> None:
    """Each subscriber gets each update, in order, whatever the others do."""
    sent = updates(3)

    async with (
        broker.subscribe() as first,
        broker.subscribe() as second,
        other_broker.subscribe("printer") as third,
    ):
        await broker.publish(sent)

        for subscriber in (first, second, third):
            assert await receive_and_ack(subscriber, 3) == sent


async def test_a_subscriber_sees_what_is_published_from_now_on(broker: Broker) -> None:
    """A new subscriber is not told old news, and misses nothing new."""
    await broker.publish(updates(1))
    fresh = make_status_update()

    async with broker.subscribe() as subscriber:
        await broker.publish([fresh])

        assert (await receive_one(subscriber)).message == fresh


async def test_a_subscriber_sees_no_orders(broker: Broker) -> None:
    """Orders and updates that are published together go their own ways."""
    order, update = make_order_message(), make_status_update()

    async with broker.subscribe() as subscriber:
        await broker.publish([order, update, order])
        assert (await receive_one(subscriber)).message == update
        await broker.publish([update])
        assert (await receive_one(subscriber)).message == update

    assert sum((await broker.depths()).values()) == 2


async def test_an_update_that_is_not_acked_comes_again(broker: Broker) -> None:
    """What a durable subscriber had in hand when it went is there when it comes back."""
    sent = updates(2)

    async with broker.subscribe("printer") as printer:
        await broker.publish(sent)
        done, _ = await receive(printer, 2)
        await done.ack()

    async with broker.subscribe("printer") as printer:
        again = await receive_one(printer)
    assert again.message == sent[1]
    assert again.redelivered


async def test_a_durable_subscriber_gets_what_it_missed_in_order(
    broker: Broker, other_broker: Broker
) -> None:
    """A named queue stays when its subscriber goes, and keeps what comes meanwhile."""
    missed, fresh = updates(5), make_status_update()
    async with broker.subscribe("printer"):
        pass

    await broker.publish(missed[:2])
    await broker.publish(missed[2:])

    async with other_broker.subscribe("printer") as printer:
        await broker.publish([fresh])
        assert await receive_and_ack(printer, 6) == [*missed, fresh]


async def test_subscribers_of_one_name_share(broker: Broker, other_broker: Broker) -> None:
    """Each update goes to one of those who use the same name."""
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


async def test_what_one_has_in_hand_is_not_overtaken_at_the_next(
    broker: Broker, other_broker: Broker
) -> None:
    """Of one name, who comes second is handed nothing until the first has gone; then all of it."""
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


async def test_a_temporary_queue_goes_with_its_subscriber(
    broker: Broker, subscriber_queues: Callable[[], Awaitable[set[str]]]
) -> None:
    """A subscriber without a name leaves nothing behind, and nothing piles up for it."""
    async with broker.subscribe(), broker.subscribe("printer"):
        assert len(await subscriber_queues()) == 2

    async def only_the_durable_one() -> bool:
        return await subscriber_queues() == {f"{PREFIX}printer"}

    await eventually(only_the_durable_one, doing="for the temporary queue to go", seconds=5)


@pytest.fixture
def subscriber_queues(
    request: pytest.FixtureRequest, broker: Broker
) -> Callable[[], Awaitable[set[str]]]:
    """Name the queues of subscribers that the broker keeps filling."""
    if broker.name == "rabbitmq":
        office: ManagementApi = request.getfixturevalue("management_api")
        return partial(_kept_by_rabbitmq, office)
    database: Database = request.getfixturevalue("database")
    return partial(_kept_by_postgres, database)


async def _kept_by_rabbitmq(management_api: ManagementApi) -> set[str]:
    bindings = management_api.listed("bindings")
    return {each["destination"] for each in bindings if each["source"] == "notifications_fanout"}


async def _kept_by_postgres(database: Database) -> set[str]:
    async with database.connection() as connection:
        return {row["queue"] for row in await connection.fetch("TABLE broker_subscriptions")}
