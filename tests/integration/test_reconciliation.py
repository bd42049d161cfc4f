"""Orders whose messages were lost are published again, and no others, on both brokers."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from restaurant_system.config import OutboxSettings, ReconciliationSettings
from restaurant_system.database import tickets
from restaurant_system.database.connection import Database
from restaurant_system.errors import BrokerUnavailable, DatabaseUnavailable
from restaurant_system.messaging.broker import Broker
from restaurant_system.messaging.relay import Relay
from restaurant_system.messaging.retry_policy import RetryPolicy
from restaurant_system.models.message import Message
from restaurant_system.models.order import NewOrder
from restaurant_system.services.order import reconciliation as reconciliation_module
from restaurant_system.services.order.reconciliation import Reconciliation
from tests.conftest import open_database
from tests.support.broker_connections import PostgresConnections
from tests.support.fakes import RecordingBroker
from tests.support.kitchen import Kitchen
from tests.support.logs import capture_logs
from tests.support.messages import DELIVERY, DINE_IN, QUEUES, TAKEOUT, receive_and_ack, receive_one
from tests.support.orders import make_complete_orders, make_item
from tests.support.outbox import NO_SWEEP, backlog, wait_until_outbox_is_empty
from tests.support.services import UTC_DAYS, FakeClock, make_relay
from tests.support.waiting import eventually

AFTER = ReconciliationSettings().after
LONG = timedelta(seconds=AFTER + 1)


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconciliation_module, "COUNT_INTERVAL", 0.1)


@pytest.fixture
async def relay(database: Database, broker: Broker) -> AsyncIterator[Relay]:
    """Run a relay on the test's broker."""
    relay = Relay(database, broker, OutboxSettings())
    async with relay.running():
        yield relay


@dataclass(frozen=True)
class LossyKitchen:
    """A kitchen whose broker can be made to lose messages."""

    orders: Kitchen
    database: Database
    broker: Broker
    relay: Relay
    clock: FakeClock

    def reconciliation(self, database: Database | None = None) -> Reconciliation:
        """Return a reconciliation as the order service runs it."""
        return Reconciliation(
            database or self.database,
            self.broker,
            self.relay,
            ReconciliationSettings(),
            clock=self.clock,
            business_day=UTC_DAYS,
        )

    def wait(self, time: timedelta = LONG) -> None:
        """Advance the clock, by default until an unpublished order is stuck."""
        self.clock.now += time

    async def lose(self, queue: str = TAKEOUT, count: int = 1) -> list[Message]:
        """Remove `count` messages from the head of a queue; return them."""
        await wait_until_outbox_is_empty(self.database)
        async with self.broker.consume([queue], prefetch=1) as hole:
            return await receive_and_ack(hole, count)

    async def check(self) -> list[dict[str, Any]]:
        """Run one reconciliation check; return the log entries of republished orders."""
        with capture_logs() as lines:
            await self.reconciliation().check()
        await wait_until_outbox_is_empty(self.database)
        return [dict(line) for line in lines if line["event"] == "order_resent"]

    async def show_at(self, station: str, *numbers: str) -> None:
        """Put orders on the screen of a station."""
        ids = [(await self.orders.get(number))["id"] for number in numbers]
        async with self.database.connection() as connection:
            await tickets.assign_orders(connection, station, ids)

    async def depth(self, queue: str = TAKEOUT) -> int:
        """Return the number of messages in a queue."""
        return (await self.broker.depths())[queue]


@pytest.fixture
def kitchen(database: Database, broker: Broker, relay: Relay, clock: FakeClock) -> LossyKitchen:
    """Return a kitchen without a worker."""
    return LossyKitchen(Kitchen(database, relay, clock), database, broker, relay, clock)


def numbers(lines: list[dict[str, Any]]) -> list[str]:
    """Return the order numbers in log lines."""
    return [line["order_number"] for line in lines]


async def test_orders_whose_messages_were_lost_are_published_again(kitchen: LossyKitchen) -> None:
    """Each republished order is logged; no other order is published."""
    items = [
        make_item(notes="no onions"),
        make_item(name="Soup", quantity=9, price=Decimal("99.99")),
    ]
    takeout = await kitchen.orders.order(items=items, notes="For the party")
    delivery = await kitchen.orders.order("delivery")
    await kitchen.orders.order("dine_in")
    before = [(await kitchen.lose(queue))[0] for queue in (TAKEOUT, DELIVERY)]
    kitchen.wait()

    lines = await kitchen.check()

    assert numbers(lines) == [takeout, delivery]
    assert {each["status"] for each in lines} == {"received"}
    assert {each["stuck_seconds"] for each in lines} == {61}
    assert await kitchen.broker.depths() == dict.fromkeys(QUEUES, 0) | {
        TAKEOUT: 1,
        DELIVERY: 1,
        DINE_IN: 1,
    }
    after = [(await kitchen.lose(queue))[0] for queue in (TAKEOUT, DELIVERY)]
    assert [invariant_of(each) for each in after] == [invariant_of(each) for each in before]
    assert len({each.correlation_id for each in after}) == 1


