"""Query plans: every statement finds its rows by an index, however long the history is."""

import asyncio
import importlib
import json
import pkgutil
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType
from typing import Any

import asyncpg
import pytest

from benchmarks import history
from restaurant_system import database as storage
from restaurant_system.database import outbox
from restaurant_system.database.connection import Connection, Database
from restaurant_system.messaging import postgres
from tests.support.partitions import without_month
from tests.support.postgres_server import Postgres

Plan = dict[str, Any]

ORDERS = 20_000
GROWING = {
    *("orders", "order_items", "order_status_log"),
    *("idempotency_keys", "outbox", "broker_messages", "workers", "audit_log"),
    "external_orders",
}
# Partial indexes of unfinished rows only.
SMALL_INDEXES = {
    *("orders_to_cook", "orders_scheduled", "orders_cooking", "orders_handed_over"),
    "broker_messages_in_hand",
}
# A range of few rows: workers with a valid lease.
SMALL_RANGE = "lease_until >= now()"
# Above one of these nodes, a LIMIT does not limit the rows that are read below it.
SEE_ALL = {"Sort", "Aggregate", "Hash", "Nested Loop", "Merge Join", "Hash Join"}
A_STATEMENT = re.compile(r"\s*(WITH|SELECT|INSERT|UPDATE|DELETE)\b")
A_GAP = re.compile(r"\{\w*\}")  # a statement that another constant fills in

# Tables that may be scanned as a whole, or in a range, and why that does not grow with the history.
BY_DESIGN = {
    # The outbox: usually almost empty; in an outage the rows that are searched for.
    "outbox.BACKLOG": "outbox",
    "outbox.CLAIM_OVERDUE": "outbox",
    # Executed only if a subscriber has gone for good.
    "consumer.DROP_OWN_QUEUES": "broker_messages",
    "consumer.DROP_ORPHANED_QUEUES": "broker_messages",
    # The waiting messages, and only while orders are stuck.
    "broker.DELAYED": "broker_messages",
    # The last hour, after a broker has lost its disk.
    "reconciliation_queries.ANY_MOVED": "a range of order_status_log",
    "reconciliation_queries.MOVED": "a range of order_status_log",
    # The waiting messages, once for each `doctor`.
    "inspection.SELECT_BODY": "broker_messages",
    # The waiting messages of the kitchen, once an hour, and for each `privacy erase`.
    "queues.DELETE_ERASED": "broker_messages",
    # The keys of a day, for each `privacy erase`.
    "personal_data.ERASE_FINGERPRINTS": "idempotency_keys",
    # A limited number of expired keys, and those of orders that are still received, which it skips.
    "idempotency.DELETE_EXPIRED": "a range of idempotency_keys",
    # A limited number of rows of an index that contains the orders to erase and no others.
    "personal_data.LOCK_DUE": "a range of orders",
    # Those of the business date.
    "order_list.SELECT_FINISHED": "a range of orders",
    # The orders of a month, and the channels' ids of them, once when it is deleted; the newest of
    # the partition `earlier`, of which the test sees all, every ten minutes.
    "order_months.LATEST_EARLIER": "orders",
    "order_months.COUNT": "a range of orders",
    "order_months.COUNT_OPEN": "a range of orders",
    "order_months.KEEP_NUMBERS": "a range of external_orders",
    # Once, when `up` starts.
    "workers.RELEASE_WORKER_NAMES": "workers",
    # Workers without a heartbeat for long, which are deleted.
    "workers.DELETE_UNUSED": "a range of workers",
}

