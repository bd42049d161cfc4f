import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator, Sequence

import asyncpg
import pytest

from restaurant_system.config import OutboxSettings
from restaurant_system.database import orders
from restaurant_system.database.claims import ClaimedOrder
from restaurant_system.database.connection import Connection, Database
from restaurant_system.database.orders import MovedOrder, MoveOrder
from restaurant_system.errors import DatabaseUnavailable
from restaurant_system.messaging.relay import Relay
from restaurant_system.models.message import StatusChanged, decode
from tests.support.fakes import RecordingBroker
from tests.support.kitchen import Cook, Kitchen, settings
from tests.support.waiting import eventually

UNSTORABLE = "a NUL \0"


class Moves:
    """Replaces `orders.move`: records its statements, and can pause or fail them."""

    def __init__(self) -> None:
        self.statements: list[list[str]] = []
        self.failed = 0
        self.answer_lost = False
        self._running = asyncio.Event()
        self._running.set()
        self._move = orders.move

    async def __call__(
        self, connection: Connection, moves: Sequence[MoveOrder]
    ) -> list[MovedOrder | None]:
        """Execute `orders.move`, once it is not paused."""
        self.statements.append([each.number for each in moves])
        await self._running.wait()
        try:
            messages = await self._move(connection, moves)
        except asyncpg.PostgresError:
            self.failed += 1
            raise
        if self.answer_lost:
            self.answer_lost = False
            raise DatabaseUnavailable("The connection was lost.")
        return messages

    @contextlib.asynccontextmanager
    async def paused(self) -> AsyncIterator[None]:
        """Pause every statement until the end of the block."""
        self._running.clear()
        yield
        self._running.set()

    async def wait_for_move(self) -> None:
        """Wait until a statement that moves orders has been submitted."""

        async def is_there() -> bool:
            return bool(self.statements)

        await eventually(is_there, doing="for a move to be submitted")


@pytest.fixture
def moves(monkeypatch: pytest.MonkeyPatch) -> Moves:
    """Record the statements that move orders."""
    moves = Moves()
    monkeypatch.setattr(orders, "move", moves)
    return moves


@pytest.fixture
def broker() -> RecordingBroker:
    """Return a broker that records what is published."""
    return RecordingBroker()


@pytest.fixture
async def kitchen(database: Database, broker: RecordingBroker) -> Kitchen:
    """Open a kitchen with the worker `chef` online; a test runs the relay if it needs it."""
    kitchen = Kitchen(database, Relay(database, broker, OutboxSettings()))
    await kitchen.register_worker("chef")
    return kitchen


async def place_orders(kitchen: Kitchen, count: int) -> list[str]:
    """Place orders."""
    return list(await asyncio.gather(*(kitchen.order() for _ in range(count))))


def published_statuses(broker: RecordingBroker, number: str) -> list[str]:
    """Return the published statuses of an order, in the order of publishing."""
    updates = [
        decode(message, StatusChanged)
        for message in broker.taken
        if message.type == StatusChanged.TYPE
    ]
    return [update.new_status for update in updates if update.order_number == number]


async def test_concurrent_orders_share_statements(kitchen: Kitchen, moves: Moves) -> None:
    numbers = await place_orders(kitchen, 40)
    chef = kitchen.simulated_cook("chef", settings())

    assert sorted(await chef.cook(limit=100)) == sorted(numbers)

    assert len(moves.statements) <= 5
    for number in numbers:
        assert [status for status, _ in await kitchen.history(number)] == [
            "received",
            "cooking",
            "ready",
        ]
    assert await kitchen.orders_processed("chef") == 40


async def test_updates_of_an_order_are_published_in_order_under_concurrency(
    kitchen: Kitchen, broker: RecordingBroker
) -> None:
    numbers = await place_orders(kitchen, 40)
    chef = kitchen.simulated_cook("chef", settings())

    async with kitchen.relay.running():
        await chef.cook(limit=40)

    for number in numbers:
        assert published_statuses(broker, number) == ["cooking", "ready"]


async def test_order_that_cannot_be_finished_fails_without_its_batch(
    kitchen: Kitchen, moves: Moves
) -> None:
    numbers = await place_orders(kitchen, 6)
    chef = kitchen.simulated_cook("chef", settings())
    orders = await chef.claim(6)
    bad = dataclasses.replace(orders[2], request_id=UNSTORABLE)

    async with moves.paused():
        cooking = [process(chef, orders[0])]
        await moves.wait_for_move()
        cooking += [process(chef, each) for each in (orders[1], *orders[3:])]
        failing = process(chef, bad)
        await asyncio.sleep(0)

    await asyncio.gather(*cooking)
    with pytest.raises(asyncpg.PostgresError, match="0x00"):
        await failing
    statuses = {number: await kitchen.status(number) for number in numbers}
    assert statuses == dict.fromkeys(numbers, "ready") | {bad.number: "cooking"}


async def test_order_with_a_long_cooking_time_delays_no_other(kitchen: Kitchen) -> None:
    slow, *quick = [await kitchen.order("delivery"), *await place_orders(kitchen, 3)]
    chef = kitchen.simulated_cook("chef", settings(delivery=600))

    cooking = asyncio.create_task(chef.cook(limit=4))
    for number in quick:
        await kitchen.wait_for(number, "ready")

    assert await kitchen.status(slow) == "cooking"
    cooking.cancel()


async def test_move_of_a_cancelled_task_is_committed_and_published(
    kitchen: Kitchen, moves: Moves, broker: RecordingBroker
) -> None:
    dropped, *others = await place_orders(kitchen, 3)
    chef = kitchen.simulated_cook("chef", settings())
    claimed = await chef.claim(3)

    async with kitchen.relay.running():
        async with moves.paused():
            cancelled_task = process(chef, claimed[0])
            await moves.wait_for_move()
            cooking = [process(chef, each) for each in claimed[1:]]
            cancelled_task.cancel()
        await asyncio.gather(*cooking)

    assert cancelled_task.cancelled()
    for number in (dropped, *others):
        assert published_statuses(broker, number) == ["cooking", "ready"]


async def test_orders_are_counted_once_when_the_answer_to_a_commit_is_lost(
    kitchen: Kitchen, moves: Moves
) -> None:
    numbers = await place_orders(kitchen, 5)
    chef = kitchen.simulated_cook("chef", settings())
    moves.answer_lost = True

    await chef.cook(limit=5)

    assert [len(await kitchen.history(number)) for number in numbers] == [3] * 5
    assert await kitchen.orders_processed("chef") == 5


async def test_many_workers_cook_every_order_once(kitchen: Kitchen, moves: Moves) -> None:
    numbers = await place_orders(kitchen, 100)
    names = ["chef", "rival", "third"]
    for name in names[1:]:
        await kitchen.register_worker(name)

    async def cook_all(name: str) -> list[str]:
        chef, cooked = kitchen.simulated_cook(name, settings()), list[str]()
        while one := await chef.cook(limit=7):
            cooked += one
        return cooked

    cooked = await asyncio.gather(*(cook_all(name) for name in names))

    assert sorted(number for each in cooked for number in each) == sorted(numbers)
    assert moves.failed == 0
    assert [await kitchen.orders_processed(name) for name in names] == [len(c) for c in cooked]


def process(chef: Cook, order: ClaimedOrder) -> "asyncio.Task[bool]":
    """Start processing a claimed order."""
    return asyncio.create_task(chef.processor.process(order))
