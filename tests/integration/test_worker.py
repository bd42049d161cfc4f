import asyncio
from collections.abc import AsyncIterator

import pytest

from restaurant_system.cancellation import cancel
from restaurant_system.database import workers
from restaurant_system.messaging import topology
from restaurant_system.messaging.broker import Broker
from restaurant_system.messaging.retry_policy import move
from restaurant_system.models.message import StatusChanged, decode
from restaurant_system.models.order import OrderType
from restaurant_system.services.kitchen import simulated_cook
from tests.support.kitchen import REQUEST, Kitchen, first_delivery, make_order_received, settings
from tests.support.waiting import eventually

TAKEOUT = topology.SPECIALISED[OrderType.TAKEOUT].name
GENERAL = topology.GENERAL.name


@pytest.fixture
async def updates(other_broker: Broker) -> AsyncIterator[list[StatusChanged]]:
    """Collect the status updates that are published during the test."""
    received: list[StatusChanged] = []
    subscribed = asyncio.Event()

    async def listen() -> None:
        async with other_broker.subscribe() as consumer:
            subscribed.set()
            async for delivery in consumer:
                received.append(decode(delivery.message, StatusChanged))
                await delivery.ack()

    listening = asyncio.create_task(listen())
    await asyncio.wait_for(subscribed.wait(), 20)
    yield received
    await cancel(listening)


async def wait_for_updates(
    updates: list[StatusChanged], number: str, count: int
) -> list[tuple[str, str]]:
    """Wait for this many updates of an order, and return their old and new statuses."""

    def moves() -> list[tuple[str, str]]:
        return [(u.old_status, u.new_status) for u in updates if u.order_number == number]

    async def are_there() -> bool:
        return len(moves()) >= count

    await eventually(are_there, doing=f"for {count} updates about {number}")
    return moves()


async def count_waiting(broker: Broker) -> int:
    """Return the number of messages in all queues."""
    return sum((await broker.depths()).values())


async def no_message_waits(broker: Broker) -> None:
    """Wait until no message is in a queue, nor was for a while: the last one is acknowledged."""
    empty_in_a_row = 0

    async def none_waits() -> bool:
        nonlocal empty_in_a_row
        empty_in_a_row = 0 if await count_waiting(broker) else empty_in_a_row + 1
        return empty_in_a_row == 10

    await eventually(none_waits, doing="for the queues to be empty")


async def test_order_is_cooked_published_and_acknowledged(
    kitchen: Kitchen, broker: Broker, updates: list[StatusChanged]
) -> None:
    number = await kitchen.order()

    async with kitchen.running_worker(broker) as run:
        await kitchen.wait_for(number, "ready")
        received = await wait_for_updates(updates, number, 2)
        await no_message_waits(broker)
        await run.stop()

    assert received == [("received", "cooking"), ("cooking", "ready")]
    assert [status for status, _ in await kitchen.history(number)] == [
        "received",
        "cooking",
        "ready",
    ]
    assert await kitchen.orders_processed("chef") == 1
    assert await count_waiting(broker) == 0


async def test_duplicate_message_changes_and_publishes_nothing(
    kitchen: Kitchen, broker: Broker, other_broker: Broker, updates: list[StatusChanged]
) -> None:
    number = await kitchen.order()
    async with kitchen.running_worker(broker) as run:
        await kitchen.wait_for(number, "ready")

        await other_broker.publish([make_order_received(number)])
        after = await kitchen.cook_another()
        await wait_for_updates(updates, after, 2)
        await no_message_waits(broker)
        await run.stop()

    assert await wait_for_updates(updates, number, 2) == [
        ("received", "cooking"),
        ("cooking", "ready"),
    ]
    assert len(await kitchen.history(number)) == 3
    assert await kitchen.orders_processed("chef") == 2
    assert await count_waiting(broker) == 0


async def test_updates_carry_the_request_id_of_the_order(
    kitchen: Kitchen, broker: Broker, other_broker: Broker
) -> None:
    queue = topology.subscriber_queue("display")
    async with other_broker.subscribe("display"):
        pass
    await kitchen.order()

    async with kitchen.running_worker(broker), first_delivery(other_broker, queue) as update:
        assert update.message.correlation_id == REQUEST
        await update.ack()


async def test_worker_finishes_its_own_order_after_a_crash(
    kitchen: Kitchen, broker: Broker, updates: list[StatusChanged]
) -> None:
    """The restarted worker finishes its order without publishing `cooking` again."""
    number = await kitchen.order()
    await kitchen.start_order(number, "chef")

    async with kitchen.running_worker(broker):
        await kitchen.wait_for(number, "ready")
        received = await wait_for_updates(updates, number, 1)

    assert received == [("cooking", "ready")]
    assert len(await kitchen.history(number)) == 3


