"""Query plans with statistics from before a busy period.

Autovacuum may have gathered them at night, when no order was open.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import cast

import asyncpg
import pytest

from benchmarks import history
from restaurant_system.database import kitchen_state, live_view_queries
from restaurant_system.database.connection import Connection, Database
from restaurant_system.models.board import BoardSelection
from restaurant_system.models.clock import utc_now
from restaurant_system.models.order import OrderType
from tests.integration.test_plans import ORDERS, Plan, table_of
from tests.support.postgres_server import Postgres

LIMIT = 50
WAITING, COOKING = 3_000, 20
LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)

QUERIES: dict[str, Callable[[Connection], Awaitable[object]]] = {
    "preparing": lambda sql: live_view_queries.preparing(
        sql, BoardSelection(), released_since=LONG_AGO, limit=LIMIT
    ),
    "ready": lambda sql: live_view_queries.ready(
        sql, BoardSelection(), since=utc_now(), limit=LIMIT
    ),
    "open orders": lambda sql: kitchen_state.open_orders(sql, day_start=utc_now(), now=utc_now()),
}
EXPLAIN = "EXPLAIN (ANALYZE, FORMAT JSON) "
MOST = {
    "preparing": COOKING + LIMIT + WAITING,  # all that wait, but not the history
    "ready": len(OrderType) * live_view_queries.READY_SCAN_LIMIT,
    "open orders": WAITING + COOKING,
}
UNTENDED = """
SET session_replication_role = replica;
DO $$
DECLARE part text;
BEGIN
    FOR part IN SELECT inhrelid::regclass FROM pg_inherits WHERE inhparent = 'orders'::regclass LOOP
        EXECUTE format('ALTER TABLE %s SET (autovacuum_enabled = off)', part);
    END LOOP;
END $$;
"""
# What has become of a night's orders when the statistics are made.
NIGHTS = {
    "all are over": "SELECT",
    "all are ready": """
        UPDATE orders SET status = 'ready', type = 'takeout', table_number = NULL,
            delivery_address = NULL, processed_by = 'cook_1',
            completed_at = coalesce(completed_at, updated_at)
    """,
    "all are waiting": """
        UPDATE orders SET status = 'received', type = 'takeout', table_number = NULL,
            delivery_address = NULL, completed_at = NULL
    """,
}
OVER = "UPDATE orders SET status = 'cancelled', completed_at = NULL WHERE status = 'received'"
RUSH = f"""
INSERT INTO orders (id, number, business_date, customer_name, type, total_amount, priority)
OVERRIDING SYSTEM VALUE
SELECT (SELECT max(id) FROM orders) + place, 'ORD_20300101_' || place, '2030-01-01', 'Ada',
       'takeout', 9.50, 1
FROM generate_series(10001, {10_000 + COOKING + WAITING}) AS place;

UPDATE orders SET status = 'cooking', processed_by = 'cook_1'
WHERE number <= 'ORD_20300101_{10_000 + COOKING}' AND status = 'received';
"""  # noqa: S608 - constants


@pytest.fixture(scope="module", params=sorted(NIGHTS))
def stale_statistics_dsn(
    request: pytest.FixtureRequest, postgres_server: Postgres, template_database: str
) -> str:
    """Return the DSN of a database with many open orders, whose statistics were gathered before."""

    async def live() -> str:
        dsn = postgres_server.dsn(await postgres_server.create_database(template_database))
        await history.generate(dsn, ORDERS)
        connection = await asyncpg.connect(dsn)
        for statement in (UNTENDED, NIGHTS[request.param]):
            await connection.execute(statement)
        filled = await connection.fetchval(history.SELECT_FILLED)
        for statement in (f"VACUUM ANALYZE {filled}", OVER, RUSH):
            await connection.execute(statement)
        await connection.close()
        return dsn

    with ThreadPoolExecutor(1) as thread:  # a test's own loop may be running in this one
        return thread.submit(asyncio.run, live()).result()


@pytest.fixture
def dsn(stale_statistics_dsn: str) -> str:
    """Return the DSN of the database with stale statistics, as the database of the test."""
    return stale_statistics_dsn


class ExplainingConnection:
    """A connection that records the executed plan of each query."""

    def __init__(self, connection: Connection) -> None:
        self.plan: Plan = {}
        self._connection = connection

    async def fetch(self, statement: str, *values: object) -> list[object]:
        """Execute a query with EXPLAIN ANALYZE; return no rows."""
        explained = await self._connection.fetchval(EXPLAIN + statement, *values)
        self.plan = json.loads(explained)[0]["Plan"]
        return []


def scanned_orders(node: Plan) -> int:
    """Count the orders that a plan has read, including those that it filtered out."""
    below = sum(scanned_orders(part) for part in node.get("Plans", ()))
    if table_of(node) != "orders":
        return below
    each: float = node["Actual Rows"] + node.get("Rows Removed by Filter", 0)
    rounds: int = node["Actual Loops"]
    return below + round(each * rounds)


@pytest.mark.parametrize("query", sorted(QUERIES))
async def test_polled_queries_scan_few_orders(database: Database, query: str) -> None:
    async with database.connection() as sql:
        explained = ExplainingConnection(sql)
        await QUERIES[query](cast("Connection", explained))

    assert "orders" in json.dumps(explained.plan)
    assert scanned_orders(explained.plan) <= MOST[query], json.dumps(explained.plan, indent=1)
