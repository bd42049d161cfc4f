import asyncio
import json
from datetime import UTC, datetime, timedelta

import pytest

from restaurant_system.config import KitchenSettings, OutboxSettings
from restaurant_system.database.connection import Database
from restaurant_system.errors import MessageRejected
from restaurant_system.messaging.postgres import PostgresBroker
from restaurant_system.messaging.relay import Relay
from restaurant_system.models.message import OrderReceived, StatusChanged
from restaurant_system.services.kitchen import simulated_cook
from restaurant_system.worker.order_processor import Outcome
from tests.support.kitchen import REQUEST, Kitchen, settings
from tests.support.orders import make_order
from tests.support.waiting import eventually

NOON = datetime(2024, 12, 16, 12, tzinfo=UTC)


@pytest.fixture
async def kitchen(database: Database) -> Kitchen:
    """Open a kitchen at noon, with the worker `chef` online and a relay that does not run."""
    relay = Relay(database, PostgresBroker(database), OutboxSettings())
    kitchen = Kitchen(database, relay, clock=lambda: NOON)
    await kitchen.register_worker("chef")
    return kitchen


async def cook(
    kitchen: Kitchen, number: str, name: str = "chef", how: KitchenSettings | None = None
) -> Outcome:
    """Process an order with a simulated cook of this name."""
    order = OrderReceived.from_order(make_order(), number)
    return await kitchen.simulated_cook(name, how or settings()).process(order, REQUEST)


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

    outcome = await cook(kitchen, number)

    assert outcome is Outcome.COOKED
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

    await cook(kitchen, number)

    order = await kitchen.get(number)
    assert (order["processed_by"], order["completed_at"]) == ("chef", NOON)
    assert (order["updated_at"], order["estimated_completion"]) == (NOON, None)
    assert await kitchen.orders_processed("chef") == 1


async def test_estimated_completion_is_the_cooking_time_from_the_start(kitchen: Kitchen) -> None:
    number = await kitchen.order()

    cooking = asyncio.create_task(cook(kitchen, number, how=settings(takeout=600)))
    await kitchen.wait_for(number, "cooking")

    order = await kitchen.get(number)
    assert order["estimated_completion"] == NOON + timedelta(seconds=600)
    assert order["completed_at"] is None
    cooking.cancel()


async def test_redelivered_order_is_cooked_once(kitchen: Kitchen) -> None:
    number = await kitchen.order()
    await cook(kitchen, number)

    outcome = await cook(kitchen, number)

    assert outcome is Outcome.NOT_NEEDED
    assert len(await kitchen.history(number)) == 3
    assert len(await pending_updates(kitchen, number)) == 2
    assert await kitchen.orders_processed("chef") == 1


async def test_order_started_by_the_same_worker_is_finished_without_starting_again(
    kitchen: Kitchen,
) -> None:
    number = await kitchen.order()
    await kitchen.start_order(number, "chef")

    outcome = await cook(kitchen, number)

    assert outcome is Outcome.COOKED
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

    outcome = await cook(kitchen, number)

    assert outcome is Outcome.OTHER_WORKER
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

    outcome = await cook(kitchen, number)

    assert outcome is Outcome.COOKED
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

    outcome = await cook(kitchen, number)

    assert outcome is Outcome.OTHER_WORKER


async def test_cancelled_order_is_not_cooked(kitchen: Kitchen) -> None:
    number = await kitchen.order()
    await kitchen.cancel(number)

    outcome = await cook(kitchen, number)

    assert outcome is Outcome.NOT_NEEDED
    assert await pending_updates(kitchen, number) == [("received", "cancelled", "order-service")]


async def test_order_cancelled_while_cooking_is_stopped_and_not_counted(
    kitchen: Kitchen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(simulated_cook, "CANCELLATION_POLL_INTERVAL", 0.05)
    number = await kitchen.order()
    chef = kitchen.simulated_cook("chef", settings(takeout=600))
    polling = asyncio.create_task(chef.poll_orders())
    cooking = asyncio.create_task(
        chef.process(OrderReceived.from_order(make_order(), number), REQUEST)
    )
    await kitchen.wait_for(number, "cooking")

    await kitchen.cancel(number)

    assert await asyncio.wait_for(cooking, 20) is Outcome.NOT_NEEDED
    assert await kitchen.status(number) == "cancelled"
    assert await kitchen.orders_processed("chef") == 0
    polling.cancel()


async def test_order_cancelled_between_two_polls_does_not_become_ready(
    kitchen: Kitchen,
) -> None:
    number = await kitchen.order()
    cooking = asyncio.create_task(cook(kitchen, number, how=settings(takeout=0.5)))
    await kitchen.wait_for(number, "cooking")

    await kitchen.cancel(number)

    assert await cooking is Outcome.NOT_NEEDED
    assert await kitchen.status(number) == "cancelled"
    assert await kitchen.orders_processed("chef") == 0


async def test_message_of_an_unknown_order_is_rejected(kitchen: Kitchen) -> None:
    with pytest.raises(MessageRejected, match="ORD_20241216_404"):
        await cook(kitchen, "ORD_20241216_404")


async def test_order_processed_by_two_workers_at_once_is_cooked_once(kitchen: Kitchen) -> None:
    number = await kitchen.order()
    await kitchen.register_worker("rival")

    outcomes = await asyncio.gather(
        cook(kitchen, number, "chef", settings(takeout=0.5)),
        cook(kitchen, number, "rival", settings(takeout=0.5)),
    )

    assert set(outcomes) == {Outcome.COOKED, Outcome.OTHER_WORKER}
    assert len(await kitchen.history(number)) == 3
    assert await kitchen.orders_processed("chef") + await kitchen.orders_processed("rival") == 1


async def test_order_taken_over_by_two_workers_at_once_is_cooked_once(kitchen: Kitchen) -> None:
    number = await kitchen.order()
    await kitchen.register_worker("rival")
    await kitchen.start_order(number, "offline worker")

    async with kitchen.database.transaction() as tx:
        await tx.execute("SELECT FROM orders WHERE number = $1 FOR UPDATE", number)
        processing = [
            asyncio.create_task(cook(kitchen, number, name, settings(takeout=0.5)))
            for name in ("chef", "rival")
        ]
        await eventually(
            lambda: two_sessions_wait(kitchen.database),
            doing="for both workers to wait for the lock",
        )
    outcomes = await asyncio.gather(*processing)

    assert set(outcomes) == {Outcome.COOKED, Outcome.OTHER_WORKER}
    assert await kitchen.orders_processed("chef") + await kitchen.orders_processed("rival") == 1


async def two_sessions_wait(database: Database) -> bool:
    """Tell whether two sessions wait for a lock."""
    query = """
        SELECT count(*) = 2 FROM pg_stat_activity
        WHERE datname = current_database() AND wait_event_type = 'Lock'
    """
    async with database.connection() as connection:
        both: bool = await connection.fetchval(query)
    return both


async def test_order_redelivered_while_it_cooks_is_not_started_twice(
    kitchen: Kitchen,
) -> None:
    number = await kitchen.order()
    chef = kitchen.simulated_cook("chef", settings(takeout=0.5))
    order = OrderReceived.from_order(make_order(), number)
    cooking = asyncio.create_task(chef.process(order, REQUEST))
    await kitchen.wait_for(number, "cooking")

    again = await chef.process(order, REQUEST)

    assert again is Outcome.OTHER_WORKER
    assert await cooking is Outcome.COOKED
    assert len(await kitchen.history(number)) == 3
