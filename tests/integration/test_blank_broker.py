"""Status updates are published again after RabbitMQ has lost its disk."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from restaurant_system.cancellation import cancel
from restaurant_system.config import OutboxSettings, ReconciliationSettings
from restaurant_system.database import orders, outbox
from restaurant_system.database import reconciliation_queries as moves
from restaurant_system.database.connection import Database
from restaurant_system.database.outbox import OutboxMessage
from restaurant_system.errors import BrokerUnavailable
from restaurant_system.messaging.broker import Broker
from restaurant_system.messaging.order_messages import Sender, move_with_update, status_changed
from restaurant_system.messaging.rabbitmq import RabbitMQBroker
from restaurant_system.messaging.relay import Relay
from restaurant_system.models.message import StatusChanged, decode
from restaurant_system.models.status import OrderStatus
from restaurant_system.services.order import reconciliation as reconciliation_module
from restaurant_system.services.order.reconciliation import RESUBSCRIBE_DELAY, Reconciliation
from tests.support.fakes import RecordingBroker
from tests.support.kitchen import Kitchen
from tests.support.logs import capture_logs
from tests.support.messages import receive
from tests.support.outbox import backlog, wait_until_outbox_is_empty
from tests.support.services import NOON, UTC_DAYS, FakeClock, make_relay, move_through

MOVES = ["cooking", "ready"]
LONG_AGO = timedelta(hours=2)  # longer than the period whose updates are published again


@pytest.fixture
async def relay(database: Database, rabbitmq_broker: RabbitMQBroker) -> AsyncIterator[Relay]:
    """Run a relay on RabbitMQ."""
    relay = Relay(database, rabbitmq_broker, OutboxSettings())
    async with relay.running():
        yield relay


@pytest.fixture
def kitchen(database: Database, relay: Relay, clock: FakeClock) -> Kitchen:
    """Return a kitchen without a worker."""
    return Kitchen(database, relay, clock)


@pytest.fixture
def reconciliation(
    database: Database, rabbitmq_broker: RabbitMQBroker, relay: Relay, clock: FakeClock
) -> Reconciliation:
    """Return a reconciliation with the clock of the test."""
    return Reconciliation(
        database,
        rabbitmq_broker,
        relay,
        ReconciliationSettings(),
        clock=clock,
        business_day=UTC_DAYS,
    )


async def check(reconciliation: Reconciliation, database: Database) -> list[int]:
    """Run one reconciliation check; return the logged numbers of republished updates."""
    with capture_logs() as lines:
        await reconciliation.check()
    await wait_until_outbox_is_empty(database)
    return [line["count"] for line in lines if line["event"] == "updates_republished"]


async def received(broker: Broker, name: str, count: int) -> list[StatusChanged]:
    """Return the updates in the queue of a subscriber, sorted by order."""
    async with broker.subscribe(name) as subscriber:
        updates = [decode(each.message, StatusChanged) for each in await receive(subscriber, count)]
    return sorted(updates, key=lambda each: each.order_number)


async def test_recent_updates_are_published_once_to_a_blank_broker_after_the_delay(
    reconciliation: Reconciliation,
    kitchen: Kitchen,
    database: Database,
    rabbitmq_broker: RabbitMQBroker,
    clock: FakeClock,
) -> None:
    """The republished updates of each order are in sequence."""
    old, cooked, cooking = [await kitchen.order() for _ in range(3)]
    due = NOON + timedelta(minutes=5)
    await move_through(database, old, OrderStatus.COOKING, at=NOON - LONG_AGO)
    await move_through(database, cooked, OrderStatus.COOKING, OrderStatus.READY, at=NOON)
    await move_through(database, cooking, OrderStatus.COOKING, at=NOON, due=due)
    async with rabbitmq_broker.subscribe("display"):
        pass

    at_first = await check(reconciliation, database)
    clock.now += RESUBSCRIBE_DELAY
    then = await check(reconciliation, database)
    afterwards = await check(reconciliation, database)

    assert (at_first, then, afterwards) == ([], [3], [])
    updates = await received(rabbitmq_broker, "display", 3)
    assert [(each.order_number, each.old_status, each.new_status) for each in updates] == [
        (cooked, "received", "cooking"),
        (cooked, "cooking", "ready"),
        (cooking, "received", "cooking"),
    ]
    assert {(each.changed_by, each.timestamp) for each in updates} == {("mario", NOON)}
    assert [each.estimated_completion for each in updates] == [None, None, due]


async def test_broker_is_marked_at_once_if_there_are_no_updates(
    reconciliation: Reconciliation,
    kitchen: Kitchen,
    database: Database,
    clock: FakeClock,
) -> None:
    """Updates after the mark are published only once."""
    await reconciliation.check()
    await move_through(database, await kitchen.order(), OrderStatus.COOKING, at=NOON)
    clock.now += RESUBSCRIBE_DELAY

    assert await check(reconciliation, database) == []


async def test_updates_are_published_again_after_each_loss(
    reconciliation: Reconciliation,
    kitchen: Kitchen,
    database: Database,
    rabbitmq_broker: RabbitMQBroker,
    clock: FakeClock,
) -> None:
    """The delay before republishing begins anew with each loss."""
    await move_through(database, await kitchen.order(), OrderStatus.COOKING, at=NOON)
    counts = []

    for _ in range(2):
        counts += [await check(reconciliation, database)]
        clock.now += RESUBSCRIBE_DELAY
        counts += [await check(reconciliation, database)]
        counts += [await check(reconciliation, database)]
        await unmark(rabbitmq_broker)

    assert counts == [[], [1], []] * 2


async def test_updates_are_published_in_batches_that_lock_few_orders(
    reconciliation: Reconciliation,
    kitchen: Kitchen,
    rabbitmq_broker: RabbitMQBroker,
    clock: FakeClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After a cancelled check, the next check publishes all updates again."""
    monkeypatch.setattr(reconciliation_module, "UPDATE_BATCH_SIZE", 2)
    numbers = [await kitchen.order() for _ in range(5)]
    for number in numbers:
        await move_through(
            kitchen.database, number, OrderStatus.COOKING, OrderStatus.READY, at=NOON
        )
    async with rabbitmq_broker.subscribe("display"):
        pass
    await reconciliation.check()
    clock.now += RESUBSCRIBE_DELAY

    async with kitchen.database.transaction() as tx:
        await tx.execute("SELECT FROM orders WHERE number = $1 FOR UPDATE", numbers[-1])
        checking = asyncio.create_task(reconciliation.check())
        early = await received(rabbitmq_broker, "display", 8)
        free = "SELECT FROM orders WHERE number = ANY($1) FOR UPDATE NOWAIT"
        await tx.execute(free, numbers[:4])
        await cancel(checking)

    assert [each.order_number for each in early] == [each for each in numbers[:4] for _ in MOVES]
    assert await check(reconciliation, kitchen.database) == [10]
    again = await received(rabbitmq_broker, "display", 8 + 10)
    assert [each.new_status for each in again] == MOVES * 9


