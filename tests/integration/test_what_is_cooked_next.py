"""Which order a worker cooks next, on both brokers, whatever messages it receives."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from restaurant_system.database import tickets
from restaurant_system.database.connection import Database
from restaurant_system.messaging import topology
from restaurant_system.messaging.broker import Broker
from restaurant_system.models.order import OrderType
from tests.support.database import execute
from tests.support.display import running_display
from tests.support.kitchen import Kitchen, settings
from tests.support.messages import receive_and_ack
from tests.support.orders import make_item
from tests.support.outbox import wait_until_outbox_is_empty
from tests.support.services import FakeClock
from tests.support.waiting import eventually

TODAY = datetime(2024, 12, 16, 12, tzinfo=UTC)
PRIORITY_10 = [make_item(price=Decimal(120))]
PREFETCH = 100


@pytest.fixture
def clock() -> FakeClock:
    """Return a clock that is set to the noon of a day."""
    return FakeClock(TODAY)


@pytest.fixture
def timed(kitchen: Kitchen, clock: FakeClock) -> Kitchen:
    """Return the kitchen with a clock that a test can set."""
    return Kitchen(kitchen.database, kitchen.relay, clock, kitchen.policy)


async def lose_all_messages(broker: Broker, database: Database, count: int) -> None:
    """Acknowledge the messages of `count` orders without cooking any."""
    await wait_until_outbox_is_empty(database)
    async with broker.consume(topology.kitchen_queues(tuple(OrderType)), prefetch=PREFETCH) as hole:
        await receive_and_ack(hole, count)


async def wait_until_started(kitchen: Kitchen, count: int) -> list[str]:
    """Wait until this many orders were started; return their numbers in this sequence."""

    async def are_started() -> bool:
        return len(await kitchen.started()) == count

    await eventually(are_started, doing=f"for {count} orders to be started")
    return await kitchen.started()


async def test_general_cook_serves_ranks_over_all_queues(timed: Kitchen, broker: Broker) -> None:
    """Deliveries of priority 10 are promised before dine-in orders that were placed earlier."""
    dine_in = [await timed.order("dine_in") for _ in range(9)]
    takeout = [await timed.order("takeout") for _ in range(3)]
    urgent = [await timed.order("delivery", items=PRIORITY_10) for _ in range(2)]
    await wait_until_outbox_is_empty(timed.database)

    async with timed.running_worker(broker):
        started = await wait_until_started(timed, 14)

    assert started == [*urgent, *dine_in, *takeout]


async def test_order_is_overtaken_only_within_the_time_of_a_higher_priority(
    timed: Kitchen, broker: Broker, clock: FakeClock
) -> None:
    """An order of priority 10 counts as placed 600 s earlier."""
    cheap = await timed.order()
    expensive = []
    for _ in range(13):
        clock.now += timedelta(seconds=60)
        expensive.append(await timed.order(items=PRIORITY_10))
    await wait_until_outbox_is_empty(timed.database)

    async with timed.running_worker(broker):
        started = await wait_until_started(timed, 14)

    at = started.index(cheap)
    assert started[:at] + started[at + 1 :] == expensive
    assert at in {9, 10}  # that of the tenth minute has the same rank, and a later id


async def test_cooks_find_orders_whose_messages_are_used_up_or_lost(
    kitchen: Kitchen, broker: Broker, other_broker: Broker
) -> None:
    """So they find an order whose worker died, too."""
    takeout = [await kitchen.order() for _ in range(3)]
    abandoned, delivery = await kitchen.order(), await kitchen.order("delivery")
    await lose_all_messages(broker, kitchen.database, 5)
    await kitchen.start_order(abandoned, "a killed worker")

    async with (
        kitchen.running_worker(broker, "anna", order_types=[OrderType.TAKEOUT]),
        kitchen.running_worker(other_broker, "bert", order_types=[OrderType.DELIVERY]),
    ):
        for number in (*takeout, abandoned, delivery):
            await kitchen.wait_for(number, "ready")

    assert {(await kitchen.get(each))["processed_by"] for each in (*takeout, abandoned)} == {"anna"}
    assert (await kitchen.get(delivery))["processed_by"] == "bert"


async def test_orders_claimed_without_a_message_count_for_the_prefetch(
    kitchen: Kitchen, broker: Broker
) -> None:
    numbers = [await kitchen.order() for _ in range(4)]
    await lose_all_messages(broker, kitchen.database, 4)

    async with kitchen.running_worker(broker, kitchen=settings(prefetch=2, takeout=600)):
        await wait_until_started(kitchen, 2)
        later = await kitchen.order("dine_in")
        await wait_until_outbox_is_empty(kitchen.database)

        assert await kitchen.started() == numbers[:2]
        assert await kitchen.status(later) == "received"


async def test_rushed_order_is_cooked_first(kitchen: Kitchen, broker: Broker) -> None:
    """It was rushed at a station that has closed meanwhile."""
    first, second, rushed = [await kitchen.order() for _ in range(3)]
    row = await kitchen.get(rushed)
    async with kitchen.database.transaction() as tx:
        await tickets.assign_orders(tx, "grill", [row["id"]])
        await tickets.rush(tx, rushed, at=row["created_at"])
    await wait_until_outbox_is_empty(kitchen.database)

    async with kitchen.running_worker(broker):
        assert await wait_until_started(kitchen, 3) == [rushed, first, second]


async def test_orders_of_an_earlier_business_date_are_held(
    timed: Kitchen, broker: Broker, clock: FakeClock
) -> None:
    """Their messages are acknowledged; scheduled orders are not cooked either."""
    clock.now -= timedelta(days=1)
    held = [await timed.order() for _ in range(5)]
    clock.now += timedelta(days=1)
    scheduled, today = await timed.order(), await timed.order()
    await execute(
        timed.database,
        f"UPDATE orders SET released_at = NULL WHERE number = '{scheduled}'",  # noqa: S608 - ours
    )

    async with timed.running_worker(broker):
        await timed.wait_for(today, "ready")

        async def no_message_is_left() -> bool:
            return sum((await broker.depths()).values()) == 0

        await eventually(no_message_is_left, doing="for the queues to be empty")

    assert {await timed.status(number) for number in (*held, scheduled)} == {"received"}


async def test_worker_leaves_the_orders_of_an_open_station_alone(
    kitchen: Kitchen, broker: Broker, other_broker: Broker
) -> None:
    shown = [await kitchen.order() for _ in range(2)]
    async with (
        running_display(kitchen.database, broker, kitchen.relay, capacity=2) as display,
        display.screen() as screen,
    ):
        await screen.shows(*shown)
        others = [await kitchen.order() for _ in range(3)]

        async with kitchen.running_worker(other_broker, "mario"):
            for number in others:
                await kitchen.wait_for(number, "ready")

        assert {await kitchen.status(number) for number in shown} == {"received"}
        await screen.shows(*shown)


KEEP = """
CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'kept'; END $$;
CREATE TRIGGER keep BEFORE UPDATE ON orders
    FOR EACH ROW WHEN (old.number = '{number}') EXECUTE FUNCTION keep()
