"""Ready orders: handed over, not fetched, sent back to the kitchen, and all of it undone."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta

import pytest

from restaurant_system.database.connection import Database
from restaurant_system.errors import (
    HandedOverAlready,
    IdempotencyKeyReused,
    IllegalMove,
    NotReady,
    OrderChanged,
    OrderNotFound,
    TooLateToUndo,
)
from restaurant_system.models.audit import Actor
from restaurant_system.models.message import StatusChanged
from restaurant_system.models.order import Move, MoveOfReadyOrder
from restaurant_system.models.status import OrderStatus
from restaurant_system.services.order.ready_order_handler import ReadyOrderHandler
from restaurant_system.services.order.ready_orders import (
    ActionResult,
    ActOnReadyOrder,
    ReadyAction,
    ReadyOrders,
)
from tests.support.database import execute
from tests.support.orders import make_order
from tests.support.responses import assert_problem
from tests.support.rows import insert_worker
from tests.support.services import (
    NOON,
    FakeClock,
    http_client,
    make_order_service,
    make_ready_orders,
    move_through,
)

RECEIVED, COOKING, READY, COMPLETED, CANCELLED = OrderStatus
ANNA, BEN = Actor("anna", "staff"), Actor("ben", "staff")
KEY = "one-tap-of-the-waiter"
SECOND = timedelta(seconds=1)
MOVE = "UPDATE orders SET status = '{status}', completed_at = NULL"


@pytest.fixture
def ready(database: Database, clock: FakeClock) -> ReadyOrders:
    """Return the part of an order service that hands over orders."""
    return make_ready_orders(database, clock=clock)


Place = Callable[..., Awaitable[str]]


@pytest.fixture
def place(database: Database, clock: FakeClock) -> Place:
    """Return a function that places an order, and moves it through statuses an hour ago."""
    intake = make_order_service(database, clock=clock)

    async def place_and_move(*statuses: OrderStatus) -> str:
        placed = await intake.place(make_order(), request_id="request-1", key=None)
        at = NOON - timedelta(hours=1)
        await move_through(database, placed.order_number, *statuses, at=at)
        return placed.order_number

    return place_and_move


async def perform(
    ready: ReadyOrders,
    number: str,
    action: ReadyAction,
    *,
    by: Actor = ANNA,
    key: str | None = None,
    reason: str | None = None,
    as_of: datetime | None = None,
) -> ActionResult:
    """Let a person perform an action on an order."""
    act = ActOnReadyOrder(
        number=number,
        action=action,
        move=MoveOfReadyOrder(changed_by=by.who, reason=reason, as_of=as_of),
        request_id="request-2",
        by=by,
    )
    return await ready.perform(act, key=key)


async def both(
    one: Sequence[Awaitable[object]], other: Sequence[Awaitable[object]]
) -> tuple[list[object], list[object]]:
    """Do two lists of things at once; return their results and errors."""
    results = await asyncio.gather(*one, *other, return_exceptions=True)
    return list(results[: len(one)]), list(results[len(one) :])


async def log_of(database: Database, number: str) -> list[tuple[str, str, str | None]]:
    """Return the moves of an order after it was ready for the first time."""
    query = """
        SELECT log.status, log.changed_by, log.notes FROM order_status_log AS log
        JOIN orders ON orders.id = order_id WHERE number = $1 ORDER BY log.id OFFSET 3
    """
    async with database.connection() as sql:
        return [tuple(row) for row in await sql.fetch(query, number)]


async def audited(database: Database) -> list[tuple[str, str]]:
    """Return who did what."""
    async with database.connection() as sql:
        rows = await sql.fetch("SELECT who, action FROM audit_log ORDER BY id")
    return [tuple(row) for row in rows]


async def row_of(database: Database, number: str, columns: str) -> tuple[object, ...]:
    """Return some columns of an order."""
    async with database.connection() as sql:
        row = await sql.fetchrow("SELECT * FROM orders WHERE number = $1", number)
    assert row is not None
    return tuple(row[each] for each in columns.split(", "))


async def updates(database: Database) -> list[tuple[str, str, str]]:
    """Return the status updates that wait in the outbox."""
    query = "SELECT body FROM outbox WHERE exchange = 'notifications_fanout' ORDER BY id"
    async with database.connection() as sql:
        found = [StatusChanged.model_validate_json(row["body"]) for row in await sql.fetch(query)]
    return [(each.old_status, each.new_status, each.changed_by) for each in found]


async def test_action_on_an_order_that_has_changed_since_it_was_shown_is_refused(
    ready: ReadyOrders, place: Place, database: Database, clock: FakeClock
) -> None:
    """A tap that waited for a connection must not send an order back to the kitchen again."""
    number = await place(COOKING, READY)
    (shown,) = await row_of(database, number, "updated_at")
    assert isinstance(shown, datetime)
    clock.now += SECOND
    await perform(ready, number, ReadyAction.MARK_UNCOLLECTED, as_of=shown)
    await perform(ready, number, ReadyAction.MARK_UNCOLLECTED, as_of=shown)  # is so already

    with pytest.raises(OrderChanged, match=f"{number} is ready, but has changed"):
        await perform(ready, number, ReadyAction.SEND_BACK, as_of=shown, key=KEY)

    await perform(ready, number, ReadyAction.SEND_BACK, as_of=clock.now, key=KEY)
    assert await row_of(database, number, "status") == ("cooking",)


async def test_handed_over_order_is_completed_once_when_it_cannot_be_undone_any_more(
    ready: ReadyOrders, place: Place, database: Database, clock: FakeClock
) -> None:
    """The process that handed it over may be dead by then: any other one completes it."""
    number = await place(COOKING, READY)
    await execute(database, "DELETE FROM outbox")
    await perform(ready, number, ReadyAction.HAND_OVER)
    await perform(ready, number, ReadyAction.UNDO_HAND_OVER, by=BEN)
    clock.now += 20 * SECOND
    others = [make_ready_orders(database, clock=clock) for _ in range(4)]
    assert await others[0].complete_handed_over() == 0

    assert (await perform(ready, number, ReadyAction.HAND_OVER)).status is READY
    clock.now += 11 * SECOND
    assert await others[0].complete_handed_over() == 0
    clock.now += SECOND
    completed = await asyncio.gather(*(each.complete_handed_over() for each in others))

    assert sorted(completed) == [0, 0, 0, 1]
    assert await log_of(database, number) == [("completed", "anna", "handed over")]
    assert await updates(database) == [("ready", "completed", "anna")]
    assert await audited(database) == [
        ("anna", "hand_over_order"),
        ("ben", "undo_hand_over"),
        ("anna", "hand_over_order"),
    ]
    with pytest.raises(TooLateToUndo, match="is completed now"):
        await perform(ready, number, ReadyAction.UNDO_HAND_OVER)


async def test_order_handed_over_by_two_people_at_once_is_the_first_ones(
    ready: ReadyOrders, place: Place, database: Database
) -> None:
    number = await place(COOKING, READY)

    results = await asyncio.gather(
        *(perform(ready, number, ReadyAction.HAND_OVER, by=each) for each in (ANNA, BEN) * 3)
    )

    assert results == [ActionResult(READY)] * 6
    ((first, action),) = await audited(database)
    assert action == "hand_over_order"
    assert await row_of(database, number, "handed_over_by, status") == (first, READY)


async def test_undo_that_races_with_the_completion_takes_effect_or_is_refused(
    ready: ReadyOrders, place: Place, database: Database, clock: FakeClock
) -> None:
    numbers = [await place(COOKING, READY) for _ in range(6)]
    await asyncio.gather(*(perform(ready, each, ReadyAction.HAND_OVER) for each in numbers))
    clock.now += 12 * SECOND
    other = make_ready_orders(database, clock=clock)

    *undone, _ = await asyncio.gather(
        *(perform(ready, each, ReadyAction.UNDO_HAND_OVER, by=BEN) for each in numbers),
        other.complete_handed_over(),
        return_exceptions=True,
    )

    for number, result in zip(numbers, undone, strict=True):
        is_undone = result == ActionResult(READY)
        assert is_undone or isinstance(result, TooLateToUndo)
        assert await row_of(database, number, "status, handed_over_by") == (
            (READY, None) if is_undone else (COMPLETED, "anna")
        )


async def test_order_is_either_handed_over_or_sent_back_of_two_people_who_act_at_once(
    ready: ReadyOrders, place: Place, database: Database, clock: FakeClock
) -> None:
    """Food that the customer has is not cooked again, also not while the order is completed."""
    numbers = [await place(COOKING, READY) for _ in range(6)]
    other = make_ready_orders(database, clock=clock)

    handed_over, sent_back = await both(
        [perform(ready, each, ReadyAction.HAND_OVER) for each in numbers],
        [perform(other, each, ReadyAction.SEND_BACK, by=BEN) for each in reversed(numbers)],
    )
    for number, first, second in zip(numbers, handed_over, reversed(sent_back), strict=True):
        status, by = await row_of(database, number, "status, handed_over_by")
        if first == ActionResult(READY):
            assert isinstance(second, HandedOverAlready)
            assert (status, by) == (READY, "anna")
        else:
            assert isinstance(first, NotReady)
            assert second == ActionResult(COOKING)
            assert (status, by) == (COOKING, None)

    late = [await place(COOKING, READY) for _ in range(6)]
    for number in late:
        await perform(ready, number, ReadyAction.HAND_OVER)
    clock.now += 12 * SECOND
    refused, _ = await both(
        [perform(ready, each, ReadyAction.SEND_BACK, by=BEN) for each in late],
        [other.complete_handed_over(), other.complete_handed_over()],
    )

    assert {type(each) for each in refused} <= {HandedOverAlready, NotReady}
    while await other.complete_handed_over():  # what was locked while the others were completed
        pass
    assert [await row_of(database, each, "status") for each in late] == [(COMPLETED,)] * 6
    assert await log_of(database, late[0]) == [("completed", "anna", "handed over")]


async def test_repeated_request_takes_effect_once(
    ready: ReadyOrders, place: Place, database: Database
) -> None:
    """A repetition that arrives after the undo does not hand over the order again."""
    number = await place(COOKING, READY)

    first = await asyncio.gather(
        *(perform(ready, number, ReadyAction.HAND_OVER, key=KEY) for _ in range(4))
    )
    await perform(ready, number, ReadyAction.UNDO_HAND_OVER)
    late = await perform(ready, number, ReadyAction.HAND_OVER, key=KEY)

    assert sorted(each.replayed for each in first) == [False, True, True, True]
    assert late == ActionResult(READY, replayed=True)
    assert await row_of(database, number, "handed_over_at") == (None,)
    with pytest.raises(IdempotencyKeyReused):
        await perform(ready, number, ReadyAction.MARK_UNCOLLECTED, key=KEY)


async def test_order_that_was_sent_back_cooks_at_its_worker_until_that_is_undone(
    ready: ReadyOrders, place: Place, database: Database, clock: FakeClock
) -> None:
    """Its worker counts it once, and after the undo it is ready since the first time."""
    sql = await database.dedicated()
    await insert_worker(sql, name="mario", orders_processed=0)
    number = await place(COOKING, READY)
    await execute(database, "DELETE FROM outbox")
    await perform(ready, number, ReadyAction.MARK_UNCOLLECTED)

    assert await perform(ready, number, ReadyAction.SEND_BACK, reason="cold") == ActionResult(
        COOKING
    )
    columns = "status, processed_by, completed_at, uncollected_at"
    assert await row_of(database, number, columns) == (COOKING, "mario", None, None)
    assert (await row_of(database, number, "estimated_completion"))[0] > NOON  # type: ignore[operator]
    assert await sql.fetchval("SELECT orders_processed FROM workers") == 0
    with pytest.raises(NotReady, match="is cooking: only an order that is ready can be sent back"):
        await perform(ready, number, ReadyAction.SEND_BACK, by=BEN)

    clock.now += 12 * SECOND
    undone = [await perform(ready, number, ReadyAction.UNDO_SEND_BACK) for _ in range(2)]
    assert undone == [ActionResult(READY)] * 2
    assert await row_of(database, number, columns) == (
        *(READY, "mario", NOON - timedelta(hours=1), NOON),
    )
    assert await sql.fetchval("SELECT orders_processed FROM workers") == 1
    assert await log_of(database, number) == [
        ("cooking", "anna", "cold"),
        ("ready", "anna", "sent back, undone"),
    ]
    assert await updates(database) == [("ready", "cooking", "anna"), ("cooking", "ready", "anna")]
    await sql.close()


async def test_send_back_cannot_be_undone_after_the_time_for_that(
    ready: ReadyOrders, place: Place, clock: FakeClock
) -> None:
    sent_back, cooking = await place(COOKING, READY), await place(COOKING)
    await perform(ready, sent_back, ReadyAction.SEND_BACK)
    clock.now += 13 * SECOND

    for number in (sent_back, cooking):  # the second one was never ready
        with pytest.raises(TooLateToUndo, match="is cooking now"):
            await perform(ready, number, ReadyAction.UNDO_SEND_BACK)


@pytest.mark.parametrize("status", ["cooking", "cancelled"])
async def test_order_that_is_not_ready_any_more_has_no_marks(
    ready: ReadyOrders, place: Place, database: Database, clock: FakeClock, status: str
) -> None:
    """Also if a process of the previous release moves it, which does not know of them."""
    number = await place(COOKING, READY)
    await perform(ready, number, ReadyAction.MARK_UNCOLLECTED)
    await perform(ready, number, ReadyAction.HAND_OVER)

    await execute(database, MOVE.format(status=status))

    marks = "handed_over_at, handed_over_by, uncollected_at"
    assert await row_of(database, number, marks) == (None, None, None)
    clock.now += 12 * SECOND
    assert await ready.complete_handed_over() == 0


@pytest.mark.parametrize("statuses", [(), (COOKING,), (CANCELLED,), (COOKING, READY, COMPLETED)])
async def test_action_on_an_order_that_is_not_ready_is_refused(
    ready: ReadyOrders, place: Place, database: Database, statuses: tuple[OrderStatus, ...]
) -> None:
    number = await place(*statuses)

    for action in ReadyAction:
        with pytest.raises(IllegalMove) as refusal:
            await perform(ready, number, action, key=KEY)
        assert refusal.value.current == (RECEIVED, *statuses)[-1]
        assert isinstance(refusal.value, TooLateToUndo if "undo" in action else NotReady)
        with pytest.raises(OrderNotFound):
            await perform(ready, "ORD_20241216_999", action)
    assert await audited(database) == []


async def test_order_that_was_not_fetched_can_still_be_handed_over(
    ready: ReadyOrders, place: Place, database: Database, clock: FakeClock
) -> None:
    number = await place(COOKING, READY)
    for _ in range(2):
        await perform(ready, number, ReadyAction.MARK_UNCOLLECTED)
    await perform(ready, number, ReadyAction.UNDO_UNCOLLECTED)
    assert await row_of(database, number, "uncollected_at") == (None,)
    await perform(ready, number, ReadyAction.MARK_UNCOLLECTED)
    await perform(ready, number, ReadyAction.HAND_OVER)

    other = await place(COOKING, READY)
    await perform(ready, other, ReadyAction.HAND_OVER)
    for action in (ReadyAction.MARK_UNCOLLECTED, ReadyAction.SEND_BACK):
        with pytest.raises(HandedOverAlready, match="undo that first"):
            await perform(ready, other, action, as_of=NOON - timedelta(hours=1))
    with pytest.raises(HandedOverAlready):
        await perform(ready, number, ReadyAction.UNDO_UNCOLLECTED)
    cancellation = Move(changed_by="ben", reason="not wanted")
    with pytest.raises(HandedOverAlready, match="undo that first"):
        await make_order_service(database, clock=clock).cancel(
            other, cancellation, request_id="request-3", by=BEN, by_person=True
        )
    clock.now += 12 * SECOND
    await ready.complete_handed_over()

    assert await row_of(database, number, "status, uncollected_at, handed_over_at") == (
        *(COMPLETED, NOON, NOON),
    )


async def test_actions_over_http_are_by_the_person_and_answered_again(
    ready: ReadyOrders, place: Place, database: Database
) -> None:
    number = await place(COOKING, READY)
    async with http_client(ReadyOrderHandler(ready).feature()) as client:
        first, again = [
            await client.post(
                f"/orders/{number}/hand-over",
                json={"changed_by": "anna"},
                headers={"Idempotency-Key": KEY},
            )
            for _ in range(2)
        ]
        late = await client.post(f"/orders/{number}/uncollected")
        undone = await client.post(f"/orders/{number}/hand-over/undo")
        sent_back = await client.post(f"/orders/{number}/send-back")
        refused = await client.post(f"/orders/{number}/hand-over")
        short = {"Idempotency-Key": "1"}
        faulty = await client.post(f"/orders/{number}/hand-over", headers=short)

    assert first.json() == again.json() == {"order_number": number, "status": "ready"}
    assert "Idempotency-Replayed" not in first.headers
    assert again.headers["Idempotency-Replayed"] == "true"
    assert (undone.status_code, sent_back.json()["status"]) == (200, "cooking")
    assert_problem(refused, 409)
    assert refused.json()["current_status"] == "cooking"
    assert "handed_over" not in refused.json()
    assert (late.status_code, late.json()["handed_over"]) == (409, True)
    assert_problem(faulty, 400)
    assert await log_of(database, number) == [("cooking", "order-service", "sent back")]
