"""One order in a cook's hands; what is announced is read where it is owed, in the outbox."""

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
from tests.conftest import QUICK_RETRIES
from tests.support.kitchen import REQUEST, Kitchen, settings
from tests.support.orders import make_order
from tests.support.waiting import eventually

NOON = datetime(2024, 12, 16, 12, tzinfo=UTC)


@pytest.fixture
async def kitchen(database: Database) -> Kitchen:
    """Open a kitchen at noon whose relay stands still, with a chef on duty."""
    relay = Relay(database, PostgresBroker(database, QUICK_RETRIES), OutboxSettings())
    kitchen = Kitchen(database, relay, clock=lambda: NOON)
    await kitchen.enter("chef")
    return kitchen


async def cook(
    kitchen: Kitchen, number: str, name: str = "chef", how: KitchenSettings | None = None
) -> Outcome:
    """Hand an order to a cook, and see it through."""
    order = OrderReceived.from_order(make_order(), number)
    return await kitchen.processor(name, how or settings()).process(order, REQUEST)


async def announced(kitchen: Kitchen, number: str) -> list[tuple[str, str, str]]:
    """Return the updates that are owed: from where, to where, by whom."""
    query = "SELECT body FROM outbox WHERE type = $1 ORDER BY id"
    async with kitchen.database.connection() as connection:
        bodies = [json.loads(row[0]) for row in await connection.fetch(query, StatusChanged.TYPE)]
    return [
        (body["old_status"], body["new_status"], body["changed_by"])
        for body in bodies
        if body["order_number"] == number
    ]


async def test_an_order_is_brought_from_received_to_ready(kitchen: Kitchen) -> None:
    """Each step is logged once and told once, in order."""
    number = await kitchen.order()

    outcome = await cook(kitchen, number)

    assert outcome is Outcome.COOKED
    assert await kitchen.history(number) == [
        ("received", "order-service"),
        ("cooking", "chef"),
        ("ready", "chef"),
    ]
    assert await announced(kitchen, number) == [
        ("received", "cooking", "chef"),
        ("cooking", "ready", "chef"),
    ]


async def test_a_cooked_order_names_its_cook_and_its_time(kitchen: Kitchen) -> None:
    """`processed_by`, `completed_at` and `updated_at` are set, and the cook has one order more."""
    number = await kitchen.order()

    await cook(kitchen, number)

    order = await kitchen.look_up(number)
    assert (order["processed_by"], order["completed_at"]) == ("chef", NOON)
    assert (order["updated_at"], order["estimated_completion"]) == (NOON, None)
    assert await kitchen.cooked_by("chef") == 1


async def test_the_estimate_is_the_cooking_time_from_now(kitchen: Kitchen) -> None:
    """An order that cooks is due when its type's cooking time is over."""
    number = await kitchen.order()

    cooking = asyncio.create_task(cook(kitchen, number, how=settings(takeout=600)))
    await kitchen.wait_for(number, "cooking")

    order = await kitchen.look_up(number)
    assert order["estimated_completion"] == NOON + timedelta(seconds=600)
    assert order["completed_at"] is None
    cooking.cancel()


async def test_the_same_order_again_changes_nothing(kitchen: Kitchen) -> None:
    """A message that comes twice is logged, told and counted once."""
    number = await kitchen.order()
    await cook(kitchen, number)

    outcome = await cook(kitchen, number)

    assert outcome is Outcome.NOT_NEEDED
    assert len(await kitchen.history(number)) == 3
    assert len(await announced(kitchen, number)) == 2
    assert await kitchen.cooked_by("chef") == 1


async def test_an_order_that_its_own_cook_began_is_gone_on_with(kitchen: Kitchen) -> None:
    """Begun under our name in an earlier life, it is finished without starting again."""
    number = await kitchen.order()
    await kitchen.begin(number, "chef")

    outcome = await cook(kitchen, number)

    assert outcome is Outcome.COOKED
    assert [status for status, _ in await kitchen.history(number)] == [
        "received",
        "cooking",
        "ready",
    ]
    assert await announced(kitchen, number) == [("cooking", "ready", "chef")]


async def test_an_order_of_a_cook_who_is_there_is_left_to_them(kitchen: Kitchen) -> None:
    """What somebody else on duty cooks is not touched."""
    number = await kitchen.order()
    await kitchen.enter("rival")
    await kitchen.begin(number, "rival")

    outcome = await cook(kitchen, number)

    assert outcome is Outcome.OTHER_WORKER
    assert (await kitchen.look_up(number))["processed_by"] == "rival"
    assert await kitchen.status(number) == "cooking"


@pytest.mark.parametrize("whereabouts", ["signed off", "silent for two heartbeats", "unknown"])
async def test_an_order_of_a_cook_who_is_gone_is_taken_over(
    kitchen: Kitchen, whereabouts: str
) -> None:
    """It is finished under the new cook's name, with no second start."""
    number = await kitchen.order()
    if whereabouts != "unknown":
        silence = timedelta(seconds=61 if whereabouts.startswith("silent") else 0)
        await kitchen.enter("rival", silent_for=silence)
    if whereabouts == "signed off":
        await kitchen.dismiss("rival")
    await kitchen.begin(number, "rival")

    outcome = await cook(kitchen, number)

    assert outcome is Outcome.COOKED
    assert (await kitchen.look_up(number))["processed_by"] == "chef"
    assert await kitchen.history(number) == [
        ("received", "order-service"),
        ("cooking", "rival"),
        ("ready", "chef"),
    ]
    assert await announced(kitchen, number) == [("cooking", "ready", "chef")]


