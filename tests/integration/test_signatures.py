"""Signed and unsigned messages with both brokers."""

import asyncio
import contextlib
import io
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta

import pytest
from pydantic import SecretStr

from restaurant_system.database.connection import Database
from restaurant_system.messaging import dead_letters, topology
from restaurant_system.messaging.broker import Broker
from restaurant_system.messaging.dead_letters import All, ById, Result
from restaurant_system.messaging.relay import Relay
from restaurant_system.messaging.retry_policy import RetryPolicy
from restaurant_system.messaging.signature import SIGNATURE, Signer
from restaurant_system.models.message import Header
from restaurant_system.services.notification.subscriber import NotificationSubscriber
from restaurant_system.shutdown import Shutdown
from tests.support.database import execute
from tests.support.kitchen import Kitchen, first_delivery, make_order_received
from tests.support.messages import (
    TAKEOUT,
    make_order_message,
    make_update_about,
    receive_and_ack,
    receive_one,
)
from tests.support.outbox import NO_SWEEP
from tests.support.waiting import eventually

SIGNER = Signer([SecretStr("the restaurant's own key")])
OTHER_SIGNER = Signer([SecretStr("not the restaurant's key")])
WITH_MICROSECONDS = datetime(2024, 12, 16, 10, 30, 0, 987_654, tzinfo=UTC)

FORGED: list[tuple[Mapping[str, Header], str]] = [
    ({}, "the signature is missing"),
    ({SIGNATURE: "0" * 64}, "the signature is wrong"),
    (SIGNER.sign(make_order_message()).headers, "the signature is wrong"),  # of another message
]


@pytest.fixture
async def kitchen(
    database: Database, broker: Broker, policy: RetryPolicy
) -> AsyncIterator[Kitchen]:
    """Return a kitchen without a worker, whose relay signs messages."""
    relay = Relay(database, broker, NO_SWEEP, SIGNER)
    async with relay.running():
        yield Kitchen(database, relay, policy=policy)


@contextlib.asynccontextmanager
async def running_display(
    broker: Broker, policy: RetryPolicy, signer: Signer = SIGNER
) -> AsyncIterator[io.StringIO]:
    """Run a subscriber that verifies signatures; yield its output."""
    printed, shutdown = io.StringIO(), Shutdown()
    async with broker.subscribe("display"):
        pass  # its queue exists from now on
    subscriber = NotificationSubscriber(broker, policy, "display", printed, signer)
    printing = asyncio.create_task(subscriber.run(shutdown))
    try:
        yield printed
    finally:
        shutdown.request_stop()
        await printing


async def test_published_messages_have_a_valid_signature(kitchen: Kitchen, broker: Broker) -> None:
    async with broker.subscribe() as subscriber, broker.consume([TAKEOUT], prefetch=1) as cook:
        await kitchen.cancel(await kitchen.order())

        (order,) = await receive_and_ack(cook, 1)
        (update,) = await receive_and_ack(subscriber, 1)

    SIGNER.verify(order)
    SIGNER.verify(update)


async def test_signature_stays_valid_after_retry_and_dead_lettering(
    broker: Broker, policy: RetryPolicy
) -> None:
    order = SIGNER.sign(make_order_message(timestamp=WITH_MICROSECONDS))
    await broker.publish([order])

    async with broker.consume([TAKEOUT], prefetch=1) as cook:
        await policy.retry(await receive_one(cook), "the oven is cold")
        retried = await receive_one(cook)
        await policy.dead_letter(retried, "the oven is broken")
    async with first_delivery(broker, topology.DEAD_LETTERS.name) as letter:
        await letter.ack()

    for delivery in (retried, letter):
        SIGNER.verify(delivery.message)
        assert delivery.message.headers[SIGNATURE] == order.headers[SIGNATURE]


async def are_dead_lettered(broker: Broker, count: int) -> bool:
    """Tell whether so many messages are in the dead-letter queue."""
    return (await broker.depths())[topology.DEAD_LETTERS.name] == count