async def test_order_of_an_online_worker_is_left_alone(kitchen: Kitchen, broker: Broker) -> None:
    number = await kitchen.order()
    await kitchen.register_worker("rival")
    await kitchen.start_order(number, "rival")

    async with kitchen.running_worker(broker) as run:
        await kitchen.cook_another()
        await no_message_waits(broker)
        await run.stop()

    assert (await kitchen.get(number))["processed_by"] == "rival"
    assert await kitchen.status(number) == "cooking"
    assert await count_waiting(broker) == 0


@pytest.mark.parametrize("ending", ["deregistered", "lease expired"])
async def test_order_is_taken_over_without_its_message_once_its_worker_is_offline(
    kitchen: Kitchen, broker: Broker, updates: list[StatusChanged], ending: str
) -> None:
    number = await kitchen.order()
    await kitchen.register_worker("rival")
    await kitchen.start_order(number, "rival")
    async with kitchen.running_worker(broker):
        await kitchen.cook_another()

        if ending == "lease expired":
            await expire_lease(kitchen, "rival")
        else:
            await kitchen.mark_offline("rival")
        await kitchen.wait_for(number, "ready")
        received = await wait_for_updates(updates, number, 1)

    assert received == [("cooking", "ready")]
    assert (await kitchen.get(number))["processed_by"] == "chef"


async def test_cancelled_order_is_acknowledged_and_not_cooked(
    kitchen: Kitchen, broker: Broker
) -> None:
    number = await kitchen.order()
    await kitchen.cancel(number)

    async with kitchen.running_worker(broker) as run:
        await kitchen.cook_another()
        await no_message_waits(broker)
        await run.stop()

    assert await kitchen.status(number) == "cancelled"
    assert await kitchen.orders_processed("chef") == 1
    assert await count_waiting(broker) == 0


async def test_order_cancelled_while_cooking_frees_its_worker_at_once(
    kitchen: Kitchen, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(simulated_cook, "CANCELLATION_POLL_INTERVAL", 0.05)
    number = await kitchen.order("takeout")
    async with kitchen.running_worker(broker, kitchen=settings(takeout=600)) as run:
        await kitchen.wait_for(number, "cooking")

        await kitchen.cancel(number)
        await kitchen.cook_another("dine_in")
        await run.stop()

    assert [status for status, _ in await kitchen.history(number)] == [
        "received",
        "cooking",
        "cancelled",
    ]
    assert await count_waiting(broker) == 0


async def test_specialised_worker_takes_only_orders_of_its_types(
    kitchen: Kitchen, broker: Broker
) -> None:
    for_others = await kitchen.order("dine_in")

    async with kitchen.running_worker(broker, order_types=[OrderType.TAKEOUT]):
        await kitchen.cook_another("takeout")

    assert await kitchen.status(for_others) == "received"
    assert (await broker.depths())[topology.SPECIALISED[OrderType.DINE_IN].name] == 1


async def test_specialised_workers_cook_orders_of_the_general_queue(
    kitchen: Kitchen, broker: Broker, other_broker: Broker
) -> None:
    """An order of another type is moved to its type's queue."""
    numbers = [await kitchen.order(order_type) for order_type in OrderType]
    for queue in topology.SPECIALISED.values():
        async with first_delivery(broker, queue.name) as delivery:
            await move(delivery, GENERAL)
    assert (await broker.depths())[GENERAL] == len(numbers)

    others = [OrderType.DINE_IN, OrderType.DELIVERY]
    async with (
        kitchen.running_worker(broker, "anna", order_types=[OrderType.TAKEOUT]),
        kitchen.running_worker(other_broker, "bert", order_types=others),
    ):
        for number in numbers:
            await kitchen.wait_for(number, "ready")

    cooks = [(await kitchen.get(number))["processed_by"] for number in numbers]
    assert dict(zip(OrderType, cooks, strict=True)) == {
        OrderType.DINE_IN: "bert",
        OrderType.TAKEOUT: "anna",
        OrderType.DELIVERY: "bert",
    }


async def test_worker_processes_as_many_orders_at_once_as_its_prefetch_allows(
    kitchen: Kitchen, broker: Broker
) -> None:
    numbers = [await kitchen.order() for _ in range(3)]

    async with kitchen.running_worker(broker, kitchen=settings(prefetch=2, takeout=600)):
        for number in numbers[:2]:
            await kitchen.wait_for(number, "cooking")

        assert await kitchen.status(numbers[2]) == "received"
        async with kitchen.database.connection() as connection:
            (online,) = await workers.list_online(connection)
        assert online.capacity == 2


async def expire_lease(kitchen: Kitchen, name: str) -> None:
    """Set a worker's last heartbeat to 61 seconds ago."""
    async with kitchen.database.connection() as connection:
        await connection.execute(
            "UPDATE workers SET last_seen = now() - interval '61 s' WHERE name = $1", name
        )