BUSY_PERIOD = """
INSERT INTO orders (id, number, business_date, customer_name, type, total_amount, priority)
OVERRIDING SYSTEM VALUE
SELECT first_order_id(current_date) + nextval('orders_id_seq'),
       'ORD_' || to_char(current_date, 'YYYYMMDD') || '_' || place, current_date, 'Ada', 'takeout',
       9.50, 1
FROM generate_series(100, 300) AS place;

UPDATE orders SET status = 'cooking', processed_by = 'cook_1'
WHERE business_date = current_date AND number LIKE '%_10_';

INSERT INTO outbox (stream, exchange, routing_key, type, body, message_id, correlation_id, app_id,
                    timestamp, priority)
SELECT 'orders_topic/' || n, 'orders_topic', 'kitchen.takeout.1', 'order.received', '{}',
       gen_random_uuid(), 'r', 'order-service', now(), 1
FROM generate_series(1, 10000) AS n;

INSERT INTO broker_messages (queue, consumer, exchange, routing_key, type, body, message_id,
                             correlation_id, app_id, timestamp, priority, content_type, headers)
SELECT 'queue_' || n % 20, CASE WHEN n % 100 = 0 THEN 1 + n % 3 END, 'orders_topic',
       'kitchen.takeout.1', 'order.received', '{}', gen_random_uuid(), 'r', 'order-service', now(),
       1, 'application/json', '{}'
FROM generate_series(1, 10000) AS n;

INSERT INTO idempotency_keys (key, created_at, fingerprint, order_id)
SELECT n::text, now() - n * interval '30 seconds', sha256(n::text::bytea), n
FROM generate_series(1, 10000) AS n;

INSERT INTO external_orders (digest, fingerprint, order_id, total_amount)
SELECT sha256(n::text::bytea), sha256(n::text::bytea), n, 9.50 FROM generate_series(1, 20000) AS n;

INSERT INTO workers (name, type, status, last_seen, heartbeat_interval, session)
SELECT 'station_' || n, 'takeout', CASE WHEN n % 2 = 0 THEN 'online' ELSE 'offline' END,
       now() - n * interval '1 minute', interval '5 seconds', gen_random_uuid()
FROM generate_series(1, 30000) AS n;

INSERT INTO audit_log (at, action) SELECT now(), 'sign_in' FROM generate_series(1, 30000);
"""


def modules() -> Iterator[ModuleType]:
    """Yield all modules that contain SQL."""
    for package in (storage, postgres):
        for found in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            yield importlib.import_module(found.name)


def statements() -> dict[str, str]:
    """Return every statement that is a constant, by module and name."""
    return {
        f"{module.__name__.rpartition('.')[2]}.{name}": value
        for module in modules()
        for name, value in vars(module).items()
        if isinstance(value, str) and A_STATEMENT.match(value) and not A_GAP.search(value)
    }


EMPTIED = ("outbox", "broker_messages", "idempotency_keys", "external_orders")
# What was done before the statistics were gathered, in a database with a long history.
LATEST: dict[str, list[str]] = {
    "busy": [BUSY_PERIOD],
    "quiet": [BUSY_PERIOD, *(f"DELETE FROM {name}" for name in EMPTIED)],  # noqa: S608 - constants
}
EMPTY = "empty"


@pytest.fixture(scope="module", params=[*LATEST, EMPTY])
def dsn_with_statistics(
    request: pytest.FixtureRequest, postgres_server: Postgres, template_database: str
) -> str:
    """Return the DSN of a database with a long history, or of an empty one."""
    if request.param == EMPTY:
        return postgres_server.dsn(template_database)

    async def live() -> str:
        dsn = postgres_server.dsn(await postgres_server.create_database(template_database))
        await history.generate(dsn, ORDERS)
        connection = await asyncpg.connect(dsn)
        for statement in LATEST[request.param]:
            await connection.execute(statement)
        filled = await connection.fetchval(history.SELECT_FILLED)
        await connection.execute(f"VACUUM ANALYZE {filled}, {', '.join(EMPTIED)}")
        await connection.close()
        return dsn

    with ThreadPoolExecutor(1) as thread:  # a test's own loop may be running in this one
        return thread.submit(asyncio.run, live()).result()


@pytest.fixture
def dsn(dsn_with_statistics: str) -> str:
    """Return the DSN of a database with some statistics, as the database of the test."""
    return dsn_with_statistics


PREPARED = "SELECT cardinality(parameter_types) FROM pg_prepared_statements WHERE name = 'tested'"


