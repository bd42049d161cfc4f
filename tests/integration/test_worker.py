"""A cook and its orders: what is cooked, deferred, taken over or left alone. On either broker."""

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal

import pytest

from restaurant_system.messaging import topology
from restaurant_system.messaging.broker import Broker
from restaurant_system.models.message import StatusChanged, decode
from restaurant_system.models.order import OrderType
from restaurant_system.services.kitchen import simulated_cook
from tests.support.kitchen import REQUEST, Kitchen, first_of, make_order_received, settings
from tests.support.orders import make_item
from tests.support.waiting import eventually

TAKEOUT = topology.SPECIALISED[OrderType.TAKEOUT].name
GENERAL = topology.GENERAL.name
PRIORITY_10 = [make_item(price=Decimal("100.01"))]


@pytest.fixture
async def updates(other_broker: Broker) -> AsyncIterator[list[StatusChanged]]:
    """Collect every status update from now on."""
    heard: list[StatusChanged] = []
    subscribed = asyncio.Event()

    async def listen() -> None:
        async with other_broker.subscribe() as line:
            subscribed.set()
            async for delivery in line:
                heard.append(decode(delivery.message, StatusChanged))
                await delivery.ack()

    listening = asyncio.create_task(listen())
    await asyncio.wait_for(subscribed.wait(), 20)
    yield heard
    listening.cancel()
    await asyncio.wait({listening})


async def told(updates: list[StatusChanged], number: str, count: int) -> list[tuple[str, str]]:
    """Wait for so many updates about an order, and return all that came: from where, to where."""

    def about() -> list[tuple[str, str]]:
        return [(u.old_status, u.new_status) for u in updates if u.order_number == number]

    async def are_there() -> bool:
        return len(about()) >= count

    await eventually(are_there, doing=f"for {count} updates about {number}")
    return about()


async def waiting(broker: Broker) -> int:
    """Return how many messages wait in all the queues together."""
    return sum((await broker.depths()).values())


async def test_an_order_is_cooked_told_and_gone_from_its_queue(
    kitchen: Kitchen, broker: Broker, updates: list[StatusChanged]
) -> None:
    """From the queue to the pass: three log rows, two updates in order, nothing left behind."""
    number = await kitchen.order()

    async with kitchen.on_duty(broker) as shift:
        await kitchen.wait_for(number, "ready")
        heard = await told(updates, number, 2)
        await shift.end()

    assert heard == [("received", "cooking"), ("cooking", "ready")]
    assert [status for status, _ in await kitchen.history(number)] == [
        "received",
        "cooking",
        "ready",
    ]
    assert await kitchen.cooked_by("chef") == 1
    assert await waiting(broker) == 0


async def test_the_same_message_twice_changes_and_announces_nothing(
    kitchen: Kitchen, broker: Broker, other_broker: Broker, updates: list[StatusChanged]
) -> None:
    """A repeated message is acked, and that is all."""
    number = await kitchen.order()
    async with kitchen.on_duty(broker) as shift:
        await kitchen.wait_for(number, "ready")

        await other_broker.publish([make_order_received(number)])
        after = await kitchen.serve_another()
        await told(updates, after, 2)
        await shift.end()

    assert await told(updates, number, 2) == [("received", "cooking"), ("cooking", "ready")]
    assert len(await kitchen.history(number)) == 3
    assert await kitchen.cooked_by("chef") == 2
    assert await waiting(broker) == 0


async def test_the_request_id_of_the_guest_goes_on_to_the_updates(
    kitchen: Kitchen, broker: Broker, other_broker: Broker
) -> None:
    """An update carries the request id of the order that it is about."""
    queue = topology.subscriber_queue("display")
    async with other_broker.subscribe("display"):
        pass
    await kitchen.order()

    async with kitchen.on_duty(broker), first_of(other_broker, queue) as update:
        assert update.message.correlation_id == REQUEST
        await update.ack()


async def test_an_order_of_the_same_cook_is_finished_after_a_crash(
    kitchen: Kitchen, broker: Broker, updates: list[StatusChanged]
) -> None:
    """Cooking under our own name already, it is gone on with; `cooking` is told no second time."""
    number = await kitchen.order()
    await kitchen.begin(number, "chef")

    async with kitchen.on_duty(broker):
        await kitchen.wait_for(number, "ready")
        heard = await told(updates, number, 1)

    assert heard == [("cooking", "ready")]
    assert len(await kitchen.history(number)) == 3


async def test_an_order_of_a_present_cook_is_deferred(
    kitchen: Kitchen, broker: Broker, other_broker: Broker
) -> None:
    """It is looked at again later, as often as need be: that is no failed attempt."""
    number = await kitchen.order()
    await kitchen.enter("rival")
    await kitchen.begin(number, "rival")

    async with kitchen.on_duty(broker) as shift:
        await kitchen.serve_another()  # by then the first one is deferred
        await shift.end()

    async with first_of(other_broker, TAKEOUT) as delivery:
        assert number.encode() in delivery.message.body
        assert delivery.attempt == 1
        await delivery.ack()


