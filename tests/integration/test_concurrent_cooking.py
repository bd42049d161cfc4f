"""Many orders in a cook's hands at once: what they share, and what each has for itself."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence

import asyncpg
import pytest

from restaurant_system.config import OutboxSettings
from restaurant_system.database import orders
from restaurant_system.database.connection import Connection, Database
from restaurant_system.database.orders import MoveOrder
from restaurant_system.database.outbox import OutboxMessage
from restaurant_system.errors import DatabaseUnavailable
from restaurant_system.messaging.relay import Relay
from restaurant_system.models.message import OrderReceived, StatusChanged, decode
from restaurant_system.services.kitchen.simulated_cook import SimulatedCook
from restaurant_system.worker.order_processor import Outcome
from tests.support.fakes import RecordingBroker
from tests.support.kitchen import BELONGINGS, REQUEST, Kitchen, settings
from tests.support.orders import make_order
from tests.support.waiting import eventually

UNSTORABLE = "a NUL \0"


class Moves:
    """Stands in front of `orders.move`, counts its statements and gets in their way."""

    def __init__(self) -> None:
        self.statements: list[list[str]] = []
        self.failed = 0
        self.answer_is_lost = False
        self._may_go_on = asyncio.Event()
        self._may_go_on.set()
        self._move = orders.move

    async def __call__(
        self, connection: Connection, moves: Sequence[MoveOrder]
    ) -> list[OutboxMessage | None]:
        """Move orders, in the end."""
        self.statements.append([each.number for each in moves])
        await self._may_go_on.wait()
        try:
            owed = await self._move(connection, moves)
        except asyncpg.PostgresError:
            self.failed += 1
            raise
        if self.answer_is_lost:
            self.answer_is_lost = False
            raise DatabaseUnavailable("The line broke.")
        return owed

    @contextlib.asynccontextmanager
    async def held_up(self) -> AsyncIterator[None]:
        """Let no statement begin before the end of the block."""
        self._may_go_on.clear()
        yield
        self._may_go_on.set()

    async def asked(self) -> None:
        """Wait until somebody has asked for a move."""

        async def is_there() -> bool:
            return bool(self.statements)

        await eventually(is_there, doing="for a move")


@pytest.fixture
def moves(monkeypatch: pytest.MonkeyPatch) -> Moves:
    """Watch the statements that move orders."""
    moves = Moves()
    monkeypatch.setattr(orders, "move", moves)
    return moves


@pytest.fixture
def broker() -> RecordingBroker:
    """Open a broker that keeps what it takes."""
    return RecordingBroker()


@pytest.fixture
async def kitchen(database: Database, broker: RecordingBroker) -> Kitchen:
    """Open a kitchen with a chef on duty; its relay stands still unless a test runs it."""
    kitchen = Kitchen(database, Relay(database, broker, OutboxSettings()))
    await kitchen.enter("chef")
    return kitchen


async def place_orders(kitchen: Kitchen, count: int) -> list[str]:
    """Place orders."""
    return list(await asyncio.gather(*(kitchen.order() for _ in range(count))))


def cook(
    chef: SimulatedCook, number: str, request_id: str = REQUEST, order_type: str = "takeout"
) -> "asyncio.Task[Outcome]":
    """Put an order into a cook's hands."""
    order = make_order(order_type=order_type, **BELONGINGS[order_type])
    return asyncio.create_task(chef.process(OrderReceived.from_order(order, number), request_id))


def told(broker: RecordingBroker, number: str) -> list[str]:
    """Return what everyone was told about an order, in this order."""
    updates = [
        decode(message, StatusChanged)
        for message in broker.taken
        if message.type == StatusChanged.TYPE
    ]
    return [update.new_status for update in updates if update.order_number == number]


async def test_orders_at_the_same_time_share_statements(kitchen: Kitchen, moves: Moves) -> None:
    """Forty orders take far fewer statements than eighty, and each has its own two log rows."""
    numbers = await place_orders(kitchen, 40)
    chef = kitchen.processor("chef", settings())

    outcomes = await asyncio.gather(*(cook(chef, number) for number in numbers))

    assert outcomes == [Outcome.COOKED] * 40
    assert len(moves.statements) <= 10
    for number in numbers:
        assert [status for status, _ in await kitchen.history(number)] == [
            "received",
            "cooking",
            "ready",
        ]
    assert await kitchen.cooked_by("chef") == 40


