"""Orders by the id that they have at their channel, and orders cancelled before they arrive."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from restaurant_system.database.connection import Database
from restaurant_system.errors import (
    ExternalIdTaken,
    IdempotencyKeyReused,
    IllegalMove,
    OrderCancelledBefore,
    OrderNotFound,
)
from restaurant_system.models.access import Caller, Capability
from restaurant_system.models.audit import Actor
from restaurant_system.models.clock import rfc_3339
from restaurant_system.models.external_order import ExternalOrder
from restaurant_system.models.order import Move
from restaurant_system.models.status import OrderStatus
from restaurant_system.services.order.service import OrderService, PlacedOrder
from restaurant_system.web.problem import Refusal
from tests.support.orders import make_order
from tests.support.services import FakeClock, make_order_service, move_through

UBER = ExternalOrder(channel="uber", external_id="84H9B/ä%2F")
OTHER = ExternalOrder(channel="uber", external_id="new")
KEY = "order-4711-of-till-2"
DELETE_ALL = "DELETE FROM order_status_log; DELETE FROM order_items; DELETE FROM orders"
AGE_KEYS = "UPDATE idempotency_keys SET created_at = created_at - interval '25 hours'"

Cancel = Callable[[OrderService], Awaitable[str | None]]


async def place(
    intake: OrderService,
    external: ExternalOrder | None = UBER,
    key: str | None = None,
    **changes: str,
) -> PlacedOrder:
    """Place an order with an external id, a key or both."""
    names = {} if external is None else external.model_dump()
    return await intake.place(make_order(**names, **changes), request_id="request-1", key=key)


async def cancel_external(intake: OrderService) -> str | None:
    """Cancel the order with the external id."""
    return await intake.cancel_external(UBER, Move(reason="gone"), request_id="request-2")


async def cancel_by_key(intake: OrderService) -> str | None:
    """Cancel the order with the key."""
    return await intake.cancel_by_key(KEY, Move(reason="gone"), request_id="request-2")


async def statuses(database: Database) -> list[tuple[str, str]]:
    """Return the last three digits of each order's number, and its status."""
    async with database.connection() as connection:
        rows = await connection.fetch("SELECT right(number, 3), status FROM orders ORDER BY number")
    return [(row[0], row[1]) for row in rows]


async def keys(database: Database) -> list[str]:
    """Return the stored idempotency keys."""
    async with database.connection() as connection:
        return [row["key"] for row in await connection.fetch("SELECT key FROM idempotency_keys")]


async def execute(database: Database, sql: str) -> None:
    """Execute SQL."""
    async with database.connection() as connection:
        await connection.execute(sql)


async def test_external_id_is_taken_once_for_ever(intake: OrderService, database: Database) -> None:
    first = await place(intake)
    again = await place(intake)
    with pytest.raises(ExternalIdTaken, match=first.order_number):
        await place(intake, notes="no onions")
    others = [
        await place(intake, ExternalOrder(channel=channel, external_id=external_id))
        for channel, external_id in (
            ("wolt", "84H9B/ä%2F"),
            ("uber", "84H9B/ä/"),
            ("uber", "84h9b"),
        )
    ]

    assert again == replace(first, replayed=True)
    assert [each.order_number[-3:] for each in others] == ["002", "003", "004"]

    await execute(database, DELETE_ALL)

    assert await place(intake) == replace(first, tracking_url=None, replayed=True)
    with pytest.raises(ExternalIdTaken, match=first.order_number):
        await place(intake, notes="no onions")
    with pytest.raises(OrderNotFound, match=first.order_number):
        await cancel_external(intake)


async def test_order_of_long_ago_is_accepted_only_as_a_repetition(database: Database) -> None:
    """A new one is refused; one of today is promised for its placement, not for an earlier time."""
    clock = FakeClock()
    intake = make_order_service(database, clock=clock)
    hours_ago, days_ago = [rfc_3339(clock() - timedelta(hours=each)) for each in (23, 25)]
    first = await place(intake, key=KEY, ready_at=hours_ago)

    async with database.connection() as connection:
        assert await connection.fetchval("SELECT promised_at FROM orders") == clock()
    for external, key in ((None, None), (OTHER, KEY + "-of-another-order")):
        with pytest.raises(Refusal) as refused:
            await place(intake, external, key, ready_at=days_ago)
        assert [each.field for each in refused.value.errors] == ["ready_at"]

    clock.now += timedelta(hours=3)
    replayed = replace(first, replayed=True)
    assert await place(intake, key=KEY, ready_at=hours_ago) == replayed
    assert await place(intake, ready_at=hours_ago) == replayed
    with pytest.raises(ExternalIdTaken):
        await place(intake, ready_at=days_ago)