async def test_orders_without_a_valid_signature_are_dead_lettered(
    kitchen: Kitchen, broker: Broker, other_broker: Broker
) -> None:
    """They do not change the database; the worker continues."""
    intake = Kitchen(kitchen.database, Relay(kitchen.database, broker, NO_SWEEP))
    forged = {await intake.order(): (headers, reason) for headers, reason in FORGED}
    await execute(kitchen.database, "UPDATE orders SET released_at = NULL")  # they are scheduled
    messages = {
        number: make_order_received(number, headers=headers)
        for number, (headers, _) in forged.items()
    }
    await other_broker.publish(list(messages.values()))

    async with kitchen.running_worker(broker, signer=SIGNER) as run:
        await kitchen.cook_another()
        await eventually(
            lambda: are_dead_lettered(other_broker, len(forged)), doing="for the dead letters"
        )
        await run.stop()

    for number in forged:
        assert await kitchen.history(number) == [("received", "order-service")]
    letters = await dead_letters.read(other_broker)
    assert sorted((each.message.body, each.reason) for each in letters) == sorted(
        (messages[number].body, reason) for number, (_, reason) in forged.items()
    )


async def test_updates_without_a_valid_signature_are_dead_lettered(
    broker: Broker, other_broker: Broker, policy: RetryPolicy
) -> None:
    """The subscriber prints no update without a valid signature, and continues."""
    forged = [make_update_about("ORD_20241216_666", headers=headers) for headers, _ in FORGED]
    async with running_display(broker, policy) as printed:
        await other_broker.publish([*forged, SIGNER.sign(make_update_about("ORD_20241216_001"))])

        async def has_printed() -> bool:
            return "ORD_20241216_001" in printed.getvalue()

        await eventually(has_printed, doing="for the signed update")

    assert "ORD_20241216_666" not in printed.getvalue()
    letters = await dead_letters.read(other_broker)
    assert sorted(each.reason for each in letters) == sorted(reason for _, reason in FORGED)
    assert {each.queue for each in letters} == {"notifications_queue.display"}


async def test_copy_of_an_old_update_is_not_printed_after_a_restart(
    broker: Broker, other_broker: Broker, policy: RetryPolicy
) -> None:
    """A subscriber that has missed a younger one prints it."""
    signer = Signer([SecretStr("the restaurant's own key")], timedelta(days=7))
    now = datetime.now(UTC)
    old = SIGNER.sign(make_update_about("ORD_20241216_666", timestamp=now - timedelta(days=8)))
    missed = SIGNER.sign(make_update_about("ORD_20241216_001", timestamp=now - timedelta(days=6)))
    async with other_broker.subscribe("display"):
        await other_broker.publish([old, missed])

    async with running_display(broker, policy, signer) as printed:

        async def has_printed() -> bool:
            return "ORD_20241216_001" in printed.getvalue()

        await eventually(has_printed, doing="for the update that was missed")

    assert "ORD_20241216_666" not in printed.getvalue()
    letters = [str(old.message_id)]
    everything = await dead_letters.requeue(other_broker, signer, All(), Result())
    vouched_for = await dead_letters.requeue(other_broker, signer, ById(letters), Result())
    assert (everything.unverified, everything.done, vouched_for.done) == (1, 0, 1)
    async with other_broker.subscribe("display") as display:
        signer.verify((await receive_one(display)).message)


async def test_without_keys_signatures_are_not_verified(
    database: Database, broker: Broker, other_broker: Broker
) -> None:
    unsigned = Kitchen(database, Relay(database, broker, NO_SWEEP))
    number = await unsigned.order()
    await other_broker.publish([OTHER_SIGNER.sign(make_order_received(number))])

    async with unsigned.running_worker(broker, signer=SIGNER):
        await unsigned.wait_for(number, "ready")
