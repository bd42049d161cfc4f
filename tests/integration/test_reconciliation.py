"""Orders whose messages are lost are sent again, exactly those, on either broker."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from structlog.testing import capture_logs

from restaurant_system.config import OutboxSettings, ReconciliationSettings
from restaurant_system.database import tickets
from restaurant_system.database.connection import Database
from restaurant_system.errors import BrokerUnavailable, DatabaseUnavailable
from restaurant_system.messaging.broker import Broker
from restaurant_system.messaging.relay import Relay
from restaurant_system.models.message import Message
from restaurant_system.services.order import reconciliation as reconciliation_module
from restaurant_system.services.order.reconciliation import Reconciliation
from tests.conftest import open_database
from tests.support.broker_connections import PostgresConnections
from tests.support.fakes import RecordingBroker
from tests.support.kitchen import Kitchen
from tests.support.messages import DELIVERY, DINE_IN, QUEUES, TAKEOUT, take_and_ack, take_one
from tests.support.orders import make_item
from tests.support.outbox import NO_SWEEP, backlog, emptied
from tests.support.services import FakeClock, make_relay
from tests.support.waiting import eventually

AFTER = ReconciliationSettings().after
LONG = timedelta(seconds=AFTER + 1)


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconciliation_module, "COUNT_INTERVAL", 0.1)


@pytest.fixture
async def relay(database: Database, broker: Broker) -> AsyncIterator[Relay]:
    """Run a relay that publishes what it is handed."""
    relay = Relay(database, broker, OutboxSettings())
    async with relay.running():
        yield relay


@dataclass(frozen=True)
class Evening:
    """A kitchen whose broker may lose messages, and somebody who looks for what stands still."""

    kitchen: Kitchen
    database: Database
    broker: Broker
    relay: Relay
    watch: FakeClock

    def reconciliation(self, database: Database | None = None) -> Reconciliation:
        """Build what an order service runs beside its intake."""
        return Reconciliation(
            database or self.database,
            self.broker,
            self.relay,
            ReconciliationSettings(),
            clock=self.watch,
        )

    def wait(self, time: timedelta = LONG) -> None:
        """Let time pass; by default long enough for a standstill."""
        self.watch.now += time

    async def lose(self, queue: str = TAKEOUT, count: int = 1) -> list[Message]:
        """Lose so many messages of a queue, the first first, once they are there; return them."""
        await emptied(self.database)
        async with self.broker.consume([queue], prefetch=1) as hole:
            return await take_and_ack(hole, count)

    async def resent(self) -> list[dict[str, Any]]:
        """Check once, wait until what is owed is published, and return what was logged as sent."""
        with capture_logs() as lines:
            await self.reconciliation().check()
        await emptied(self.database)
        return [dict(line) for line in lines if line["event"] == "order_resent"]

    async def show_at(self, station: str, *numbers: str) -> None:
        """Have orders on a station's screen."""
        ids = [(await self.kitchen.get(number))["id"] for number in numbers]
        async with self.database.connection() as connection:
            await tickets.assign_orders(connection, station, ids)

    async def depth(self, queue: str = TAKEOUT) -> int:
        """Return how many messages wait in a queue."""
        return (await self.broker.depths())[queue]


@pytest.fixture
def evening(database: Database, broker: Broker, relay: Relay, clock: FakeClock) -> Evening:
    """Return a kitchen without a worker."""
    return Evening(Kitchen(database, relay, clock), database, broker, relay, clock)


def numbers(lines: list[dict[str, Any]]) -> list[str]:
    """Name the orders of these log lines."""
    return [line["order_number"] for line in lines]


async def test_orders_whose_messages_are_lost_are_sent_again(evening: Evening) -> None:
    """They go out as they went out first, each with one log line; others are left alone."""
    items = [
        make_item(notes="no onions"),
        make_item(name="Soup", quantity=9, price=Decimal("99.99")),
    ]
    takeout = await evening.kitchen.order(items=items, notes="For the party")
    delivery = await evening.kitchen.order("delivery")
    await evening.kitchen.order("dine_in")
    before = [(await evening.lose(queue))[0] for queue in (TAKEOUT, DELIVERY)]
    evening.wait()

    lines = await evening.resent()

    assert numbers(lines) == [takeout, delivery]
    assert {each["status"] for each in lines} == {"received"}
    assert {each["stuck_seconds"] for each in lines} == {61}
    assert await evening.broker.depths() == dict.fromkeys(QUEUES, 0) | {
        TAKEOUT: 1,
        DELIVERY: 1,
        DINE_IN: 1,
    }
    after = [(await evening.lose(queue))[0] for queue in (TAKEOUT, DELIVERY)]
    assert [as_sent(each) for each in after] == [as_sent(each) for each in before]
    assert len({each.correlation_id for each in after}) == 1


