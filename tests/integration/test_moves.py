import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from restaurant_system.config import DatabaseSettings
from restaurant_system.database.connection import Connection, Database
from restaurant_system.errors import IllegalMove, OrderNotFound, ReadyOrderKept
from restaurant_system.models.audit import Actor
from restaurant_system.models.message import StatusChanged
from restaurant_system.models.order import Move
from restaurant_system.models.status import OrderStatus
from restaurant_system.services.order.service import OrderService
from tests.support.orders import make_order
from tests.support.services import NOON, make_order_service, move, move_through

RECEIVED, COOKING, READY, COMPLETED, CANCELLED = OrderStatus


async def place(intake: OrderService) -> str:
    """Place an order, and return its number."""
    return (await intake.place(make_order(), request_id="request-1", key=None)).order_number


async def cancel(intake: OrderService, number: str) -> OrderStatus:
    """Cancel an order."""
    return await intake.cancel(number, Move(), request_id="request-2")


async def complete(intake: OrderService, number: str) -> OrderStatus:
    """Complete an order."""
    return await intake.complete(number, Move(), request_id="request-2")


async def cook(database: Database, number: str) -> None:
    """Move an order to `cooking` and `ready`, unless it was cancelled."""
    for origin, target in itertools.pairwise((RECEIVED, COOKING, READY)):
        await move(database, number, origin, target, at=NOON, by="mario")


async def history(database: Database, number: str) -> tuple[str, ...]:
    """Return the statuses that an order went through."""
    async with database.connection() as connection:
        rows = await connection.fetch(
            """SELECT log.status FROM order_status_log AS log JOIN orders ON orders.id = order_id
               WHERE number = $1 ORDER BY log.id""",
            number,
        )
    return tuple(row["status"] for row in rows)


async def pending_updates(database: Database) -> list[StatusChanged]:
    """Return the decoded status updates in the outbox."""
    async with database.connection() as connection:
        rows = await connection.fetch(
            "SELECT body FROM outbox WHERE exchange = 'notifications_fanout' ORDER BY id"
        )
    return [StatusChanged.model_validate_json(row["body"]) for row in rows]


async def test_received_or_cooking_order_can_be_cancelled(
    intake: OrderService, database: Database
) -> None:
    waiting, cooking = await place(intake), await place(intake)
    await move_through(database, cooking, COOKING)

    assert await cancel(intake, waiting) is CANCELLED
    assert await cancel(intake, cooking) is CANCELLED

    assert await history(database, waiting) == (RECEIVED, CANCELLED)
    assert await history(database, cooking) == (RECEIVED, COOKING, CANCELLED)
    moves = [(move.order_number, move.old_status) for move in await pending_updates(database)]
    assert moves == [(waiting, RECEIVED), (cooking, COOKING)]


async def test_ready_order_is_cancelled_by_a_person_who_says_why(
    intake: OrderService, database: Database
) -> None:
    number = await place(intake)
    await move_through(database, number, COOKING, READY)
    by, why = Actor("anna", "staff"), Move(changed_by="anna", reason="the courier never came")

    for refused, by_person in ((why, False), (Move(), True), (Move(reason=" \u2800"), True)):
        with pytest.raises(ReadyOrderKept, match="is ready: only a person") as refusal:
            await intake.cancel(number, refused, request_id="r", by=by, by_person=by_person)
        assert refusal.value.current is READY
    assert await pending_updates(database) == []

    assert await intake.cancel(number, why, request_id="r", by=by, by_person=True) is CANCELLED

    assert await history(database, number) == (RECEIVED, COOKING, READY, CANCELLED)
    (update,) = await pending_updates(database)
    assert (update.old_status, update.new_status) == (READY, CANCELLED)
    async with database.connection() as connection:
        order = await connection.fetchrow("SELECT completed_at, processed_by FROM orders")
        audited = await connection.fetch("SELECT who, action, target FROM audit_log")
    assert order is not None
    assert tuple(order) == (None, "mario")
    assert [tuple(row) for row in audited] == [("anna", "cancel_order", number)]


async def test_ready_order_can_be_completed(intake: OrderService, database: Database) -> None:
    number = await place(intake)
    await move_through(database, number, COOKING, READY)

    assert await complete(intake, number) is COMPLETED

    assert await history(database, number) == (RECEIVED, COOKING, READY, COMPLETED)
    (update,) = await pending_updates(database)
    assert (update.old_status, update.new_status) == (READY, COMPLETED)


@pytest.mark.parametrize(
    ("statuses", "wanted"),
    [
        ((READY,), CANCELLED),
        ((READY, COMPLETED), CANCELLED),
        ((CANCELLED,), CANCELLED),
        ((), COMPLETED),
        ((COOKING,), COMPLETED),
        ((CANCELLED,), COMPLETED),
        ((READY, COMPLETED), COMPLETED),
    ],
)
async def test_illegal_move_is_refused_with_the_current_status(
    intake: OrderService,
    database: Database,
    statuses: tuple[OrderStatus, ...],
    wanted: OrderStatus,
) -> None:
    number = await place(intake)
    await move_through(database, number, *([COOKING] if READY in statuses else []), *statuses)
    before = await history(database, number)

    with pytest.raises(IllegalMove) as refusal:
        await (cancel if wanted is CANCELLED else complete)(intake, number)

    assert refusal.value.current == before[-1]
    assert await history(database, number) == before
    assert await pending_updates(database) == []