"""


@pytest.mark.parametrize("broker", ["postgres"], indirect=True)
async def test_order_that_cannot_be_taken_over_keeps_no_other_from_being_cooked(
    kitchen: Kitchen, broker: Broker
) -> None:
    """A station shows the others, and then a simulated cook finishes them."""
    bad, abandoned, waiting = [await kitchen.order() for _ in range(3)]
    for number in (bad, abandoned):
        await kitchen.start_order(number, "a killed worker")
    await execute(kitchen.database, KEEP.format(number=bad))

    async with (
        running_display(kitchen.database, broker, kitchen.relay) as display,
        display.screen() as screen,
    ):
        await screen.shows(waiting, **{abandoned: "cooking"})

    async with kitchen.running_worker(broker):
        for number in (abandoned, waiting):
            await kitchen.wait_for(number, "ready")
    assert await kitchen.status(bad) == "cooking"


REFUSE = "ALTER TABLE orders ADD CHECK (status <> 'cooking' OR number <> '{number}')"


async def test_order_that_cannot_be_claimed_keeps_no_other_from_being_cooked(
    kitchen: Kitchen, broker: Broker
) -> None:
    """Its message is retried until it is dead-lettered."""
    bad, *good = [await kitchen.order() for _ in range(4)]
    await execute(kitchen.database, REFUSE.format(number=bad))
    await wait_until_outbox_is_empty(kitchen.database)

    async with kitchen.running_worker(broker, kitchen=settings(prefetch=3)):
        for number in good:
            await kitchen.wait_for(number, "ready")

        async def is_dead_lettered() -> bool:
            return (await broker.depths())[topology.DEAD_LETTERS.name] == 1

        await eventually(is_dead_lettered, doing="for a dead letter")

    assert await kitchen.status(bad) == "received"