class UnmarkableBroker(RecordingBroker):
    """A blank broker that cannot be marked, for example for lack of permissions."""

    async def is_blank(self) -> bool:
        """Return that the broker is blank."""
        return True

    async def mark(self) -> None:
        """Fail to create the marker, with `BrokerUnavailable`."""
        raise BrokerUnavailable("The broker does not let itself be marked.")


async def test_updates_to_a_broker_that_cannot_be_marked_become_rarer(
    database: Database, clock: FakeClock
) -> None:
    broker, relay = UnmarkableBroker(), make_relay(database)
    number = await Kitchen(database, relay, clock).order()
    await move_through(database, number, OrderStatus.COOKING, OrderStatus.READY, at=NOON)
    reconciliation = Reconciliation(
        database, broker, relay, ReconciliationSettings(), clock=clock, business_day=UTC_DAYS
    )
    before = await backlog(database)

    for _ in range(120):
        with contextlib.suppress(BrokerUnavailable):
            await reconciliation.check()
        clock.now += timedelta(seconds=30)

    assert await backlog(database) - before == 2 * 8  # both moves after 15 s, 30 s, ... 1920 s


async def unmark(broker: RabbitMQBroker) -> None:
    """Delete the broker's mark, as the loss of its disk does."""
    async with broker._consuming_channel() as channel:  # noqa: SLF001
        await channel.queue_delete("reconciliation_marker")


async def test_move_during_republication_is_stored_after_the_repeated_updates(
    database: Database, clock: FakeClock
) -> None:
    kitchen = Kitchen(database, make_relay(database), clock)
    number = await kitchen.order()
    await move_through(database, number, OrderStatus.COOKING, at=NOON)

    async with database.transaction() as tx:
        moved = await moves.orders_moved_since(tx, NOON)
        (again,) = await moves.status_changes_since(tx, NOON, moved)
        cancelling = asyncio.create_task(kitchen.cancel(number))
        await asyncio.wait({cancelling}, timeout=0.5)
        await outbox.add(tx, [(number, status_changed(again, sender=Sender("test", "test")))])
    await cancelling

    async with database.connection() as connection:
        bodies = await connection.fetch(
            "SELECT body FROM outbox WHERE exchange = 'notifications_fanout' ORDER BY id"
        )
    assert [StatusChanged.model_validate_json(row["body"]).new_status for row in bodies] == [
        "cooking",
        "cancelled",
    ]


async def test_move_during_republication_is_published_after_the_repeated_updates(
    database: Database, clock: FakeClock
) -> None:
    """The outbox row of the move refers to the row that was added while the move waited."""
    number = await Kitchen(database, make_relay(database), clock).order()
    await move_through(database, number, OrderStatus.COOKING, at=NOON)

    async with database.transaction() as tx:
        moved = await moves.orders_moved_since(tx, NOON)
        (again,) = await moves.status_changes_since(tx, NOON, moved)
        finishing = asyncio.create_task(finish(database, number))
        await asyncio.wait({finishing}, timeout=0.5)
        update = status_changed(again, sender=Sender("test", "test"))
        (repeated,) = await outbox.add(tx, [(number, update)])

    assert (await finishing).previous_id == repeated.id


async def finish(database: Database, number: str) -> OutboxMessage:
    """Move an order that mario cooks to ready; return its outbox message."""
    command = move_with_update(
        number,
        origin=OrderStatus.COOKING,
        target=OrderStatus.READY,
        at=NOON,
        by="mario",
        sender=Sender("test", "test"),
    )
    async with database.connection() as connection:
        (message,) = await orders.move(connection, [command])
    assert message is not None
    return message
