import asyncio
import dataclasses
import json
from datetime import UTC, datetime, timedelta

import pytest

from restaurant_system.config import KitchenSettings, OutboxSettings
from restaurant_system.database.connection import Database
from restaurant_system.database.outbox import outbox_message, stream_name
from restaurant_system.messaging.order_messages import Sender, status_changed
from restaurant_system.messaging.postgres import PostgresBroker
from restaurant_system.messaging.relay import Relay
from restaurant_system.models.message import StatusChanged
from restaurant_system.models.status import OrderStatus
from restaurant_system.services.kitchen import simulated_cook
from tests.support.kitchen import REQUEST, Kitchen, settings

NOON = datetime(2024, 12, 16, 12, tzinfo=UTC)


@pytest.fixture
async def kitchen(database: Database) -> Kitchen:
    """Open a kitchen at noon, with the worker `chef` online and a relay that does not run."""
    relay = Relay(database, PostgresBroker(database), OutboxSettings())
    kitchen = Kitchen(database, relay, clock=lambda: NOON)
    await kitchen.register_worker("chef")
    return kitchen


async def cook(
    kitchen: Kitchen, name: str = "chef", how: KitchenSettings | None = None
) -> list[str]:
    """Claim an order with a simulated cook of this name, and process it; return its number."""
    return await kitchen.simulated_cook(name, how or settings()).cook()


async def pending_updates(kitchen: Kitchen, number: str) -> list[tuple[str, str, str]]:
    """Return the status updates of an order in the outbox: old status, new status, changed by."""
    query = "SELECT body FROM outbox WHERE type = $1 ORDER BY id"
    async with kitchen.database.connection() as connection:
        bodies = [json.loads(row[0]) for row in await connection.fetch(query, StatusChanged.TYPE)]
    return [
        (body["old_status"], body["new_status"], body["changed_by"])
        for body in bodies
        if body["order_number"] == number
    ]


async def test_each_move_of_an_order_is_logged_and_published_once(kitchen: Kitchen) -> None:
    number = await kitchen.order()

    assert await cook(kitchen) == [number]

    assert await kitchen.history(number) == [
        ("received", "order-service"),
        ("cooking", "chef"),
        ("ready", "chef"),
    ]
    assert await pending_updates(kitchen, number) == [
        ("received", "cooking", "chef"),
        ("cooking", "ready", "chef"),
    ]


async def test_cooked_order_records_its_worker_and_completion_time(kitchen: Kitchen) -> None:
    number = await kitchen.order()

    await cook(kitchen)

    order = await kitchen.get(number)
    assert (order["processed_by"], order["completed_at"]) == ("chef", NOON)
    assert (order["updated_at"], order["estimated_completion"]) == (NOON, None)
    assert await kitchen.orders_processed("chef") == 1


async def test_estimated_completion_is_the_cooking_time_from_the_start(kitchen: Kitchen) -> None:
    number = await kitchen.order()

    cooking = asyncio.create_task(cook(kitchen, how=settings(takeout=600)))
    await kitchen.wait_for(number, "cooking")

    order = await kitchen.get(number)
    assert order["estimated_completion"] == NOON + timedelta(seconds=600)
    assert order["completed_at"] is None
    cooking.cancel()


async def test_redelivered_order_is_cooked_once(kitchen: Kitchen) -> None:
    number = await kitchen.order()
    await cook(kitchen)

    assert await cook(kitchen) == []

    assert len(await kitchen.history(number)) == 3
    assert len(await pending_updates(kitchen, number)) == 2
    assert await kitchen.orders_processed("chef") == 1


async def test_order_started_by_the_same_worker_is_finished_without_starting_again(
    kitchen: Kitchen,
) -> None:
    number = await kitchen.order()
    await kitchen.start_order(number, "chef")

    assert await cook(kitchen) == [number]

    assert [status for status, _ in await kitchen.history(number)] == [
        "received",
        "cooking",
        "ready",
    ]
    assert await pending_updates(kitchen, number) == [("cooking", "ready", "chef")]


async def test_order_of_another_online_worker_is_not_taken_over(kitchen: Kitchen) -> None:
    number = await kitchen.order()
    await kitchen.register_worker("rival")
    await kitchen.start_order(number, "rival")

    assert await cook(kitchen) == []

    assert (await kitchen.get(number))["processed_by"] == "rival"
    assert await kitchen.status(number) == "cooking"