def invariant_of(order: Message) -> tuple[object, ...]:
    """Return the parts of a message that are the same each time it is published."""
    return order.body, order.routing_key, order.priority, order.type, order.content_type


@pytest.mark.parametrize("order", make_complete_orders(), ids=lambda order: order.order_type)
async def test_republished_order_has_every_field_of_the_first_message(
    kitchen: LossyKitchen, order: NewOrder
) -> None:
    """The first body is built from the request, the second one from the rows of the order."""
    queue = f"kitchen_{order.order_type}_queue"
    await kitchen.orders.place(order)
    (first,) = await kitchen.lose(queue)
    kitchen.wait()

    await kitchen.check()

    (second,) = await kitchen.lose(queue)
    assert json.loads(second.body) == json.loads(first.body)
    assert second.body == first.body


async def test_order_on_a_station_is_published_again_only_after_the_station_is_offline(
    kitchen: LossyKitchen,
) -> None:
    """An order on the screen of an online station counts as in progress, however long it takes."""
    waiting, begun = await kitchen.orders.order(), await kitchen.orders.order()
    await kitchen.lose(count=2)
    await kitchen.orders.register_worker("grill")
    await kitchen.orders.start_order(begun, "grill")
    await kitchen.show_at("grill", waiting, begun)
    kitchen.wait()

    assert await kitchen.check() == []

    await kitchen.orders.mark_offline("grill")
    assert numbers(await kitchen.check()) == [begun, waiting]


async def test_as_many_orders_are_published_as_messages_are_missing(kitchen: LossyKitchen) -> None:
    orders = [await kitchen.orders.order() for _ in range(5)]
    await kitchen.lose(count=2)
    kitchen.wait()

    assert numbers(await kitchen.check()) == orders[:2]
    assert await kitchen.depth() == 5


async def test_many_lost_orders_are_published_again_in_batches(
    kitchen: LossyKitchen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconciliation_module, "RESEND_BATCH_SIZE", 2)
    orders = [await kitchen.orders.order() for _ in range(5)]
    await kitchen.lose(count=5)
    kitchen.wait()

    assert numbers(await kitchen.check()) == orders
    assert await kitchen.depth() == 5


async def test_orders_in_a_long_queue_are_not_published_again(kitchen: LossyKitchen) -> None:
    """Orders in a long queue are not stuck, with or without a worker that consumes them."""
    first = await kitchen.orders.order()
    await wait_until_outbox_is_empty(kitchen.database)
    await asyncio.gather(*(kitchen.orders.order() for _ in range(100)))
    await wait_until_outbox_is_empty(kitchen.database)
    kitchen.wait(timedelta(hours=3))

    without_worker = await kitchen.check()
    async with kitchen.orders.running_worker(kitchen.broker):
        await kitchen.orders.wait_for(first, "ready")
        while_cooking = [await kitchen.check() for _ in range(4)]
        depth = await kitchen.depth()

    assert without_worker == []
    assert while_cooking == [[]] * 4
    assert depth <= 100


async def test_retried_message_does_not_count_as_lost(
    kitchen: LossyKitchen, policy: RetryPolicy
) -> None:
    await kitchen.orders.order()
    async with kitchen.broker.consume([TAKEOUT], prefetch=1) as cook:
        await policy.retry(await receive_one(cook), "the oven is cold")
    kitchen.wait()

    assert await kitchen.check() == []


async def test_order_is_published_again_only_after_the_configured_time(
    kitchen: LossyKitchen,
) -> None:
    number = await kitchen.orders.order()
    await kitchen.lose()
    kitchen.wait(timedelta(seconds=AFTER))

    assert await kitchen.check() == []
    kitchen.wait(timedelta(seconds=1))
    assert numbers(await kitchen.check()) == [number]


@pytest.mark.parametrize("broker", ["postgres"], indirect=True)
async def test_order_without_a_valid_message_is_not_logged_as_published_again(
    kitchen: LossyKitchen,
) -> None:
    broken, valid = await kitchen.orders.order(), await kitchen.orders.order()
    await kitchen.lose(count=2)
    async with kitchen.database.connection() as connection:
        await connection.execute(
            "UPDATE order_items SET modifiers = '[{}]' FROM orders"
            " WHERE orders.id = order_id AND number = $1",
            broken,
        )
    kitchen.wait()

    assert numbers(await kitchen.check()) == [valid]
    assert await kitchen.depth() == 1