async def plan_of(sql: Connection, statement: str) -> Plan:
    """Return the generic plan of a statement, which a prepared statement ends up with."""
    await sql.execute("SET plan_cache_mode = force_generic_plan")
    await sql.execute("SET enable_partition_pruning = off")  # by the NULLs below
    await sql.execute(f"PREPARE tested AS {statement}")
    values = ", ".join(["NULL"] * await sql.fetchval(PREPARED))
    call = f"EXECUTE tested ({values})" if values else "EXECUTE tested"
    plan: Plan = json.loads(await sql.fetchval(f"EXPLAIN (FORMAT JSON) {call}"))[0]["Plan"]
    await sql.execute("DEALLOCATE tested")
    return plan


def table_of(node: Plan) -> str | None:
    """Return the table that a plan's node reads, which may have partitions."""
    name = node.get("Relation Name")
    return None if name is None else without_month(name)


def scanned_tables(node: Plan, *, cut_short: bool = False) -> Iterator[str]:
    """Return the growing tables that a plan scans without knowing keys."""
    if node["Node Type"] == "Limit":
        cut_short = True
    elif node["Node Type"] in SEE_ALL:
        cut_short = False
    if node["Node Type"].endswith("Scan") and table_of(node) in GROWING:
        yield from scanned_by(node, cut_short=cut_short)
    for part in node.get("Plans", ()):
        scanned = scanned_tables(part, cut_short=cut_short)
        yield from (f"each {table}" for table in scanned) if is_repeated(node, part) else scanned


def is_repeated(node: Plan, part: Plan) -> bool:
    """Return whether a part of a plan's node is executed for each row of another part."""
    relation: str = part["Parent Relationship"]
    return relation == "SubPlan" or (node["Node Type"] == "Nested Loop" and relation == "Inner")


def scanned_by(scan: Plan, *, cut_short: bool) -> Iterator[str]:
    """Yield the table that a plan's scan reads, unless it looks up keys or stops at a limit."""
    lookups = list(index_scans_of(scan))
    if lookups and all(is_narrow(each) for each in lookups):
        return
    if lookups and cut_short and "Filter" not in scan:
        return
    ranged = lookups and all("Index Cond" in each for each in lookups)
    yield f"a range of {table_of(scan)}" if ranged else str(table_of(scan))


def index_scans_of(scan: Plan) -> Iterator[Plan]:
    """Return the index scans of a scan: one, or those of a bitmap."""
    if "Index Name" in scan:
        yield scan
    elif scan["Node Type"].startswith("Bitmap"):
        for part in scan["Plans"]:
            yield from index_scans_of(part)


def is_narrow(lookup: Plan) -> bool:
    """Return whether an index scan reads few rows: it uses keys, or its index is small."""
    condition = lookup.get("Index Cond", "")
    index = without_month(lookup["Index Name"])
    return index in SMALL_INDEXES or " = " in condition or SMALL_RANGE in condition


async def test_every_statement_uses_an_index(database: Database) -> None:
    """A generic plan that was made on an empty table must use an index too, and for each row."""
    async with database.connection() as sql:
        plans = {name: await plan_of(sql, text) for name, text in statements().items()}

    scanning = {
        name: plan
        for name, plan in plans.items()
        if not set(scanned_tables(plan))
        <= {BY_DESIGN.get(name), f"a range of {BY_DESIGN.get(name)}"}
    }
    assert not scanning, {name: set(scanned_tables(plan)) for name, plan in scanning.items()}


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT count(*) FROM orders",
        "SELECT sum(total_amount) FROM orders WHERE id <= $1",
        "SELECT count(*) FROM order_status_log WHERE order_id > $1",
        outbox.CLAIM_THESE.replace("(first.stream,", "(first.stream || '',"),
    ],
    ids=["all", "a range of orders", "a range of the log", "a range for each"],
)
async def test_statement_that_scans_the_history_is_detected(
    database: Database, statement: str
) -> None:
    """An index scan over half of a table counts as a scan of the history."""
    async with database.connection() as sql:
        plan = await plan_of(sql, statement)

    assert list(scanned_tables(plan))


def test_every_exception_names_a_statement() -> None:
    assert BY_DESIGN.keys() <= statements().keys()