@pytest.mark.parametrize("whereabouts", ["signed off", "silent"])
async def test_a_deferred_order_is_finished_once_its_cook_is_gone(
    kitchen: Kitchen, broker: Broker, updates: list[StatusChanged], whereabouts: str
) -> None:
    """Nobody's order is stranded: whoever looks next takes it over."""
    number = await kitchen.order()
    await kitchen.enter("rival")
    await kitchen.begin(number, "rival")
    async with kitchen.on_duty(broker):
        await kitchen.serve_another()

        if whereabouts == "silent":
            await fall_silent(kitchen, "rival")
        else:
            await kitchen.dismiss("rival")
        await kitchen.wait_for(number, "ready")
        heard = await told(updates, number, 1)

    assert heard == [("cooking", "ready")]
    assert (await kitchen.look_up(number))["processed_by"] == "chef"


async def test_an_order_cancelled_before_is_acked_and_left_alone(
    kitchen: Kitchen, broker: Broker
) -> None:
    """Its message goes, its status stays."""
    number = await kitchen.order()
    await kitchen.cancel(number)

    async with kitchen.on_duty(broker) as shift:
        await kitchen.serve_another()
        await shift.end()

    assert await kitchen.status(number) == "cancelled"
    assert await kitchen.cooked_by("chef") == 1
    assert await waiting(broker) == 0


async def test_a_cook_turns_from_a_cancelled_order_to_the_next(
    kitchen: Kitchen, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cancelled while it cooks, an order frees its cook at once."""
    monkeypatch.setattr(simulated_cook, "CANCELLATION_POLL_INTERVAL", 0.05)
    number = await kitchen.order("takeout")
    async with kitchen.on_duty(broker, kitchen=settings(takeout=600)) as shift:
        await kitchen.wait_for(number, "cooking")

        await kitchen.cancel(number)
        await kitchen.serve_another("dine_in")
        await shift.end()

    assert [status for status, _ in await kitchen.history(number)] == [
        "received",
        "cooking",
        "cancelled",
    ]
    assert await waiting(broker) == 0


async def test_a_specialised_cook_takes_only_its_own_types(
    kitchen: Kitchen, broker: Broker
) -> None:
    """What others are there for stays in its queue."""
    for_others = await kitchen.order("dine_in")

    async with kitchen.on_duty(broker, order_types=[OrderType.TAKEOUT]):
        await kitchen.serve_another("takeout")

    assert await kitchen.status(for_others) == "received"
    assert (await broker.depths())[topology.SPECIALISED[OrderType.DINE_IN].name] == 1


async def test_specialised_workers_cook_what_lies_in_the_general_queue(
    kitchen: Kitchen, broker: Broker, other_broker: Broker
) -> None:
    """Each cooks its types; an order of another type goes to where that type's workers look."""
    numbers = [await kitchen.order(order_type) for order_type in OrderType]
    for queue in topology.SPECIALISED.values():
        async with first_of(broker, queue.name) as delivery:
            await delivery.move_to(GENERAL)
    assert (await broker.depths())[GENERAL] == len(numbers)

    others = [OrderType.DINE_IN, OrderType.DELIVERY]
    async with (
        kitchen.on_duty(broker, "anna", order_types=[OrderType.TAKEOUT]),
        kitchen.on_duty(other_broker, "bert", order_types=others),
    ):
        for number in numbers:
            await kitchen.wait_for(number, "ready")

    cooks = [(await kitchen.look_up(number))["processed_by"] for number in numbers]
    assert dict(zip(OrderType, cooks, strict=True)) == {
        OrderType.DINE_IN: "bert",
        OrderType.TAKEOUT: "anna",
        OrderType.DELIVERY: "bert",
    }


async def test_general_worker_cooks_the_most_urgent_first_then_the_oldest(
    kitchen: Kitchen, broker: Broker
) -> None:
    """A delivery of priority 10 does not wait behind dine-in orders of priority 1."""
    numbers = [await kitchen.order(each) for each in ("dine_in", "takeout") * 3]
    urgent = [await kitchen.order("delivery", items=PRIORITY_10) for _ in range(2)]

    async def all_wait() -> bool:
        return await waiting(broker) == len(numbers) + len(urgent)

    await eventually(all_wait, doing="for every order to be in its queue")
    async with kitchen.on_duty(broker):
        await kitchen.wait_for(numbers[-1], "ready")

    assert await kitchen.started() == [*urgent, *numbers]


async def test_a_cook_has_as_many_orders_in_hand_as_it_was_told(
    kitchen: Kitchen, broker: Broker
) -> None:
    """With room for two, two cook side by side and the third waits."""
    numbers = [await kitchen.order() for _ in range(3)]

    async with kitchen.on_duty(broker, kitchen=settings(prefetch=2, takeout=600)):
        for number in numbers[:2]:
            await kitchen.wait_for(number, "cooking")

        assert await kitchen.status(numbers[2]) == "received"


async def fall_silent(kitchen: Kitchen, name: str) -> None:
    """Let somebody's last heartbeat be long ago."""
    async with kitchen.database.connection() as connection:
        await connection.execute(
            "UPDATE workers SET last_seen = now() - interval '61 s' WHERE name = $1", name
        )
