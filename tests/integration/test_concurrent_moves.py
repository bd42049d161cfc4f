"""Moves that want the same orders at the same time: who waits for whom, and what is seen then."""

import asyncio
from collections.abc import Sequence

import pytest

from restaurant_system.config import OutboxSettings
from restaurant_system.database import orders
from restaurant_system.database.connection import Connection, Database
from restaurant_system.messaging.announcements import Sender, announced_move
from restaurant_system.messaging.relay import Relay
from restaurant_system.models.status import OrderStatus
from tests.support.fakes import RecordingBroker
from tests.support.kitchen import REQUEST, Kitchen
from tests.support.services import NOON
from tests.support.waiting import eventually

WAITS = """
SELECT EXISTS (
    SELECT FROM pg_stat_activity
    WHERE datname = current_database() AND wait_event_type = 'Lock'
)
"""
FREE = "SELECT number FROM orders FOR UPDATE SKIP LOCKED"
TOUCH = "UPDATE orders SET updated_at = now() WHERE number = $1"
CANCEL = "UPDATE orders SET status = 'cancelled' WHERE number = $1"


@pytest.fixture
async def kitchen(database: Database) -> Kitchen:
    """Open a kitchen with a chef on duty; its relay stands still."""
    kitchen = Kitchen(database, Relay(database, RecordingBroker(), OutboxSettings()))
    await kitchen.enter("chef")
    return kitchen


async def place_orders(kitchen: Kitchen, count: int) -> list[str]:
    """Place orders, and return their numbers in order."""
    return sorted(await asyncio.gather(*(kitchen.order() for _ in range(count))))


async def begin(tx: Connection, numbers: Sequence[str]) -> set[str]:
    """Move orders to `cooking` in one statement; return those that were there to be moved."""
    sender = Sender("kitchen-worker", REQUEST)
    moves = [
        announced_move(
            number,
            origin=OrderStatus.RECEIVED,
            target=OrderStatus.COOKING,
            at=NOON,
            by="chef",
            sender=sender,
        )
        for number in numbers
    ]
    owed = await orders.move(tx, moves)
    return {number for number, each in zip(numbers, owed, strict=True) if each is not None}


async def begin_without(database: Database, kind: str, numbers: Sequence[str]) -> set[str]:
    """Do so where the server shuns one kind of plan."""
    async with database.transaction() as tx:
        await tx.execute(f"SET LOCAL {kind} = off")
        return await begin(tx, numbers)


async def somebody_waits(database: Database) -> None:
    """Return once somebody waits for a lock."""

    async def waits() -> bool:
        async with database.connection() as connection:
            return bool(await connection.fetchval(WAITS))

    await eventually(waits, doing="for a statement to wait")


@pytest.mark.parametrize("kind", ["enable_nestloop", "enable_hashjoin", "enable_indexscan"])
async def test_orders_are_locked_in_the_order_of_their_numbers(
    kitchen: Kitchen, database: Database, kind: str
) -> None:
    """Whoever waits for an order has none of a higher number, however the server goes about it."""
    first, *others = await place_orders(kitchen, 80)

    async with database.transaction() as holder:
        await holder.execute(TOUCH, first)
        moving = asyncio.create_task(begin_without(database, kind, [*reversed(others), first]))
        await somebody_waits(database)
        async with database.transaction() as onlooker:
            free = {row["number"] for row in await onlooker.fetch(FREE)}

    assert free == set(others)
    assert await moving == {first, *others}


@pytest.mark.parametrize(("what", "is_there"), [(TOUCH, True), (CANCEL, False)])
async def test_a_move_that_waited_sees_what_was_done_meanwhile(
    kitchen: Kitchen, database: Database, what: str, *, is_there: bool
) -> None:
    """An order that somebody has moved stays as it is; one that is only changed is moved."""
    first, second = await place_orders(kitchen, 2)

    async with database.transaction() as holder:
        await holder.execute(what, first)
        moving = asyncio.create_task(begin_without(database, "jit", [first, second]))
        await somebody_waits(database)

    assert await moving == ({first, second} if is_there else {second})
    assert await kitchen.status(first) == ("cooking" if is_there else "cancelled")
    assert len(await kitchen.history(first)) == (2 if is_there else 1)
