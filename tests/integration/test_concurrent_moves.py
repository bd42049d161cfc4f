import asyncio
from collections.abc import Sequence

import pytest

from restaurant_system.config import OutboxSettings
from restaurant_system.database import orders
from restaurant_system.database.connection import Connection, Database
from restaurant_system.messaging.order_messages import Sender, move_with_update
from restaurant_system.messaging.relay import Relay
from restaurant_system.models.status import OrderStatus
from tests.support.database import wait_for_lock_wait
from tests.support.fakes import RecordingBroker
from tests.support.kitchen import REQUEST, Kitchen
from tests.support.services import NOON

FREE = "SELECT number FROM orders FOR UPDATE SKIP LOCKED"
TOUCH = "UPDATE orders SET updated_at = now() WHERE number = $1"
CANCEL = "UPDATE orders SET status = 'cancelled' WHERE number = $1"


@pytest.fixture
async def kitchen(database: Database) -> Kitchen:
    """Open a kitchen with the worker `chef` online and a relay that does not run."""
    kitchen = Kitchen(database, Relay(database, RecordingBroker(), OutboxSettings()))
    await kitchen.register_worker("chef")
    return kitchen


async def place_orders(kitchen: Kitchen, count: int) -> list[str]:
    """Place orders, and return their numbers in order."""
    return sorted(await asyncio.gather(*(kitchen.order() for _ in range(count))))


async def start_orders(tx: Connection, numbers: Sequence[str]) -> set[str]:
    """Move orders to `cooking` in one statement; return those that were moved."""
    sender = Sender("kitchen-worker", REQUEST)
    moves = [
        move_with_update(
            number,
            origin=OrderStatus.RECEIVED,
            target=OrderStatus.COOKING,
            at=NOON,
            by="chef",
            sender=sender,
        )
        for number in numbers
    ]
    messages = await orders.move(tx, moves)
    return {number for number, each in zip(numbers, messages, strict=True) if each is not None}


async def start_without(database: Database, kind: str, numbers: Sequence[str]) -> set[str]:
    """Start orders in a transaction in which the planner avoids one kind of plan."""
    async with database.transaction() as tx:
        await tx.execute(f"SET LOCAL {kind} = off")
        return await start_orders(tx, numbers)


@pytest.mark.parametrize("kind", ["enable_nestloop", "enable_hashjoin", "enable_indexscan"])
async def test_orders_are_locked_in_the_order_of_their_numbers(
    kitchen: Kitchen, database: Database, kind: str
) -> None:
    """A waiting statement has locked no order with a higher number, whatever its plan."""
    first, *others = await place_orders(kitchen, 80)

    async with database.transaction() as holder:
        await holder.execute(TOUCH, first)
        moving = asyncio.create_task(start_without(database, kind, [*reversed(others), first]))
        await wait_for_lock_wait(database)
        async with database.transaction() as observer:
            free = {row["number"] for row in await observer.fetch(FREE)}

    assert free == set(others)
    assert await moving == {first, *others}


@pytest.mark.parametrize(("change", "is_moved"), [(TOUCH, True), (CANCEL, False)])
async def test_move_that_waited_for_a_lock_sees_concurrent_changes(
    kitchen: Kitchen, database: Database, change: str, *, is_moved: bool
) -> None:
    """A cancelled order is not moved; one whose status is unchanged is."""
    first, second = await place_orders(kitchen, 2)

    async with database.transaction() as holder:
        await holder.execute(change, first)
        moving = asyncio.create_task(start_without(database, "jit", [first, second]))
        await wait_for_lock_wait(database)

    assert await moving == ({first, second} if is_moved else {second})
    assert await kitchen.status(first) == ("cooking" if is_moved else "cancelled")
    assert len(await kitchen.history(first)) == (2 if is_moved else 1)