async def test_a_cook_is_taken_for_present_until_two_heartbeats_are_missed(
    kitchen: Kitchen,
) -> None:
    """One missed heartbeat costs nobody their order."""
    number = await kitchen.order()
    await kitchen.enter("rival", silent_for=timedelta(seconds=40))
    await kitchen.begin(number, "rival")

    outcome = await cook(kitchen, number)

    assert outcome is Outcome.OTHER_WORKER


async def test_an_order_cancelled_before_is_left_alone(kitchen: Kitchen) -> None:
    """Nobody cooks what was called off."""
    number = await kitchen.order()
    await kitchen.cancel(number)

    outcome = await cook(kitchen, number)

    assert outcome is Outcome.NOT_NEEDED
    assert await announced(kitchen, number) == [("received", "cancelled", "order-service")]


async def test_an_order_cancelled_while_it_cooks_is_dropped(
    kitchen: Kitchen, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cook stops long before the dish would be done, and is not credited with it."""
    monkeypatch.setattr(simulated_cook, "CANCELLATION_POLL_INTERVAL", 0.05)
    number = await kitchen.order()
    chef = kitchen.processor("chef", settings(takeout=600))
    watching = asyncio.create_task(chef.poll_orders())
    cooking = asyncio.create_task(
        chef.process(OrderReceived.from_order(make_order(), number), REQUEST)
    )
    await kitchen.wait_for(number, "cooking")

    await kitchen.cancel(number)

    assert await asyncio.wait_for(cooking, 20) is Outcome.NOT_NEEDED
    assert await kitchen.status(number) == "cancelled"
    assert await kitchen.cooked_by("chef") == 0
    watching.cancel()


async def test_an_order_cancelled_at_the_last_moment_does_not_become_ready(
    kitchen: Kitchen,
) -> None:
    """Whoever has not noticed a cancellation by the end finds it then."""
    number = await kitchen.order()
    cooking = asyncio.create_task(cook(kitchen, number, how=settings(takeout=0.5)))
    await kitchen.wait_for(number, "cooking")

    await kitchen.cancel(number)

    assert await cooking is Outcome.NOT_NEEDED
    assert await kitchen.status(number) == "cancelled"
    assert await kitchen.cooked_by("chef") == 0


async def test_an_order_that_does_not_exist_is_rejected(kitchen: Kitchen) -> None:
    """No waiting helps a message about an order that nobody stored."""
    with pytest.raises(MessageRejected, match="ORD_20241216_404"):
        await cook(kitchen, "ORD_20241216_404")


async def test_two_cooks_who_reach_for_one_order_do_not_both_get_it(kitchen: Kitchen) -> None:
    """Of two at once, one cooks and the other leaves it be."""
    number = await kitchen.order()
    await kitchen.enter("rival")

    outcomes = await asyncio.gather(
        cook(kitchen, number, "chef", settings(takeout=0.5)),
        cook(kitchen, number, "rival", settings(takeout=0.5)),
    )

    assert set(outcomes) == {Outcome.COOKED, Outcome.OTHER_WORKER}
    assert len(await kitchen.history(number)) == 3
    assert await kitchen.cooked_by("chef") + await kitchen.cooked_by("rival") == 1


async def test_two_cooks_who_take_over_one_order_do_not_both_get_it(kitchen: Kitchen) -> None:
    """Both find it at somebody who is gone, and reach for it at the same moment: one gets it."""
    number = await kitchen.order()
    await kitchen.enter("rival")
    await kitchen.begin(number, "somebody who is gone")

    async with kitchen.database.transaction() as tx:
        await tx.execute("SELECT FROM orders WHERE number = $1 FOR UPDATE", number)
        reaching = [
            asyncio.create_task(cook(kitchen, number, name, settings(takeout=0.5)))
            for name in ("chef", "rival")
        ]
        await eventually(lambda: two_wait(kitchen.database), doing="for both to reach for it")
    outcomes = await asyncio.gather(*reaching)

    assert set(outcomes) == {Outcome.COOKED, Outcome.OTHER_WORKER}
    assert await kitchen.cooked_by("chef") + await kitchen.cooked_by("rival") == 1


async def two_wait(database: Database) -> bool:
    """Tell whether two sessions wait for a lock."""
    query = """
        SELECT count(*) = 2 FROM pg_stat_activity
        WHERE datname = current_database() AND wait_event_type = 'Lock'
    """
    async with database.connection() as connection:
        both: bool = await connection.fetchval(query)
    return both


async def test_an_order_that_comes_again_while_it_cooks_here_is_not_begun_twice(
    kitchen: Kitchen,
) -> None:
    """One cook has one order on the stove once, however often its message comes."""
    number = await kitchen.order()
    chef = kitchen.processor("chef", settings(takeout=0.5))
    order = OrderReceived.from_order(make_order(), number)
    cooking = asyncio.create_task(chef.process(order, REQUEST))
    await kitchen.wait_for(number, "cooking")

    again = await chef.process(order, REQUEST)

    assert again is Outcome.OTHER_WORKER
    assert await cooking is Outcome.COOKED
    assert len(await kitchen.history(number)) == 3
