import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence

import asyncpg
import pytest

from restaurant_system.config import OutboxSettings
from restaurant_system.database import orders
from restaurant_system.database.connection import Connection, Database
from restaurant_system.database.orders import MovedOrder, MoveOrder
from restaurant_system.errors import DatabaseUnavailable
from restaurant_system.messaging.relay import Relay
from restaurant_system.models.message import OrderReceived, StatusChanged, decode
from restaurant_system.services.kitchen.simulated_cook import SimulatedCook
from restaurant_system.worker.order_processor import Outcome
from tests.support.fakes import RecordingBroker
from tests.support.kitchen import REQUEST, REQUIRED_FIELDS, Kitchen, settings
from tests.support.orders import make_order
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


def cook(
    chef: SimulatedCook, number: str, request_id: str = REQUEST, order_type: str = "takeout"
) -> "asyncio.Task[Outcome]":
    """Start processing an order with a simulated cook."""
    order = make_order(order_type=order_type, **REQUIRED_FIELDS[order_type])
    return asyncio.create_task(chef.process(OrderReceived.from_order(order, number), request_id))


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

    outcomes = await asyncio.gather(*(cook(chef, number) for number in numbers))

    assert outcomes == [Outcome.COOKED] * 40
    assert len(moves.statements) <= 10
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
        await asyncio.gather(*(cook(chef, number) for number in numbers))

    for number in numbers:
        assert published_statuses(broker, number) == ["cooking", "ready"]


async def test_order_that_cannot_be_moved_fails_without_its_batch(
    kitchen: Kitchen, moves: Moves
) -> None:
    first, bad, *good = await place_orders(kitchen, 6)
    chef = kitchen.simulated_cook("chef", settings())

    async with moves.paused():
        cooking = [cook(chef, first)]
        await moves.wait_for_move()
        cooking += [cook(chef, number) for number in good]
        failing = cook(chef, bad, UNSTORABLE)
        await asyncio.sleep(0)

    assert await asyncio.gather(*cooking) == [Outcome.COOKED] * 5
    with pytest.raises(asyncpg.PostgresError, match="0x00"):
        await failing
    assert set(moves.statements[1]) == {bad, *good}
    assert await kitchen.status(bad) == "received"


async def test_order_with_a_long_cooking_time_delays_no_other(kitchen: Kitchen) -> None:
    slow, *quick = [await kitchen.order("delivery"), *await place_orders(kitchen, 3)]
    chef = kitchen.simulated_cook("chef", settings(delivery=600))

    cooking = cook(chef, slow, order_type="delivery")
    outcomes = await asyncio.gather(*(cook(chef, number) for number in quick))

    assert outcomes == [Outcome.COOKED] * 3
    assert await kitchen.status(slow) == "cooking"
    cooking.cancel()


async def test_move_of_a_cancelled_task_is_committed_and_published(
    kitchen: Kitchen, moves: Moves, broker: RecordingBroker
) -> None:
    dropped, *others = await place_orders(kitchen, 3)
    chef = kitchen.simulated_cook("chef", settings())

    async with kitchen.relay.running():
        async with moves.paused():
            cancelled_task = cook(chef, dropped)
            await moves.wait_for_move()
            cooking = [cook(chef, number) for number in others]
            cancelled_task.cancel()
        assert await asyncio.gather(*cooking) == [Outcome.COOKED] * 2

    assert cancelled_task.cancelled()
    assert await kitchen.status(dropped) == "cooking"
    assert published_statuses(broker, dropped) == ["cooking"]


async def test_order_of_a_task_cancelled_before_its_batch_is_not_started(
    kitchen: Kitchen, moves: Moves
) -> None:
    first, dropped = await place_orders(kitchen, 2)
    chef = kitchen.simulated_cook("chef", settings())

    async with moves.paused():
        cooking = cook(chef, first)
        await moves.wait_for_move()
        cancelled_task = cook(chef, dropped)
        await asyncio.sleep(0)
        cancelled_task.cancel()

    assert await cooking is Outcome.COOKED
    assert await kitchen.status(dropped) == "received"


async def test_orders_are_counted_once_when_the_answer_to_a_commit_is_lost(
    kitchen: Kitchen, moves: Moves
) -> None:
    numbers = await place_orders(kitchen, 5)
    chef = kitchen.simulated_cook("chef", settings())
    moves.answer_lost = True

    outcomes = await asyncio.gather(*(cook(chef, number) for number in numbers))

    assert outcomes == [Outcome.COOKED] * 5
    assert [len(await kitchen.history(number)) for number in numbers] == [3] * 5
    assert await kitchen.orders_processed("chef") == 5


async def test_workers_with_the_same_orders_do_not_deadlock(kitchen: Kitchen, moves: Moves) -> None:
    numbers = await place_orders(kitchen, 100)
    await kitchen.register_worker("rival")
    chef, rival = (kitchen.simulated_cook(name, settings()) for name in ("chef", "rival"))

    outcomes = await asyncio.gather(
        *(cook(chef, number) for number in numbers),
        *(cook(rival, number) for number in reversed(numbers)),
    )

    assert outcomes.count(Outcome.COOKED) == 100
    assert moves.failed == 0
    assert await kitchen.orders_processed("chef") + await kitchen.orders_processed("rival") == 100
