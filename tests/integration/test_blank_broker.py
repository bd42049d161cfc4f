"""What subscribers missed when RabbitMQ lost its disk is told to them again."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from structlog.testing import capture_logs

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
from tests.support.messages import take
from tests.support.outbox import backlog, emptied
from tests.support.services import NOON, FakeClock, make_relay, walk

MOVES = ["cooking", "ready"]
LONG_AGO = timedelta(hours=2)  # longer than updates are told again for


@pytest.fixture
async def relay(database: Database, rabbitmq_broker: RabbitMQBroker) -> AsyncIterator[Relay]:
    """Run a relay that publishes what it is handed."""
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
    """Look for what is lost, by the test's watch."""
    return Reconciliation(database, rabbitmq_broker, relay, ReconciliationSettings(), clock=clock)


async def told_again(check: Reconciliation, database: Database) -> list[int]:
    """Check once, wait until what is owed is published, and return the counts that were logged."""
    with capture_logs() as lines:
        await check.check()
    await emptied(database)
    return [line["count"] for line in lines if line["event"] == "updates_announced_again"]


async def heard(broker: Broker, name: str, count: int) -> list[StatusChanged]:
    """Return what is kept for a subscriber, order by order."""
    async with broker.subscribe(name) as line:
        updates = [decode(each.message, StatusChanged) for each in await take(line, count)]
    return sorted(updates, key=lambda each: each.order_number)


async def test_a_blank_broker_is_told_the_moves_of_the_recent_past(
    reconciliation: Reconciliation,
    kitchen: Kitchen,
    database: Database,
    rabbitmq_broker: RabbitMQBroker,
    clock: FakeClock,
) -> None:
    """Each order's moves in their order, once subscribers had time to come back, and only once."""
    old, cooked, cooking = [await kitchen.order() for _ in range(3)]
    due = NOON + timedelta(minutes=5)
    await walk(database, old, OrderStatus.COOKING, at=NOON - LONG_AGO)
    await walk(database, cooked, OrderStatus.COOKING, OrderStatus.READY, at=NOON)
    await walk(database, cooking, OrderStatus.COOKING, at=NOON, due=due)
    async with rabbitmq_broker.subscribe("display"):
        pass

    at_first = await told_again(reconciliation, database)
    clock.now += RESUBSCRIBE_DELAY
    then = await told_again(reconciliation, database)
    afterwards = await told_again(reconciliation, database)

    assert (at_first, then, afterwards) == ([], [3], [])
    updates = await heard(rabbitmq_broker, "display", 3)
    assert [(each.order_number, each.old_status, each.new_status) for each in updates] == [
        (cooked, "received", "cooking"),
        (cooked, "cooking", "ready"),
        (cooking, "received", "cooking"),
    ]
    assert {(each.changed_by, each.timestamp) for each in updates} == {("mario", NOON)}
    assert [each.estimated_completion for each in updates] == [None, None, due]


async def test_a_new_restaurant_has_nothing_to_tell_again(
    reconciliation: Reconciliation,
    kitchen: Kitchen,
    database: Database,
    clock: FakeClock,
) -> None:
    """On the first evening the broker is marked at once, and what happens then is told once."""
    await reconciliation.check()
    await walk(database, await kitchen.order(), OrderStatus.COOKING, at=NOON)
    clock.now += RESUBSCRIBE_DELAY

    assert await told_again(reconciliation, database) == []


async def test_a_broker_that_loses_its_disk_once_more_is_told_once_more(
    reconciliation: Reconciliation,
    kitchen: Kitchen,
    database: Database,
    rabbitmq_broker: RabbitMQBroker,
    clock: FakeClock,
) -> None:
    """The time to come back begins anew with each loss."""
    await walk(database, await kitchen.order(), OrderStatus.COOKING, at=NOON)
    counts = []

    for _ in range(2):
        counts += [await told_again(reconciliation, database)]
        clock.now += RESUBSCRIBE_DELAY
        counts += [await told_again(reconciliation, database)]
        counts += [await told_again(reconciliation, database)]
        await unmark(rabbitmq_broker)

    assert counts == [[], [1], []] * 2


