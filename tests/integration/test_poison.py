"""Whatever strangers put into our queues: it is put aside, and those who work there go on."""

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
    """Let any number of messages be put aside."""
    return DeliverySettings(max_dead_letters=10_000)


@pytest.fixture
async def stranger(
    request: pytest.FixtureRequest, broker: Broker
) -> AsyncIterator[ThirdPartyPublisher]:
    """Let somebody in who is not ours."""
    if broker.name == "postgres":
        sql = await asyncpg.connect(request.getfixturevalue("dsn"))
        yield SqlPublisher(sql)
        await sql.close()
    else:
        connection = await aiormq.connect(request.getfixturevalue("amqp_url"))
        yield AmqpPublisher(await connection.channel())
        await connection.close()


async def poison(
    stranger: ThirdPartyPublisher, queue: str, table: Mapping[str, PoisonMessage]
) -> dict[str, str]:
    """Put everything into a queue, and return the reasons that are due, by name."""
    for name, each in table.items():
        await stranger.put(queue, name, each)
    oddities = await stranger.put_oddities(queue)
    return {name: each.reason for name, each in table.items()} | oddities


async def wrongly_reasoned(broker: Broker, due: Mapping[tuple[str, str], str]) -> object:
    """Return what is not among the dead letters, or is there for another reason than is due."""
    letters = await dead_letters.read(broker)
    assert all(len(letter.reason) <= MAX_REASON_LENGTH for letter in letters)
    reasons = {(letter.queue, letter.message.type): letter.reason for letter in letters}
    return {
        place: reasons.get(place, "missing")
        for place, reason in due.items()
        if not reasons.get(place, "").startswith(reason)
    }


async def test_no_poison_stops_a_cook(
    database: Database,
    broker: Broker,
    other_broker: Broker,
    stranger: ThirdPartyPublisher,
    policy: RetryPolicy,
) -> None:
    """In each kitchen queue everything bad is put aside, and the good order behind it is cooked."""
    due, numbers = {}, []
    kitchen = Kitchen(database, make_relay(database), policy=policy)
    for queue in KITCHEN:
        for name, reason in (await poison(stranger, queue, FOR_THE_KITCHEN)).items():
            due[queue, name] = reason
        number = await kitchen.order()
        numbers.append(number)
        ticket = make_order_received(number, exchange="", routing_key=queue, priority=0)
        assert await other_broker.publish([ticket]) == []

    async with kitchen.running_worker(broker):
        for number in numbers:
            await kitchen.wait_for(number, "ready")

    assert await wrongly_reasoned(other_broker, due) == {}
    async with database.connection() as connection:
        assert tuple(await connection.fetchrow(STORED) or ()) == (4, 12, 12)


async def test_no_poison_stops_a_subscriber(
    broker: Broker, other_broker: Broker, stranger: ThirdPartyPublisher, policy: RetryPolicy
) -> None:
    """Everything bad is put aside, and the good update behind it is printed, alone."""
    async with other_broker.subscribe("printer"):
        pass
    due = await poison(stranger, PRINTER, BODIES)
    news = StatusChanged(
        order_number="ORD_20241216_001",
        old_status=OrderStatus.RECEIVED,
        new_status=OrderStatus.COOKING,
        changed_by="mario",
        timestamp=NOON,
    )
    await other_broker.publish([make_status_update(message_id=uuid4(), body=news.encode())])
    printed, shutdown = io.StringIO(), Shutdown()

    async def has_printed() -> bool:
        return "\n" in printed.getvalue()

    async with running(NotificationSubscriber(broker, policy, "printer", printed), shutdown):
        await eventually(has_printed, doing="for the good update")

    assert printed.getvalue().count("\n") == 1
    assert (
        await wrongly_reasoned(
            other_broker, {(PRINTER, name): reason for name, reason in due.items()}
        )
        == {}
    )


@contextlib.asynccontextmanager
async def running(subscriber: NotificationSubscriber, shutdown: Shutdown) -> AsyncIterator[None]:
    """Have somebody print for as long as the block lasts."""
    work = asyncio.create_task(subscriber.run(shutdown))
    try:
        yield
        shutdown.request_stop()
        await work
    finally:
        work.cancel()