async def test_unknown_order_can_be_neither_cancelled_nor_completed(intake: OrderService) -> None:
    with pytest.raises(OrderNotFound):
        await cancel(intake, "ORD_20241216_999")
    with pytest.raises(OrderNotFound):
        await complete(intake, "ORD_20241216_999")


async def test_move_records_its_author_and_reason(intake: OrderService, database: Database) -> None:
    number = await place(intake)

    await intake.cancel(
        number, Move(changed_by="anna", reason="customer left"), request_id="request-2"
    )

    async with database.connection() as connection:
        row = await connection.fetchrow("SELECT * FROM order_status_log WHERE status = 'cancelled'")
        message = await connection.fetchrow("SELECT * FROM outbox WHERE routing_key = ''")
    assert row is not None
    assert (row["changed_by"], row["notes"], row["changed_at"]) == ("anna", "customer left", NOON)
    assert message is not None
    assert (message["correlation_id"], message["type"]) == ("request-2", "order.status_changed")
    (update,) = await pending_updates(database)
    assert (update.changed_by, update.timestamp) == ("anna", NOON)


async def test_completing_keeps_the_worker_and_the_completion_time(
    intake: OrderService, database: Database
) -> None:
    number = await place(intake)
    ready_at = NOON.replace(hour=11)
    await move_through(database, number, COOKING, READY, at=ready_at)

    await complete(intake, number)

    async with database.connection() as connection:
        row = await connection.fetchrow("SELECT * FROM orders WHERE number = $1", number)
    assert row is not None
    assert (row["processed_by"], row["completed_at"], row["updated_at"]) == (
        "mario",
        ready_at,
        NOON,
    )


async def test_order_completed_concurrently_is_completed_once(
    intake: OrderService, database: Database
) -> None:
    number = await place(intake)
    await move_through(database, number, COOKING, READY)

    outcomes = await asyncio.gather(
        *(complete(intake, number) for _ in range(10)), return_exceptions=True
    )

    assert outcomes.count(COMPLETED) == 1
    assert sum(isinstance(each, IllegalMove) for each in outcomes) == 9
    assert await history(database, number) == (RECEIVED, COOKING, READY, COMPLETED)
    assert len(await pending_updates(database)) == 1


async def test_cancelling_and_cooking_concurrently_leave_one_consistent_history(
    intake: OrderService, database: Database
) -> None:
    numbers = [await place(intake) for _ in range(40)]

    outcomes = await asyncio.gather(
        *(cancel(intake, number) for number in numbers),
        *(cook(database, number) for number in numbers),
        return_exceptions=True,
    )

    for number, outcome in zip(numbers, outcomes, strict=False):
        past = await history(database, number)
        if isinstance(outcome, IllegalMove):
            assert outcome.current == READY
            assert past == (RECEIVED, COOKING, READY)
        else:
            assert outcome is CANCELLED
            assert past in {(RECEIVED, CANCELLED), (RECEIVED, COOKING, CANCELLED)}
    published = {
        update.order_number: update.old_status for update in await pending_updates(database)
    }
    assert published == {
        number: (await history(database, number))[-2]
        for number, outcome in zip(numbers, outcomes, strict=False)
        if outcome is CANCELLED
    }


async def test_only_the_current_worker_can_finish_an_order(
    intake: OrderService, database: Database
) -> None:
    number = await place(intake)
    await move_through(database, number, COOKING, by="mario")
    async with database.transaction() as tx:
        await tx.execute("UPDATE orders SET processed_by = 'anna' WHERE number = $1", number)

    finished = {
        cook_name: await move(database, number, COOKING, READY, at=NOON, by=cook_name)
        for cook_name in ("mario", "anna")
    }

    assert finished == {"mario": False, "anna": True}
    assert await history(database, number) == (RECEIVED, COOKING, READY)


class InterruptedDatabase(Database):
    """A database that runs `meanwhile` after its first use of a connection."""

    meanwhile: Callable[[], Awaitable[None]]

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """Acquire a connection, and run `meanwhile` after its use."""
        async with super().connection() as connection:
            yield connection
        await self.meanwhile()
        self.meanwhile = nothing


async def nothing() -> None:
    """Do nothing between two uses of a connection."""


async def test_order_that_becomes_ready_during_completion_is_completed(
    dsn: str, database: Database, intake: OrderService
) -> None:
    number = await place(intake)
    interrupted = InterruptedDatabase(dsn, DatabaseSettings(), application_name="test")
    interrupted.meanwhile = lambda: cook(database, number)
    await interrupted.connect()

    status = await complete(make_order_service(interrupted), number)

    await interrupted.close()
    assert status == COMPLETED
    assert await history(database, number) == (RECEIVED, COOKING, READY, COMPLETED)
