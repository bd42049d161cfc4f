"""Invalid messages of third-party publishers are dead-lettered and stop no consumer."""

import asyncio
import contextlib
import io
from collections.abc import AsyncIterator, Mapping
from uuid import uuid4

import aiormq
import asyncpg
import pytest

from restaurant_system.config import DeliverySettings
from restaurant_system.database.connection import Database
from restaurant_system.messaging import dead_letters
from restaurant_system.messaging.broker import Broker
from restaurant_system.messaging.retry_policy import MAX_REASON_LENGTH, RetryPolicy
from restaurant_system.models.message import StatusChanged
from restaurant_system.models.status import OrderStatus
from restaurant_system.services.notification.subscriber import NotificationSubscriber
from restaurant_system.shutdown import Shutdown
from tests.support.kitchen import Kitchen, make_order_received
from tests.support.messages import KITCHEN, make_status_update
from tests.support.poison_messages import (
    BODIES,
    FOR_THE_KITCHEN,
    AmqpPublisher,
    PoisonMessage,
    SqlPublisher,
    ThirdPartyPublisher,
)
from tests.support.services import NOON, make_relay
from tests.support.waiting import eventually

PRINTER = "notifications_queue.printer"

STORED = """
SELECT (SELECT count(*) FROM orders), (SELECT count(*) FROM order_status_log),
       (SELECT count(*) FROM outbox)
"""


@pytest.fixture
def delivery() -> DeliverySettings:
    """Return settings that allow any number of dead letters."""
    return DeliverySettings(max_dead_letters=10_000)


@pytest.fixture
async def third_party(
    request: pytest.FixtureRequest, broker: Broker
) -> AsyncIterator[ThirdPartyPublisher]:
    """Connect a third-party publisher."""
    if broker.name == "postgres":
        sql = await asyncpg.connect(request.getfixturevalue("dsn"))
        yield SqlPublisher(sql)
        await sql.close()
    else:
        connection = await aiormq.connect(request.getfixturevalue("amqp_url"))
        yield AmqpPublisher(await connection.channel())
        await connection.close()


async def publish_invalid(
    third_party: ThirdPartyPublisher, queue: str, table: Mapping[str, PoisonMessage]
) -> dict[str, str]:
    """Publish all messages to a queue; return the expected reasons by name."""
    for name, each in table.items():
        await third_party.put(queue, name, each)
    oddities = await third_party.put_oddities(queue)
    return {name: each.reason for name, each in table.items()} | oddities


async def wrong_reasons(broker: Broker, expected: Mapping[tuple[str, str], str]) -> object:
    """Return the messages that are not dead-lettered for the expected reason."""
    letters = await dead_letters.read(broker)
    assert all(len(letter.reason) <= MAX_REASON_LENGTH for letter in letters)
    reasons = {(letter.queue, letter.message.type): letter.reason for letter in letters}
    return {
        key: reasons.get(key, "missing")
        for key, reason in expected.items()
        if not reasons.get(key, "").startswith(reason)
    }


async def are_dead_lettered(broker: Broker, count: int) -> bool:
    """Return whether so many messages are dead-lettered."""
    return len(await dead_letters.read(broker)) >= count


async def test_worker_dead_letters_invalid_messages_and_cooks_valid_orders(
    database: Database,
    broker: Broker,
    other_broker: Broker,
    third_party: ThirdPartyPublisher,
    policy: RetryPolicy,
) -> None:
    """Invalid messages in each kitchen queue, a fourth of all kinds, do not stop the worker."""
    expected, numbers = {}, []
    kitchen = Kitchen(database, make_relay(database), policy=policy)
    for place, queue in enumerate(KITCHEN):
        share = dict(list(FOR_THE_KITCHEN.items())[place :: len(KITCHEN)])
        for name, reason in (await publish_invalid(third_party, queue, share)).items():
            expected[queue, name] = reason
        number = await kitchen.order()
        numbers.append(number)
        ticket = make_order_received(number, exchange="", routing_key=queue, priority=0)
        assert await other_broker.publish([ticket]) == []

    async with kitchen.running_worker(broker):
        for number in numbers:
            await kitchen.wait_for(number, "ready")
        # The orders are claimed in the database, so that they do not wait for the messages.
        await eventually(lambda: are_dead_lettered(other_broker, len(expected)), doing="for all")

    assert await wrong_reasons(other_broker, expected) == {}
    async with database.connection() as connection:
        assert tuple(await connection.fetchrow(STORED) or ()) == (4, 12, 12)


async def test_subscriber_dead_letters_invalid_messages_and_prints_valid_updates(
    broker: Broker, other_broker: Broker, third_party: ThirdPartyPublisher, policy: RetryPolicy
) -> None:
    async with other_broker.subscribe("printer"):
        pass
    expected = await publish_invalid(third_party, PRINTER, BODIES)
    update = StatusChanged(
        order_number="ORD_20241216_001",
        old_status=OrderStatus.RECEIVED,
        new_status=OrderStatus.COOKING,
        changed_by="mario",
        timestamp=NOON,
    )
    await other_broker.publish([make_status_update(message_id=uuid4(), body=update.encode())])
    printed, shutdown = io.StringIO(), Shutdown()

    async def has_printed() -> bool:
        return "\n" in printed.getvalue()

    async with running(NotificationSubscriber(broker, policy, "printer", printed), shutdown):
        await eventually(has_printed, doing="for the valid update")

    assert printed.getvalue().count("\n") == 1
    assert (
        await wrong_reasons(
            other_broker, {(PRINTER, name): reason for name, reason in expected.items()}
        )
        == {}
    )


@contextlib.asynccontextmanager
async def running(subscriber: NotificationSubscriber, shutdown: Shutdown) -> AsyncIterator[None]:
    """Run the subscriber for as long as the block lasts."""
    work = asyncio.create_task(subscriber.run(shutdown))
    try:
        yield
        shutdown.request_stop()
        await work
    finally:
        work.cancel()