def as_sent(order: Message) -> tuple[object, ...]:
    """Return what must be the same each time that an order is sent."""
    return order.body, order.routing_key, order.priority, order.type, order.content_type


async def test_what_people_have_before_them_is_not_sent_again(evening: Evening) -> None:
    """People take the time that they need; once their station is gone, others are told."""
    waiting, begun = await evening.kitchen.order(), await evening.kitchen.order()
    await evening.lose(count=2)
    await evening.kitchen.register_worker("grill")
    await evening.kitchen.start_order(begun, "grill")
    await evening.show_at("grill", waiting, begun)
    evening.wait()

    assert await evening.resent() == []

    await evening.kitchen.mark_offline("grill")
    assert numbers(await evening.resent()) == [begun, waiting]


async def test_of_a_queue_that_lost_its_head_only_that_is_sent_again(evening: Evening) -> None:
    """As many messages as are missing are sent, not one for each order that waits."""
    orders = [await evening.kitchen.order() for _ in range(5)]
    await evening.lose(count=2)
    evening.wait()

    assert numbers(await evening.resent()) == orders[:2]
    assert await evening.depth() == 5


async def test_however_many_are_lost_they_are_sent_again_bit_by_bit(
    evening: Evening, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lost disk may have held more orders than one transaction should hold."""
    monkeypatch.setattr(reconciliation_module, "RESEND_BATCH_SIZE", 2)
    orders = [await evening.kitchen.order() for _ in range(5)]
    await evening.lose(count=5)
    evening.wait()

    assert numbers(await evening.resent()) == orders
    assert await evening.depth() == 5


async def test_a_long_queue_is_left_alone(evening: Evening) -> None:
    """Three hundred orders wait for hours, in peace or while a cook takes them: none is sent."""
    first = await evening.kitchen.order()
    await emptied(evening.database)
    for _ in range(30):
        await asyncio.gather(*(evening.kitchen.order() for _ in range(10)))
    await emptied(evening.database)
    evening.wait(timedelta(hours=3))

    in_peace = await evening.resent()
    async with evening.kitchen.running_worker(evening.broker):
        await evening.kitchen.wait_for(first, "ready")
        while_cooking = [await evening.resent() for _ in range(4)]
        depth = await evening.depth()

    assert in_peace == []
    assert while_cooking == [[]] * 4
    assert depth <= 300


async def test_a_message_that_waits_out_a_delay_is_not_lost(evening: Evening) -> None:
    """An order that was put off is on its way, though it is in no queue of the kitchen."""
    await evening.kitchen.order()
    async with evening.broker.consume([TAKEOUT], prefetch=1) as cook:
        await (await take_one(cook)).defer()
    evening.wait()

    assert await evening.resent() == []


async def test_a_young_order_is_given_its_time(evening: Evening) -> None:
    """Whatever the queues say, an order is sent again only after it has stood for a while."""
    number = await evening.kitchen.order()
    await evening.lose()
    evening.wait(timedelta(seconds=AFTER))

    assert await evening.resent() == []
    evening.wait(timedelta(seconds=1))
    assert numbers(await evening.resent()) == [number]


async def test_an_order_that_stays_lost_is_sent_more_and_more_rarely(evening: Evening) -> None:
    """Where the count deceives, an order is sent at growing pauses, and nobody else's instead."""
    number = await evening.kitchen.order()
    await evening.lose()

    minutes = []
    for minute in range(1, 9):
        evening.wait(timedelta(minutes=1, seconds=1))
        for line in await evening.resent():
            assert line["order_number"] == number
            minutes.append(minute)
            await evening.lose()

    assert minutes == [1, 3, 7]


async def test_an_order_that_is_still_owed_is_not_sent_twice(evening: Evening) -> None:
    """What stands in the outbox is not lost."""
    idle = make_relay(evening.database)
    await Kitchen(evening.database, idle, evening.watch).order()
    evening.wait()

    await evening.reconciliation().check()

    assert await backlog(evening.database) == 1


async def test_a_cancelled_order_is_not_sent_again(evening: Evening) -> None:
    """Nobody waits for an order that was called off."""
    number = await evening.kitchen.order()
    await evening.lose()
    await evening.kitchen.cancel(number)
    evening.wait()

    assert await evening.resent() == []


async def test_an_order_whose_cook_is_gone_is_taken_over(evening: Evening) -> None:
    """What cooks at somebody who is gone, and is overdue, is sent again and finished by another."""
    number = await evening.kitchen.order()
    await evening.lose()
    await evening.kitchen.register_worker("anna", silent_for=timedelta(hours=1))
    await evening.kitchen.start_order(number, "anna")
    evening.wait()

    (line,) = await evening.resent()

    assert (line["order_number"], line["status"]) == (number, "cooking")
    async with evening.kitchen.running_worker(evening.broker, "bruno"):
        await evening.kitchen.wait_for(number, "ready")
    assert await evening.kitchen.history(number) == [
        ("received", "order-service"),
        ("cooking", "anna"),
        ("ready", "bruno"),
    ]


async def test_an_order_whose_cook_came_back_without_it_is_finished(evening: Evening) -> None:
    """After a power cut the same name is on duty again, without what it cooked: still finished."""
    number = await evening.kitchen.order()
    await evening.lose()
    await evening.kitchen.start_order(number, "anna")
    async with evening.kitchen.running_worker(evening.broker, "anna"):
        evening.wait()

        assert numbers(await evening.resent()) == [number]
        await evening.kitchen.wait_for(number, "ready")


async def test_an_order_that_cooks_in_time_is_left_alone(evening: Evening) -> None:
    """Who cooks has the message in hand, or needs it no more, until the order is long overdue."""
    number = await evening.kitchen.order()
    await evening.lose()
    await evening.kitchen.start_order(number, "anna")
    evening.wait(timedelta(seconds=AFTER))

    assert await evening.resent() == []


async def test_two_who_check_at_once_send_each_order_once(evening: Evening, dsn: str) -> None:
    """Several order services look for the same orders; only one sends them."""
    orders = [await evening.kitchen.order() for _ in range(20)]
    await evening.lose(count=20)
    evening.wait()

    async with open_database(dsn) as another:
        checks = [evening.reconciliation(each) for each in (evening.database, another)]
        with capture_logs() as lines:
            await asyncio.gather(*(each.check() for each in checks))
    await emptied(evening.database)

    sent = [line["order_number"] for line in lines if line["event"] == "order_resent"]
    assert sent == orders
    assert await evening.depth() == 20


async def test_a_crash_half_way_leaves_nothing_half_done(evening: Evening, dsn: str) -> None:
    """Orders are sent and remembered as sent in one transaction, or neither."""
    number = await evening.kitchen.order()
    await evening.lose()
    evening.wait()

    async with open_database(dsn) as another, another.transaction() as tx:
        await tx.execute("LOCK TABLE order_resends IN SHARE MODE")
        checking = asyncio.create_task(evening.reconciliation().check())
        await PostgresConnections(dsn).cut_blocked()
        with pytest.raises(DatabaseUnavailable):
            await checking
        assert await backlog(evening.database) == 0

    assert numbers(await evening.resent()) == [number]


async def test_without_a_broker_there_is_no_check(database: Database, clock: FakeClock) -> None:
    """Nobody can tell what is lost while the broker does not answer; afterwards it goes on."""
    broker = RecordingBroker()
    relay = Relay(database, broker, NO_SWEEP)
    await Kitchen(database, relay, clock).order()
    async with relay.running():
        await emptied(database)
    clock.now += LONG
    settings = ReconciliationSettings(interval=0.01)
    check = Reconciliation(database, broker, relay, settings, clock=clock)
    broker.away = True
    with pytest.raises(BrokerUnavailable):
        await check.check()

    broker.tried.clear()
    running = asyncio.create_task(check.run())
    await broker.tried.wait()
    assert await backlog(database) == 0
    broker.away = False

    async def is_sent() -> bool:
        return await backlog(database) == 1

    await eventually(is_sent, doing="for the order to be sent again")
    running.cancel()