async def test_moves_are_told_again_a_few_orders_at_a_time(
    reconciliation: Reconciliation,
    kitchen: Kitchen,
    rabbitmq_broker: RabbitMQBroker,
    clock: FakeClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No cook waits for long, none is left out, and a crash half-way means all of it once more."""
    monkeypatch.setattr(reconciliation_module, "UPDATE_BATCH_SIZE", 2)
    numbers = [await kitchen.order() for _ in range(5)]
    for number in numbers:
        await walk(kitchen.database, number, OrderStatus.COOKING, OrderStatus.READY, at=NOON)
    async with rabbitmq_broker.subscribe("display"):
        pass
    await reconciliation.check()
    clock.now += RESUBSCRIBE_DELAY

    async with kitchen.database.transaction() as tx:
        await tx.execute("SELECT FROM orders WHERE number = $1 FOR UPDATE", numbers[-1])
        checking = asyncio.create_task(reconciliation.check())
        early = await heard(rabbitmq_broker, "display", 8)
        free = "SELECT FROM orders WHERE number = ANY($1) FOR UPDATE NOWAIT"
        await tx.execute(free, numbers[:4])
        checking.cancel()
        await asyncio.wait({checking})

    assert [each.order_number for each in early] == [each for each in numbers[:4] for _ in MOVES]
    assert await told_again(reconciliation, kitchen.database) == [10]
    again = await heard(rabbitmq_broker, "display", 8 + 10)
    assert [each.new_status for each in again] == MOVES * 9


class UnmarkableBroker(RecordingBroker):
    """A blank broker that cannot be marked: its operator does not allow it, say."""

    async def is_blank(self) -> bool:
        """Be blank, and stay it."""
        return True

    async def mark(self) -> None:
        """Refuse."""
        raise BrokerUnavailable("The broker does not let itself be marked.")


async def test_a_broker_that_cannot_be_marked_is_told_more_and_more_rarely(
    database: Database, clock: FakeClock
) -> None:
    """Whatever fails, updates are not told again and again at every look."""
    broker, relay = UnmarkableBroker(), make_relay(database)
    number = await Kitchen(database, relay, clock).order()
    await walk(database, number, OrderStatus.COOKING, OrderStatus.READY, at=NOON)
    check = Reconciliation(database, broker, relay, ReconciliationSettings(), clock=clock)
    before = await backlog(database)

    for _ in range(120):
        with contextlib.suppress(BrokerUnavailable):
            await check.check()
        clock.now += timedelta(seconds=30)

    assert await backlog(database) - before == 2 * 8  # both moves after 15 s, 30 s, ... 1920 s


async def unmark(broker: RabbitMQBroker) -> None:
    """Take the broker's mark away, as the loss of its disk would."""
    async with broker._consuming_channel() as channel:  # noqa: SLF001
        await channel.queue_delete("reconciliation_marker")


async def test_a_move_made_meanwhile_is_told_afterwards(
    database: Database, clock: FakeClock
) -> None:
    """While moves are told again, later ones of the same orders wait: the last word is the last."""
    kitchen = Kitchen(database, make_relay(database), clock)
    number = await kitchen.order()
    await walk(database, number, OrderStatus.COOKING, at=NOON)

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


async def test_a_move_made_meanwhile_does_not_leave_before_what_is_told_again(
    database: Database, clock: FakeClock
) -> None:
    """A move knows also what came to stand before it while it waited: it leaves behind that."""
    number = await Kitchen(database, make_relay(database), clock).order()
    await walk(database, number, OrderStatus.COOKING, at=NOON)

    async with database.transaction() as tx:
        moved = await moves.orders_moved_since(tx, NOON)
        (again,) = await moves.status_changes_since(tx, NOON, moved)
        finishing = asyncio.create_task(finish(database, number))
        await asyncio.wait({finishing}, timeout=0.5)
        update = status_changed(again, sender=Sender("test", "test"))
        (told_again,) = await outbox.add(tx, [(number, update)])

    assert (await finishing).previous_id == told_again.id


async def finish(database: Database, number: str) -> OutboxMessage:
    """Move an order that mario cooks to ready, and return what is owed for it."""
    asked = move_with_update(
        number,
        origin=OrderStatus.COOKING,
        target=OrderStatus.READY,
        at=NOON,
        by="mario",
        sender=Sender("test", "test"),
    )
    async with database.connection() as connection:
        (owed,) = await orders.move(connection, [asked])
    assert owed is not None
    return owed
