"""Idempotency keys of new orders."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import asyncpg
import pytest

from restaurant_system.app.runtime import background_task
from restaurant_system.database.connection import Database
from restaurant_system.errors import IdempotencyKeyReused
from restaurant_system.models.order import Move, NewOrder
from restaurant_system.services.order.cleanup import delete_expired_keys
from restaurant_system.services.order.service import OrderService, PlacedOrder
from tests.support.orders import make_item, make_order
from tests.support.waiting import eventually

REFUSE_ALL = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'closed'; END $$;
CREATE TRIGGER refuse AFTER INSERT ON orders FOR EACH ROW EXECUTE FUNCTION refuse();
"""

PUT_AWAY = "DELETE FROM order_status_log; DELETE FROM order_items; DELETE FROM orders"


async def place(intake: OrderService, order: NewOrder | None = None, key: str = "k") -> PlacedOrder:
    """Place an order with a key."""
    return await intake.place(order or make_order(), request_id="request-1", key=key)


async def count(database: Database) -> int:
    """Count the stored orders."""
    async with database.connection() as connection:
        orders: int = await connection.fetchval("SELECT count(*) FROM orders")
    return orders


async def age(database: Database, by: timedelta) -> None:
    """Make every idempotency key older by a duration."""
    async with database.connection() as connection:
        await connection.execute(
            "UPDATE idempotency_keys SET created_at = created_at - $1::interval", by
        )


async def test_repeated_request_returns_the_first_result_and_stores_no_second_order(
    intake: OrderService, database: Database
) -> None:
    first = await place(intake)
    second = await place(intake)

    assert not first.replayed
    assert second == replace(first, replayed=True)
    assert await count(database) == 1


async def test_replay_returns_the_first_result_whatever_has_become_of_the_order(
    intake: OrderService, database: Database
) -> None:
    first = await place(intake)
    async with database.connection() as connection:
        await connection.execute("UPDATE orders SET status = 'cancelled'")

    assert (await place(intake)).order_number == first.order_number


async def test_key_of_a_deleted_order_is_refused(intake: OrderService, database: Database) -> None:
    await place(intake)
    async with database.connection() as connection:
        await connection.execute(PUT_AWAY)

    with pytest.raises(IdempotencyKeyReused, match="no longer kept"):
        await place(intake)


async def test_equal_order_in_other_notation_is_a_replay(intake: OrderService) -> None:
    first = await place(intake, make_order(items=[make_item(price=Decimal("9.5"))]))

    again = await place(
        intake, make_order(customer_name=" Ada Lovelace ", items=[make_item(price=Decimal("9.50"))])
    )

    assert again.order_number == first.order_number


async def test_key_used_before_an_upgrade_added_a_field_is_a_replay(intake: OrderService) -> None:
    class OrderOfTheNextVersion(NewOrder):
        reference: str | None = None

    order = make_order()
    first = await place(intake, order)

    again = await place(intake, OrderOfTheNextVersion.model_validate(order.model_dump()))

    assert again.order_number == first.order_number


async def test_other_order_with_the_same_key_is_refused(
    intake: OrderService, database: Database
) -> None:
    await place(intake)

    for order in (
        make_order(customer_name="Grace Hopper"),
        make_order(items=[make_item(quantity=2)]),
        make_order(items=[make_item(price=Decimal("9.51"))]),
        make_order(items=[make_item(), make_item()]),
        make_order(notes="no onions"),
        make_order(order_type="dine_in", table_number=5),
    ):
        with pytest.raises(IdempotencyKeyReused):
            await place(intake, order)

    assert await count(database) == 1


async def test_equal_orders_with_different_keys_or_none_are_separate_orders(
    intake: OrderService, database: Database
) -> None:
    await place(intake, key="k")
    await place(intake, key="K")
    for _ in range(2):
        await intake.place(make_order(), request_id="request-1", key=None)

    assert await count(database) == 4


async def test_concurrent_requests_with_one_key_store_one_order(
    intake: OrderService, database: Database
) -> None:
    """All concurrent requests get the result of the one stored order."""
    answers = await asyncio.gather(*(place(intake) for _ in range(20)))

    assert len({answer.order_number for answer in answers}) == 1
    assert [answer.replayed for answer in answers].count(False) == 1
    assert await count(database) == 1


async def test_of_two_concurrent_orders_with_one_key_one_is_refused(
    intake: OrderService, database: Database
) -> None:
    for turn in range(10):
        outcomes = await asyncio.gather(
            place(intake, key=f"k{turn}"),
            place(intake, make_order(notes="no onions"), key=f"k{turn}"),
            return_exceptions=True,
        )

        assert sorted(type(each).__name__ for each in outcomes) == [
            "IdempotencyKeyReused",
            "PlacedOrder",
        ]
    assert await count(database) == 10


async def test_key_is_kept_for_24_hours(intake: OrderService, database: Database) -> None:
    first = await place(intake)
    await age(database, timedelta(hours=23, minutes=59))

    assert (await place(intake)).order_number == first.order_number


async def test_expired_key_can_be_used_for_another_order(
    intake: OrderService, database: Database
) -> None:
    first = await place(intake)
    await age(database, timedelta(hours=24, minutes=1))

    other = await place(intake, make_order(notes="no onions"))
    again = await place(intake, make_order(notes="no onions"))

    assert not other.replayed
    assert other.order_number != first.order_number
    assert again == replace(other, replayed=True)


async def test_expired_key_used_concurrently_stores_one_order(
    intake: OrderService, database: Database
) -> None:
    await place(intake)
    await age(database, timedelta(hours=25))

    answers = await asyncio.gather(*(place(intake) for _ in range(10)))

    assert len({answer.order_number for answer in answers}) == 1
    assert await count(database) == 2


async def test_order_that_could_not_be_stored_can_be_sent_again_with_its_key(
    intake: OrderService, database: Database
) -> None:
    async with database.connection() as connection:
        await connection.execute(REFUSE_ALL)
    with pytest.raises(asyncpg.RaiseError):
        await place(intake)
    async with database.connection() as connection:
        await connection.execute("LOCK TABLE orders; DROP TRIGGER refuse ON orders")

    placed = await place(intake, make_order(notes="no onions"))

    assert not placed.replayed
    assert placed.order_number.endswith("_001")


async def test_only_expired_keys_are_deleted(intake: OrderService, database: Database) -> None:
    """The key of an order that is still received is kept: it may have to cancel that order."""
    number = (await place(intake, key="old")).order_number
    await intake.cancel(number, Move(), request_id="request-2")
    await place(intake, key="received")
    await age(database, timedelta(hours=25))
    await place(intake, key="new")

    async def the_expired_one_is_deleted() -> bool:
        async with database.connection() as connection:
            keys = await connection.fetch("SELECT key FROM idempotency_keys ORDER BY key")
        return [row["key"] for row in keys] == ["new", "received"]

    async with background_task(delete_expired_keys(database, timedelta(hours=24))):
        await eventually(the_expired_one_is_deleted, doing="for the old key to be deleted")