async def test_of_key_and_external_id_either_finds_the_order(
    intake: OrderService, database: Database
) -> None:
    """A key is not used by an order that its external id refuses, or that has another key."""
    first = await place(intake, key=KEY)
    replayed = replace(first, replayed=True)

    assert await place(intake, key=KEY) == replayed
    assert await place(intake, key="another-key-for-it") == replayed
    with pytest.raises(IdempotencyKeyReused):
        await place(intake, ExternalOrder(channel="uber", external_id="other"), key=KEY)
    with pytest.raises(ExternalIdTaken):
        await place(intake, key="key-of-another-order", notes="no onions")
    second = await place(intake, None, key="key-of-another-order", notes="no onions")

    assert second.order_number.endswith("_002")
    assert sorted(await keys(database)) == ["another-key-for-it", "key-of-another-order", KEY]


async def test_key_answered_by_the_external_id_belongs_to_that_order(
    intake: OrderService, database: Database
) -> None:
    first = await place(intake)
    assert await place(intake, key=KEY) == replace(first, replayed=True)

    with pytest.raises(IdempotencyKeyReused):
        await place(intake, None, key=KEY, notes="no onions")
    assert await cancel_by_key(intake) == first.order_number

    assert await statuses(database) == [("001", "cancelled")]


async def test_external_id_whose_order_has_a_used_key_stays_free(intake: OrderService) -> None:
    await place(intake, None, key=KEY)

    outcomes = await asyncio.gather(
        *(place(intake, key=key) for key in (KEY, None, KEY, "another-key-for-it")),
        return_exceptions=True,
    )

    placed = [each.order_number for each in outcomes if isinstance(each, PlacedOrder)]
    assert {number[-3:] for number in placed} == {"002"}
    assert sum(isinstance(each, IdempotencyKeyReused) for each in outcomes) == 2


async def test_orders_with_the_same_ids_at_once_are_placed_once_and_burn_no_number(
    database: Database, clock: FakeClock
) -> None:
    """Two processes send batches with the same keys and ids in opposite order: no deadlock."""
    services = [make_order_service(database, clock=clock) for _ in range(3)]
    ids = [ExternalOrder(channel="uber", external_id=f"{position}") for position in range(40)]

    outcomes = await asyncio.gather(
        *(
            place(service, each, key=f"key-of-the-order-{position if turn else 39 - position}")
            for turn, service in enumerate(services)
            for position, each in list(enumerate(ids))[:: 1 if turn % 2 else -1]
        ),
        return_exceptions=True,
    )

    unexpected = [
        each for each in outcomes if not isinstance(each, PlacedOrder | IdempotencyKeyReused)
    ]
    assert unexpected == []
    numbers = [number for number, _ in await statuses(database)]
    assert numbers == [f"{place:03d}" for place in range(1, len(numbers) + 1)]
    async with database.connection() as connection:
        unused = await connection.fetch(
            "SELECT key FROM idempotency_keys LEFT JOIN orders ON orders.id = order_id"
            " WHERE number IS NULL"
        )
        taken = await connection.fetchval(
            "SELECT count(*) FROM external_orders JOIN orders ON orders.id = order_id"
        )
    assert unused == []
    assert taken == len(numbers)


@pytest.mark.parametrize("cancel", [cancel_external, cancel_by_key])
async def test_cancelled_order_that_arrives_late_is_refused(
    intake: OrderService, database: Database, cancel: Cancel
) -> None:
    assert await cancel(intake) is None
    assert await cancel(intake) is None

    for _ in range(2):
        with pytest.raises(OrderCancelledBefore, match="was cancelled before it arrived"):
            await place(intake, key=KEY)
    await execute(database, AGE_KEYS)
    if cancel is cancel_by_key:  # the key is not kept any longer
        assert (await place(intake, key=KEY)).order_number.endswith("_001")
    else:
        with pytest.raises(OrderCancelledBefore):
            await place(intake, key=KEY)
        assert await keys(database) == []