async def test_order_that_stays_stuck_is_published_at_growing_intervals(
    kitchen: LossyKitchen,
) -> None:
    """While an order is stuck, no other order is published in its place."""
    number = await kitchen.orders.order()
    await kitchen.lose()

    minutes = []
    for minute in range(1, 9):
        kitchen.wait(timedelta(minutes=1, seconds=1))
        for line in await kitchen.check():
            assert line["order_number"] == number
            minutes.append(minute)
            await kitchen.lose()

    assert minutes == [1, 3, 7]


async def test_order_in_the_outbox_is_not_published_again(kitchen: LossyKitchen) -> None:
    idle = make_relay(kitchen.database)
    await Kitchen(kitchen.database, idle, kitchen.clock).order()
    kitchen.wait()

    await kitchen.reconciliation().check()

    assert await backlog(kitchen.database) == 1


async def test_held_and_scheduled_orders_are_not_published_again(kitchen: LossyKitchen) -> None:
    """An order of an earlier business date waits for a person, a scheduled one for its time."""
    await kitchen.orders.order()
    await kitchen.lose()
    kitchen.wait(timedelta(days=1))
    scheduled = await kitchen.orders.order()
    await kitchen.lose()
    async with kitchen.database.connection() as connection:
        await connection.execute(
            "UPDATE orders SET released_at = NULL WHERE number = $1", scheduled
        )
    kitchen.wait()

    assert await kitchen.check() == []


async def test_cancelled_order_is_not_published_again(kitchen: LossyKitchen) -> None:
    number = await kitchen.orders.order()
    await kitchen.lose()
    await kitchen.orders.cancel(number)
    kitchen.wait()

    assert await kitchen.check() == []


async def test_overdue_order_of_an_offline_worker_is_finished_by_another(
    kitchen: LossyKitchen,
) -> None:
    number = await kitchen.orders.order()
    await kitchen.lose()
    await kitchen.orders.register_worker("anna", silent_for=timedelta(hours=1))
    await kitchen.orders.start_order(number, "anna")
    kitchen.wait()

    (line,) = await kitchen.check()

    assert (line["order_number"], line["status"]) == (number, "cooking")
    async with kitchen.orders.running_worker(kitchen.broker, "bruno"):
        await kitchen.orders.wait_for(number, "ready")
    assert await kitchen.orders.history(number) == [
        ("received", "order-service"),
        ("cooking", "anna"),
        ("ready", "bruno"),
    ]


async def test_cooking_order_that_is_not_overdue_is_not_published_again(
    kitchen: LossyKitchen,
) -> None:
    number = await kitchen.orders.order()
    await kitchen.lose()
    await kitchen.orders.start_order(number, "anna")
    kitchen.wait(timedelta(seconds=AFTER))

    assert await kitchen.check() == []


async def test_concurrent_checks_publish_each_order_once(kitchen: LossyKitchen, dsn: str) -> None:
    orders = [await kitchen.orders.order() for _ in range(20)]
    await kitchen.lose(count=20)
    kitchen.wait()

    async with open_database(dsn) as another:
        checks = [kitchen.reconciliation(each) for each in (kitchen.database, another)]
        with capture_logs() as lines:
            await asyncio.gather(*(each.check() for each in checks))
    await wait_until_outbox_is_empty(kitchen.database)

    sent = [line["order_number"] for line in lines if line["event"] == "order_resent"]
    assert sent == orders
    assert await kitchen.depth() == 20


async def test_connection_lost_during_a_check_changes_nothing(
    kitchen: LossyKitchen, dsn: str
) -> None:
    number = await kitchen.orders.order()
    await kitchen.lose()
    kitchen.wait()

    async with open_database(dsn) as another, another.transaction() as tx:
        await tx.execute("LOCK TABLE order_resends IN SHARE MODE")
        checking = asyncio.create_task(kitchen.reconciliation().check())
        await PostgresConnections(dsn).cut_blocked()
        with pytest.raises(DatabaseUnavailable):
            await checking
        assert await backlog(kitchen.database) == 0

    assert numbers(await kitchen.check()) == [number]


async def test_check_fails_while_the_broker_is_unavailable_and_succeeds_afterwards(
    database: Database, clock: FakeClock
) -> None:
    broker = RecordingBroker()
    relay = Relay(database, broker, NO_SWEEP)
    await Kitchen(database, relay, clock).order()
    async with relay.running():
        await wait_until_outbox_is_empty(database)
    clock.now += LONG
    settings = ReconciliationSettings(interval=0.01)
    reconciliation = Reconciliation(
        database, broker, relay, settings, clock=clock, business_day=UTC_DAYS
    )
    broker.unavailable = True
    with pytest.raises(BrokerUnavailable):
        await reconciliation.check()

    broker.tried.clear()
    running = asyncio.create_task(reconciliation.run())
    await broker.tried.wait()
    assert await backlog(database) == 0
    broker.unavailable = False

    async def is_sent() -> bool:
        return await backlog(database) == 1

    await eventually(is_sent, doing="for the order to be sent again")
    running.cancel()