async def test_no_update_of_an_order_overtakes_the_one_before(
    kitchen: Kitchen, broker: RecordingBroker
) -> None:
    """However many cook at once, each is told to be cooking first and ready then."""
    numbers = await place_orders(kitchen, 40)
    chef = kitchen.processor("chef", settings())

    async with kitchen.relay.running():
        await asyncio.gather(*(cook(chef, number) for number in numbers))

    for number in numbers:
        assert told(broker, number) == ["cooking", "ready"]


async def test_an_order_that_cannot_be_moved_fails_alone(kitchen: Kitchen, moves: Moves) -> None:
    """Its neighbours in the statement are cooked."""
    first, bad, *good = await place_orders(kitchen, 6)
    chef = kitchen.processor("chef", settings())

    async with moves.held_up():
        cooking = [cook(chef, first)]
        await moves.asked()
        cooking += [cook(chef, number) for number in good]
        failing = cook(chef, bad, UNSTORABLE)
        await asyncio.sleep(0)

    assert await asyncio.gather(*cooking) == [Outcome.COOKED] * 5
    with pytest.raises(asyncpg.PostgresError, match="0x00"):
        await failing
    assert set(moves.statements[1]) == {bad, *good}
    assert await kitchen.status(bad) == "received"


async def test_an_order_that_takes_its_time_holds_up_no_other(kitchen: Kitchen) -> None:
    """What is begun together need not be finished together."""
    slow, *quick = [await kitchen.order("delivery"), *await place_orders(kitchen, 3)]
    chef = kitchen.processor("chef", settings(delivery=600))

    cooking = cook(chef, slow, order_type="delivery")
    outcomes = await asyncio.gather(*(cook(chef, number) for number in quick))

    assert outcomes == [Outcome.COOKED] * 3
    assert await kitchen.status(slow) == "cooking"
    cooking.cancel()


async def test_a_cook_who_is_sent_home_leaves_what_is_under_way_whole(
    kitchen: Kitchen, moves: Moves, broker: RecordingBroker
) -> None:
    """A move that has been asked for is made and told, and its neighbours go on."""
    dropped, *others = await place_orders(kitchen, 3)
    chef = kitchen.processor("chef", settings())

    async with kitchen.relay.running():
        async with moves.held_up():
            given_up = cook(chef, dropped)
            await moves.asked()
            cooking = [cook(chef, number) for number in others]
            given_up.cancel()
        assert await asyncio.gather(*cooking) == [Outcome.COOKED] * 2

    assert given_up.cancelled()
    assert await kitchen.status(dropped) == "cooking"
    assert told(broker, dropped) == ["cooking"]


async def test_an_order_that_was_given_up_before_its_turn_is_left_alone(
    kitchen: Kitchen, moves: Moves
) -> None:
    """What has not been asked for yet is not begun."""
    first, dropped = await place_orders(kitchen, 2)
    chef = kitchen.processor("chef", settings())

    async with moves.held_up():
        cooking = cook(chef, first)
        await moves.asked()
        given_up = cook(chef, dropped)
        await asyncio.sleep(0)
        given_up.cancel()

    assert await cooking is Outcome.COOKED
    assert await kitchen.status(dropped) == "received"


async def test_a_commit_whose_answer_is_lost_is_found_at_the_second_try(
    kitchen: Kitchen, moves: Moves
) -> None:
    """Nothing is logged or counted twice, and all are ready in the end."""
    numbers = await place_orders(kitchen, 5)
    chef = kitchen.processor("chef", settings())
    moves.answer_is_lost = True

    outcomes = await asyncio.gather(*(cook(chef, number) for number in numbers))

    assert outcomes == [Outcome.COOKED] * 5
    assert [len(await kitchen.history(number)) for number in numbers] == [3] * 5
    assert await kitchen.cooked_by("chef") == 5


async def test_cooks_with_the_same_orders_do_not_lock_each_other_out(
    kitchen: Kitchen, moves: Moves
) -> None:
    """Each order is cooked once, and no statement is tried again for want of a lock."""
    numbers = await place_orders(kitchen, 100)
    await kitchen.enter("rival")
    chef, rival = (kitchen.processor(name, settings()) for name in ("chef", "rival"))

    outcomes = await asyncio.gather(
        *(cook(chef, number) for number in numbers),
        *(cook(rival, number) for number in reversed(numbers)),
    )

    assert outcomes.count(Outcome.COOKED) == 100
    assert moves.failed == 0
    assert await kitchen.cooked_by("chef") + await kitchen.cooked_by("rival") == 100
