"""The rules and columns of the schema."""

import itertools
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import asyncpg
import pytest

from restaurant_system.database.connection_factory import UnpooledConnection
from restaurant_system.models.status import ORIGINS, OrderStatus
from tests.support.partitions import without_month
from tests.support.rows import insert_order, rolled_back_connection

ORDER_COLUMNS = {
    *("id", "created_at", "updated_at", "number", "customer_name", "type", "table_number"),
    *("delivery_address", "total_amount", "priority", "status", "processed_by", "completed_at"),
}
LOG_COLUMNS = {"id", "created_at", "order_id", "status", "changed_by", "changed_at", "notes"}
WORKER_COLUMNS = {"id", "created_at", "name", "type", "status", "last_seen", "orders_processed"}
NOON = datetime(2024, 12, 16, 12, 0, tzinfo=UTC)

# The moves that lead to each status.
PATHS: dict[OrderStatus, tuple[OrderStatus, ...]] = {
    OrderStatus.RECEIVED: (),
    OrderStatus.COOKING: (OrderStatus.COOKING,),
    OrderStatus.READY: (OrderStatus.COOKING, OrderStatus.READY),
    OrderStatus.COMPLETED: (OrderStatus.COOKING, OrderStatus.READY, OrderStatus.COMPLETED),
    OrderStatus.CANCELLED: (OrderStatus.CANCELLED,),
}


@pytest.fixture
async def sql(rolled_back_dsn: str) -> AsyncIterator[UnpooledConnection]:
    """Connect to an empty database; changes are rolled back."""
    async with rolled_back_connection(rolled_back_dsn) as connection:
        yield connection


async def set_status(sql: UnpooledConnection, order_id: int, status: OrderStatus) -> None:
    """Change the status of an order by SQL, with all columns that depend on it."""
    await sql.execute(
        """UPDATE orders SET status = $2, processed_by = 'mario',
           completed_at = CASE WHEN $2 IN ('ready', 'completed') THEN now() END WHERE id = $1""",
        order_id,
        status,
    )


async def refusal(sql: UnpooledConnection, order_id: int, status: OrderStatus) -> str | None:
    """Try a status change by SQL; return the constraint that it violates, or `None`."""
    try:
        async with sql.transaction():
            await set_status(sql, order_id, status)
    except asyncpg.CheckViolationError as error:
        return error.constraint_name
    return None


async def test_database_allows_exactly_the_moves_of_the_model(sql: UnpooledConnection) -> None:
    refusals = {}
    for origin, target in itertools.permutations(OrderStatus, 2):
        order_id = await insert_order(sql)
        for status in PATHS[origin]:
            await set_status(sql, order_id, status)
        refusals[origin, target] = await refusal(sql, order_id, target)

    assert refusals == {
        (origin, target): None if origin in ORIGINS[target] else "legal_move"
        for origin, target in itertools.permutations(OrderStatus, 2)
    }


@pytest.mark.parametrize("status", [each for each in OrderStatus if PATHS[each]])
async def test_order_must_be_inserted_as_received(
    sql: UnpooledConnection, status: OrderStatus
) -> None:
    completed_at = NOON if status in {OrderStatus.READY, OrderStatus.COMPLETED} else None

    with pytest.raises(asyncpg.CheckViolationError, match=f"cannot start as {status}"):
        await insert_order(sql, status=status, processed_by="mario", completed_at=completed_at)


@pytest.mark.parametrize(
    ("table", "columns"),
    [
        ("orders", ORDER_COLUMNS),
        ("order_items", {"id", "created_at", "order_id", "name", "quantity", "price"}),
        ("order_status_log", LOG_COLUMNS),
        ("workers", WORKER_COLUMNS),
    ],
)
async def test_tables_have_the_documented_columns(
    sql: UnpooledConnection, table: str, columns: set[str]
) -> None:
    there = await sql.fetch(
        "SELECT column_name FROM information_schema.columns WHERE table_name = $1", table
    )

    assert columns <= {row["column_name"] for row in there}


@pytest.mark.parametrize(
    ("table", "column", "kind"),
    [
        ("orders", "id", "bigint"),
        ("orders", "total_amount", "numeric"),
        ("orders", "created_at", "timestamp with time zone"),
        ("order_items", "id", "bigint"),
        ("order_items", "price", "numeric"),
        ("order_status_log", "id", "bigint"),
        ("workers", "id", "bigint"),
    ],
)
async def test_ids_are_bigint_amounts_numeric_and_times_have_a_zone(
    sql: UnpooledConnection, table: str, column: str, kind: str
) -> None:
    found = await sql.fetchval(
        """SELECT format_type(atttypid, atttypmod) FROM pg_attribute
           WHERE attrelid = $1::regclass AND attname = $2""",
        table,
        column,
    )

    assert found == kind


async def test_every_foreign_key_has_an_index(sql: UnpooledConnection) -> None:
    keys = await sql.fetch(
        """SELECT key.conname AS name, EXISTS (
               SELECT FROM pg_index WHERE indrelid = key.conrelid
               AND indkey[0] = key.conkey[1] AND indpred IS NULL) AS indexed
           FROM pg_constraint AS key WHERE key.contype = 'f' AND key.conparentid = 0"""
    )

    assert all(key["indexed"] for key in keys)
    assert {without_month(key["name"]) for key in keys} == {
        "order_items_order_id_fkey",
        "order_resends_order_id_fkey",
        "station_tickets_order_id_fkey",
        "order_status_log_order_id_fkey",
        "sessions_user_id_fkey",
        "sessions_device_id_fkey",
    }


async def test_queue_tables_are_vacuumed_after_a_fixed_number_of_rows(
    sql: UnpooledConnection,
) -> None:
    settled = await sql.fetch(
        """SELECT relname FROM pg_class
           WHERE reloptions @> '{autovacuum_vacuum_scale_factor=0}' AND relkind = 'r'"""
    )

    assert {row["relname"] for row in settled} == {
        *("outbox", "broker_messages"),
        *("order_counters", "workers"),
    }
