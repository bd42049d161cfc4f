"""Insert valid rows by plain SQL, with changes where a test needs them."""

import contextlib
import itertools
from collections.abc import AsyncIterator
from datetime import date, timedelta
from decimal import Decimal
from uuid import uuid4

import asyncpg

from restaurant_system.database.connection_factory import AnyConnection, UnpooledConnection

NUMBERS = (f"ORD_20241216_{place:03d}" for place in itertools.count(1))


TRUNCATE = """
TRUNCATE orders, workers, outbox, idempotency_keys, external_orders, order_counters,
    menu_availability, logged_warnings
RESTART IDENTITY CASCADE
"""


async def truncate_tables(dsn: str) -> None:
    """Delete all rows, and restart the ids."""
    connection = await asyncpg.connect(dsn)
    await connection.execute(TRUNCATE)
    await connection.close()


@contextlib.asynccontextmanager
async def rolled_back_connection(dsn: str) -> AsyncIterator[UnpooledConnection]:
    """Open a connection in a transaction that is rolled back at the end."""
    connection = await asyncpg.connect(dsn)
    transaction = connection.transaction()
    await transaction.start()
    try:
        yield connection
    finally:
        await transaction.rollback()
        await connection.close()


async def insert(sql: AnyConnection, table: str, row: dict[str, object]) -> int:
    """Insert a row, and return its id."""
    names = ", ".join(row)
    places = ", ".join(f"${place}" for place in range(1, len(row) + 1))
    statement = f"INSERT INTO {table} ({names}) VALUES ({places}) RETURNING id"  # noqa: S608 - ours
    row_id: int = await sql.fetchval(statement, *row.values())
    return row_id


async def insert_order(sql: AnyConnection, **changes: object) -> int:
    """Insert an order."""
    order: dict[str, object] = {
        "number": next(NUMBERS),
        "business_date": date(2024, 12, 16),
        "customer_name": "Ada",
        "type": "takeout",
        "total_amount": Decimal("9.50"),
        "priority": 1,
    }
    return await insert(sql, "orders", order | changes)


async def insert_item(sql: AnyConnection, **changes: object) -> int:
    """Insert an item of a new order."""
    item: dict[str, object] = {
        "order_id": await insert_order(sql),
        "name": "Soup",
        "quantity": 1,
        "price": Decimal("9.50"),
    }
    return await insert(sql, "order_items", item | changes)


async def insert_worker(sql: AnyConnection, **changes: object) -> int:
    """Insert a worker."""
    worker: dict[str, object] = {
        "name": "mario",
        "type": "takeout",
        "heartbeat_interval": timedelta(seconds=30),
        "session": uuid4(),
    }
    return await insert(sql, "workers", worker | changes)