@pytest.mark.parametrize("ending", ["deregistered", "lease expired", "deleted"])
async def test_order_of_an_offline_worker_is_taken_over(kitchen: Kitchen, ending: str) -> None:
    """The new worker finishes the order without a second move to `cooking`."""
    number = await kitchen.order()
    if ending != "deleted":
        silence = timedelta(seconds=61 if ending == "lease expired" else 0)
        await kitchen.register_worker("rival", silent_for=silence)
    if ending == "deregistered":
        await kitchen.mark_offline("rival")
    await kitchen.start_order(number, "rival")

    assert await cook(kitchen) == [number]

    assert (await kitchen.get(number))["processed_by"] == "chef"
    assert await kitchen.history(number) == [
        ("received", "order-service"),
        ("cooking", "rival"),
        ("ready", "chef"),
    ]
    assert await pending_updates(kitchen, number) == [("cooking", "ready", "chef")]


async def test_order_is_not_taken_over_before_two_heartbeats_are_missed(
    kitchen: Kitchen,
) -> None:
    number = await kitchen.order()
    await kitchen.register_worker("rival", silent_for=timedelta(seconds=40))
    await kitchen.start_order(number, "rival")

    assert await cook(kitchen) == []


async def test_cancelled_order_is_not_cooked(kitchen: Kitchen) -> None:
    number = await kitchen.order()
    await kitchen.cancel(number)

    assert await cook(kitchen) == []

    assert await pending_updates(kitchen, number) == [("received", "cancelled", "order-service")]


async def test_order_cancelled_while_cooking_is_stopped_and_not_counted(
    kitchen: Kitchen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(simulated_cook, "CANCELLATION_POLL_INTERVAL", 0.05)
    number = await kitchen.order()
    chef = kitchen.simulated_cook("chef", settings(takeout=600))
    polling = asyncio.create_task(chef.processor.poll_orders())
    cooking = asyncio.create_task(chef.cook())
    await kitchen.wait_for(number, "cooking")

    await kitchen.cancel(number)

    await asyncio.wait_for(cooking, 20)
    assert await kitchen.status(number) == "cancelled"
    assert await kitchen.orders_processed("chef") == 0
    polling.cancel()


async def test_order_cancelled_between_two_polls_does_not_become_ready(
    kitchen: Kitchen,
) -> None:
    number = await kitchen.order()
    cooking = asyncio.create_task(cook(kitchen, how=settings(takeout=0.5)))
    await kitchen.wait_for(number, "cooking")

    await kitchen.cancel(number)

    await cooking
    assert await kitchen.status(number) == "cancelled"
    assert await kitchen.orders_processed("chef") == 0


async def test_order_claimed_by_several_workers_at_once_is_cooked_once(kitchen: Kitchen) -> None:
    names = [f"chef {number}" for number in range(8)]
    for name in names:
        await kitchen.register_worker(name)
    numbers = [await kitchen.order() for _ in names]

    claimed = await asyncio.gather(*(cook(kitchen, name) for name in names))

    assert sorted(number for each in claimed for number in each) == numbers
    for number in numbers:
        assert len(await kitchen.history(number)) == 3
    assert [await kitchen.orders_processed(name) for name in names] == [1] * 8


async def test_order_taken_over_by_two_workers_at_once_is_cooked_once(kitchen: Kitchen) -> None:
    number = await kitchen.order()
    await kitchen.register_worker("rival")
    await kitchen.start_order(number, "offline worker")

    claimed = await asyncio.gather(
        *(cook(kitchen, name, settings(takeout=0.5)) for name in ("chef", "rival"))
    )

    assert sorted(claimed) == [[], [number]]
    assert await kitchen.orders_processed("chef") + await kitchen.orders_processed("rival") == 1


async def test_order_in_flight_is_not_claimed_again(kitchen: Kitchen) -> None:
    number = await kitchen.order()
    chef = kitchen.simulated_cook("chef", settings(takeout=600))
    (order,) = await chef.claim()

    assert await chef.claim(excluded=[order.id]) == []
    assert [each.number for each in await chef.claim()] == [number]  # if its process had died


async def test_message_of_a_start_is_that_of_a_move(kitchen: Kitchen) -> None:
    """The statement that claims an order composes the same message as the application."""
    number = await kitchen.order()
    await cook(kitchen, how=settings(takeout=0.1))

    async with kitchen.database.connection() as connection:
        row = await connection.fetchrow(
            "SELECT * FROM outbox WHERE type = $1 ORDER BY id", StatusChanged.TYPE
        )
    assert row is not None
    stored = outbox_message(row)
    expected = status_changed(
        StatusChanged(
            order_number=number,
            old_status=OrderStatus.RECEIVED,
            new_status=OrderStatus.COOKING,
            changed_by="chef",
            timestamp=NOON,
            estimated_completion=NOON + timedelta(seconds=0.1),
        ),
        sender=Sender("kitchen-worker", REQUEST),
    )
    assert stored.message == dataclasses.replace(expected, message_id=stored.message.message_id)
    assert stored.stream == stream_name(expected, number)
