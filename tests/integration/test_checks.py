"""CHECK and UNIQUE constraints of the schema."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from decimal import Decimal

import asyncpg
import pytest

from restaurant_system.database.connection_factory import UnpooledConnection
from tests.support.rows import (
    insert,
    insert_item,
    insert_order,
    insert_worker,
    rolled_back_connection,
)

ADDRESS = "1 Main Street, Springfield"
NOON = datetime(2024, 12, 16, 12, 0, tzinfo=UTC)


@pytest.fixture
async def sql(rolled_back_dsn: str) -> AsyncIterator[UnpooledConnection]:
    """Connect to an empty database; changes are rolled back."""
    async with rolled_back_connection(rolled_back_dsn) as connection:
        yield connection


@pytest.mark.parametrize(
    "changes",
    [
        {"customer_name": "a" * 100},
        {"customer_name": "Nguyễn O’Brien-O'Neill, Jr. (2) & Co. #1+2/3"},
        {"customer_name": None, "type": "dine_in", "table_number": 1},
        {"customer_name": None, "reference": "84H9B"},
        {"type": "dine_in", "table_number": 1},
        {"type": "dine_in", "table_number": 9999},
        {"type": "dine_in", "table_label": "T" * 20},
        {"type": "dine_in", "handoff": "counter"},
        {"type": "delivery", "delivery_address": "a" * 5},
        {"type": "delivery", "delivery_address": "a" * 300},
        {"type": "delivery", "handoff": "courier"},
        {"notes": "n" * 500},
        {"allergy_note": "n" * 200},
        {"reference": "r" * 64},
        {"channel": "a.b_c-9", "external_id": "e" * 128},
        {"phone": "5" * 40},
        {"charges": "[]", "items_total": Decimal("9.50")},
        {"amount_due": Decimal("0.125")},
        {"items_total": Decimal(200), "priority": 10},
        {"total_amount": Decimal(0)},
        {"total_amount": Decimal("9.50"), "priority": 5},  # by configured thresholds
        {"total_amount": Decimal("999999999999.999"), "priority": 10},
        {"number": "ORD_20241216_1000"},
    ],
)
async def test_order_at_the_limits_is_accepted(
    sql: UnpooledConnection, changes: dict[str, object]
) -> None:
    assert await insert_order(sql, **changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"customer_name": ""},
        {"customer_name": "   "},
        {"customer_name": "a" * 101},
        {"customer_name": "Ada!"},
        {"customer_name": "Ada_L"},
        {"customer_name": "<Ada>"},
        {"customer_name": "Ada\nL"},
        {"customer_name": "Ada\x7fL"},
        {"customer_name": None},
        {"type": "drive_in"},
        {"type": "dine_in"},
        {"type": "dine_in", "table_number": 0},
        {"type": "dine_in", "table_number": 10000},
        {"type": "takeout", "table_number": 5},
        {"type": "takeout", "table_label": "A12"},
        {"type": "dine_in", "handoff": "table"},
        {"type": "dine_in", "table_label": "T" * 21},
        {"type": "delivery", "delivery_address": ADDRESS, "table_number": 5},
        {"type": "delivery"},
        {"type": "delivery", "delivery_address": "a" * 4},
        {"type": "delivery", "delivery_address": "a" * 301},
        {"type": "delivery", "handoff": "own_delivery"},
        {"type": "takeout", "delivery_address": ADDRESS},
        {"type": "dine_in", "table_number": 5, "delivery_address": ADDRESS},
        {"notes": "n" * 501},
        {"handoff": "window"},
        {"allergy_note": "n" * 201},
        {"reference": ""},
        {"reference": "r" * 65},
        {"channel": "uber"},
        {"external_id": "1"},
        {"channel": "Uber", "external_id": "1"},
        {"channel": "uber", "external_id": "e" * 129},
        {"phone": "5" * 41},
        {"charges": "[]"},
        {"charges": "{}", "items_total": Decimal("9.50")},
        {"amount_due": Decimal("-0.01")},
        {"total_amount": Decimal(10**12 + 1), "priority": 10},
        {"total_amount": Decimal(-1)},
        {"priority": 0},
        {"priority": 7},
        {"number": "ORD_20241216_01"},
        {"number": "ord_20241216_001"},
        {"completed_at": NOON},
        {"handed_over_at": NOON, "handed_over_by": "anna"},
        {"handed_over_by": "anna"},
        {"uncollected_at": NOON},
    ],
)
async def test_order_beyond_a_limit_is_refused(
    sql: UnpooledConnection, changes: dict[str, object]
) -> None:
    with pytest.raises(asyncpg.CheckViolationError):
        await insert_order(sql, **changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "N"},
        {"name": "N" * 120},
        {"name": "Crème brûlée ½ 👩\u200d🍳"},
        {"quantity": 999},
        {"price": Decimal(0)},
        {"price": Decimal("1.125")},
        {"price": Decimal("999999.99")},
        {"notes": "n" * 500},
        {"modifiers": "[]"},
        {"guest": "g" * 50},
        {"course": 9},
        {"sku": "s" * 64},
    ],
)
async def test_item_at_the_limits_is_accepted(
    sql: UnpooledConnection, changes: dict[str, object]
) -> None:
    assert await insert_item(sql, **changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"name": ""},
        {"name": "N" * 121},
        {"name": "So\nup"},
        {"name": "So\x1fup"},
        {"name": "So\x7fup"},
        {"name": "So\x9bup"},
        {"name": "So\u202eup"},
        {"name": "So\u2066up"},
        {"quantity": 0},
        {"quantity": 1000},
        {"price": Decimal("-0.01")},
        {"price": Decimal(1_000_000)},
        {"notes": "n" * 501},
        {"modifiers": "{}"},
        {"guest": ""},
        {"guest": "g" * 51},
        {"course": 0},
        {"course": 10},
        {"sku": "s" * 65},
    ],
)
async def test_item_beyond_a_limit_is_refused(
    sql: UnpooledConnection, changes: dict[str, object]
) -> None:
    with pytest.raises(asyncpg.CheckViolationError):
        await insert_item(sql, **changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"name": ""},
        {"name": "m" * 101},
        {"status": "asleep"},
        {"orders_processed": -1},
    ],
)
async def test_worker_beyond_a_limit_is_refused(
    sql: UnpooledConnection, changes: dict[str, object]
) -> None:
    assert await insert_worker(sql)

    with pytest.raises(asyncpg.CheckViolationError):
        await insert_worker(sql, **{"name": "luigi"} | changes)


async def test_unknown_status_is_refused_in_the_log(sql: UnpooledConnection) -> None:
    order_id = await insert_order(sql)

    with pytest.raises(asyncpg.CheckViolationError):
        await insert(
            sql,
            "order_status_log",
            {"order_id": order_id, "status": "burnt", "changed_by": "mario"},
        )


async def test_duplicate_order_number_or_worker_name_is_refused(sql: UnpooledConnection) -> None:
    await insert_order(sql, number="ORD_20241216_900")
    await insert_worker(sql)

    with pytest.raises(asyncpg.UniqueViolationError):
        async with sql.transaction():
            await insert_order(sql, number="ORD_20241216_900")
    with pytest.raises(asyncpg.UniqueViolationError):
        await insert_worker(sql)


async def test_cooking_order_without_a_worker_is_refused(sql: UnpooledConnection) -> None:
    order_id = await insert_order(sql)

    with pytest.raises(asyncpg.CheckViolationError):
        await sql.execute("UPDATE orders SET status = 'cooking' WHERE id = $1", order_id)
