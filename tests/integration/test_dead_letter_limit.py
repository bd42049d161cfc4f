"""Processes stop at their limit of dead letters and lose no message."""

import asyncio
import io

import pytest
from pydantic import SecretStr

from restaurant_system.config import DeliverySettings
from restaurant_system.database.connection import Database
from restaurant_system.errors import TooManyDeadLetters
from restaurant_system.messaging.broker import Broker, Consumer, Delivery
from restaurant_system.messaging.retry_policy import RetryPolicy
from restaurant_system.messaging.signature import Signer
from restaurant_system.services.notification.subscriber import NotificationSubscriber
from restaurant_system.shutdown import Shutdown
from tests.conftest import with_every_queue_type
from tests.support.kitchen import Kitchen, settings
from tests.support.messages import (
    DEAD_LETTERS,
    RECEIVE_TIMEOUT,
    TAKEOUT,
    make_order_message,
    make_order_messages,
    make_status_update,
    make_update_about,
    message_ids,
    receive,
)
from tests.support.services import make_relay
from tests.support.waiting import eventually


@pytest.fixture
def delivery() -> DeliverySettings:
    """Return settings with a limit of three dead letters."""
    return DeliverySettings(max_dead_letters=3)


@pytest.mark.parametrize("prefetch", [1, 4])
async def test_worker_stops_at_the_dead_letter_limit_and_loses_nothing(
    database: Database, broker: Broker, other_broker: Broker, prefetch: int, policy: RetryPolicy
) -> None:
    """Every message is in the dead-letter queue or delivered to the next consumer.

    The queue is consumed, not browsed: a claim that is cancelled during its COMMIT leaves rows in
    PostgreSQL with the stopped consumer's number until another consumer requeues them. For the
    same reason a dead letter may become visible only after the worker has stopped.
    """
    published = make_order_messages(8)
    await other_broker.publish(published)

    kitchen = Kitchen(database, make_relay(database), policy=policy)
    async with kitchen.running_worker(broker, kitchen=settings(prefetch=prefetch)) as run:
        async with asyncio.timeout(RECEIVE_TIMEOUT):
            with pytest.raises(ExceptionGroup) as stop:
                await run.work

    assert stop.group_contains(TooManyDeadLetters)
    delivered = list[Delivery]()

    async def every_message_is_kept() -> bool:
        async with other_broker.browse(DEAD_LETTERS) as dead_letters:
            assert len(dead_letters) <= 3
            kept = {*message_ids(dead_letters), *message_ids(delivered)}
        return kept == set(message_ids(published))

    async with other_broker.consume([TAKEOUT], prefetch=8) as consumer:
        receiving = asyncio.create_task(_receive_all(consumer, delivered))
        await eventually(every_message_is_kept, doing="for all messages")
        receiving.cancel()


async def _receive_all(consumer: Consumer, delivered: list[Delivery]) -> None:
    async for delivery in consumer:
        delivered.append(delivery)  # noqa: PERF401 - each is seen while the others arrive


@with_every_queue_type
async def test_subscriber_stops_at_the_dead_letter_limit_and_loses_nothing(
    broker: Broker, other_broker: Broker, policy: RetryPolicy
) -> None:
    """The remaining updates stay in the subscriber's queue."""
    updates = [make_status_update() for _ in range(6)]
    async with other_broker.subscribe("printer"):
        await other_broker.publish(updates)

    with pytest.raises(ExceptionGroup) as stop:
        async with asyncio.timeout(RECEIVE_TIMEOUT):
            await NotificationSubscriber(broker, policy, "printer", io.StringIO()).run(Shutdown())

    assert stop.group_contains(TooManyDeadLetters)
    assert (await other_broker.depths())[DEAD_LETTERS] == 3
    async with other_broker.subscribe("printer") as printer:
        assert message_ids(await receive(printer, 3)) == message_ids(updates[3:])


async def test_forged_messages_do_not_stop_a_subscriber(
    broker: Broker, other_broker: Broker, policy: RetryPolicy
) -> None:
    signer = Signer([SecretStr("the restaurant's own key")])
    printed, shutdown = io.StringIO(), Shutdown()
    forged = [make_status_update() for _ in range(6)]
    genuine = signer.sign(make_update_about("ORD_20241216_001"))
    async with other_broker.subscribe("printer"):
        await other_broker.publish([*forged, genuine])
    printing = asyncio.create_task(
        NotificationSubscriber(broker, policy, "printer", printed, signer).run(shutdown)
    )

    async def has_printed() -> bool:
        return "Notification" in printed.getvalue()

    await eventually(has_printed, doing="for the signed update")
    shutdown.request_stop()
    await printing

    assert (await other_broker.depths())[DEAD_LETTERS] == len(forged)


async def test_all_consumers_of_a_policy_share_its_limit(
    broker: Broker, policy: RetryPolicy
) -> None:
    await broker.publish(
        [*make_order_messages(2), *(make_order_message("dine_in") for _ in range(2))]
    )

    async with (
        broker.consume([TAKEOUT], prefetch=2) as one,
        broker.consume(["kitchen_dine_in_queue"], prefetch=2) as two,
    ):
        *within, beyond = [*await receive(one, 2), *await receive(two, 2)]
        for each in within:
            await policy.dead_letter(each, "not JSON")

        with pytest.raises(TooManyDeadLetters):
            await policy.dead_letter(beyond, "not JSON")