@pytest.mark.parametrize("cancel", [cancel_external, cancel_by_key])
async def test_arrived_order_is_cancelled_by_its_id_or_key(
    intake: OrderService, database: Database, cancel: Cancel
) -> None:
    first = await place(intake, key=KEY)

    assert [await cancel(intake) for _ in range(3)] == [first.order_number] * 3

    assert await statuses(database) == [("001", "cancelled")]
    assert (await place(intake, key=KEY)).replayed  # its answer was lost
    async with database.connection() as connection:
        notes = await connection.fetch("SELECT notes FROM order_status_log ORDER BY id")
    assert [row["notes"] for row in notes] == [None, "gone"]


async def test_ready_order_is_not_cancelled_by_its_channel(
    intake: OrderService, database: Database
) -> None:
    number = (await place(intake)).order_number
    await move_through(database, number, OrderStatus.COOKING, OrderStatus.READY)

    with pytest.raises(IllegalMove) as refusal:
        await cancel_external(intake)

    assert refusal.value.current == "ready"
    why = Move(reason="gone")
    assert number == await intake.cancel_external(UBER, why, request_id="request-3", by_person=True)


async def test_expired_key_cancels_its_order_and_without_one_a_new_order(
    intake: OrderService, database: Database
) -> None:
    number = (await place(intake, None, key=KEY)).order_number
    await execute(database, AGE_KEYS)

    assert await cancel_by_key(intake) == number
    assert await statuses(database) == [("001", "cancelled")]

    await execute(database, DELETE_ALL)
    assert await cancel_by_key(intake) is None
    with pytest.raises(OrderCancelledBefore):
        await place(intake, None, key=KEY)


async def test_key_of_a_deleted_order_has_nothing_to_cancel(
    intake: OrderService, database: Database
) -> None:
    await place(intake, None, key=KEY)
    await execute(database, DELETE_ALL)

    with pytest.raises(OrderNotFound, match="no order of this Idempotency-Key"):
        await cancel_by_key(intake)


async def test_cancellation_before_arrival_is_recorded_once_for_the_person(
    intake: OrderService, database: Database
) -> None:
    by = Actor("anna", "staff")
    for _ in range(2):
        await intake.cancel_external(UBER, Move(), request_id="request-1", by=by)
        await intake.cancel_by_key(KEY, Move(), request_id="request-2", by=by)

    async with database.connection() as connection:
        rows = await connection.fetch("SELECT action, target FROM audit_log ORDER BY id")
    name = f"{UBER.channel}/{UBER.external_id}"
    assert [tuple(row) for row in rows] == [("cancel_order", name), ("cancel_order", None)]


@pytest.mark.parametrize("cancel", [cancel_external, cancel_by_key])
async def test_order_and_cancellation_at_once_leave_nothing_to_cook(
    database: Database, clock: FakeClock, cancel: Cancel
) -> None:
    """Whichever is first: the order is refused, or it is placed and cancelled."""
    placing, cancelling = (make_order_service(database, clock=clock) for _ in range(2))
    seen = set()
    for turn in range(50):
        async with database.connection() as connection:
            await connection.execute("TRUNCATE idempotency_keys, external_orders")

        async def delayed(turn: int = turn) -> str | None:
            await asyncio.sleep(turn % 10 * 0.0004)
            return await cancel(cancelling)

        placed, cancelled = await asyncio.gather(
            place(placing, key=KEY), delayed(), return_exceptions=True
        )

        if isinstance(placed, PlacedOrder):
            assert cancelled == placed.order_number
        else:
            assert isinstance(placed, OrderCancelledBefore)
            assert cancelled is None
        seen.add(type(placed))
    assert {status for _, status in await statuses(database)} == {"cancelled"}
    assert seen == {PlacedOrder, OrderCancelledBefore}


async def test_channel_of_a_platform_is_reserved_for_callers_that_may_move_orders(
    database: Database,
) -> None:
    intake = make_order_service(database, platforms=["uber"])
    order = make_order(channel="uber", external_id="1")
    rights = frozenset({Capability.PLACE_ORDERS})

    with pytest.raises(Refusal) as refusal:
        await intake.place(order, request_id="r", key=None, caller=Caller("till", None, rights))
    till = Caller("till", None, rights | {Capability.MOVE_ORDERS})
    placed = await intake.place(order, request_id="r", key=None, caller=till)

    assert [each.field for each in refusal.value.errors] == ["channel"]
    assert not placed.replayed
