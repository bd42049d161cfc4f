"""Partitions of orders by month: created in time, searched alone, and deleted as a whole."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from importlib import resources
from zoneinfo import ZoneInfo

import asyncpg
import pytest

from restaurant_system.config import HistorySettings
from restaurant_system.database import live_view_queries, migrations, order_list, tracking_queries
from restaurant_system.database.connection import Database
from restaurant_system.database.connection_factory import UnpooledConnection
from restaurant_system.database.order_months import DeletedMonth, OrderMonths, numbers_and_ids
from restaurant_system.database.tracking_queries import OrderFilter
from restaurant_system.errors import DatabaseUnavailable, MigrationRefused, OrderNotFound
from restaurant_system.models.business_day import BusinessDay
from restaurant_system.models.external_order import ExternalOrder
from restaurant_system.models.order import Move
from restaurant_system.models.status import OrderStatus
from restaurant_system.services.order.cleanup import add_months, keep_months
from restaurant_system.services.order.service import OrderService
from restaurant_system.services.tracking.usual_day import UsualDays
from tests.conftest import open_database
from tests.support.logs import capture_logs
from tests.support.orders import make_order
from tests.support.partitions import TABLES
from tests.support.postgres_server import Postgres
from tests.support.processes import processes
from tests.support.rows import insert_order
from tests.support.services import FakeClock, make_order_service, move_through
from tests.support.waiting import eventually

COOKING, READY = OrderStatus.COOKING, OrderStatus.READY
COMPLETED, CANCELLED = OrderStatus.COMPLETED, OrderStatus.CANCELLED
UTC_DAY = BusinessDay(ZoneInfo("UTC"))
PARTITIONS = (
    "SELECT inhrelid::regclass::text AS name FROM pg_inherits WHERE inhparent = $1::regclass"
)
COUNT = "SELECT count(*) FROM {}"
UBER = ExternalOrder(channel="uber", external_id="84H9B")
IN_OCTOBER = datetime(2024, 10, 31, 12, tzinfo=UTC)


async def months_of(database: Database, table: str = "orders") -> set[str]:
    """Return the months that have a partition in a table."""
    async with database.connection() as sql:
        rows = await sql.fetch(PARTITIONS, table)
    return {row["name"].removeprefix(f"{table}_") for row in rows}


async def place(intake: OrderService, **fields: str) -> str:
    """Place an order; return its number."""
    order = make_order(**fields)
    return (await intake.place(order, request_id="request-1", key=None)).order_number


async def ids(database: Database) -> dict[str, int]:
    """Return the id of each order by its number."""
    async with database.connection() as sql:
        return {
            row["number"]: row["id"] for row in await sql.fetch("SELECT number, id FROM orders")
        }


async def test_order_is_in_the_partition_of_its_business_date(database: Database) -> None:
    """At 23:30 in UTC, the next month has begun in Rome."""
    clock = FakeClock(datetime(2024, 11, 30, 22, 30, tzinfo=UTC))
    intake = make_order_service(database, clock=clock, timezone="Europe/Rome")
    last_of_november = await place(intake)
    clock.now += timedelta(hours=1)
    first_of_december = await place(intake)

    assert (last_of_november, first_of_december) == ("ORD_20241130_001", "ORD_20241201_001")
    known = await ids(database)
    assert known[last_of_november] // 10**12 == 2411
    assert known[first_of_december] // 10**12 == 2412
    for table in ("orders", "order_items", "order_status_log"):
        assert {"202411", "202412"} <= await months_of(database, table)
        async with database.connection() as sql:
            for month in ("202411", "202412"):
                assert await sql.fetchval(COUNT.format(f"{table}_{month}")) > 0
    async with database.connection() as sql:
        page = await tracking_queries.orders(sql, OrderFilter(), before=None, limit=10)
    assert [row["number"] for row in page] == [first_of_december, last_of_november]


async def test_partitions_of_a_month_are_created_once_by_many_processes(dsn: str) -> None:
    async with contextlib.AsyncExitStack() as stack:
        databases = [await stack.enter_async_context(open_database(dsn)) for _ in range(4)]
        services = [make_order_service(each, clock=FakeClock(IN_OCTOBER)) for each in databases]

        numbers = await asyncio.gather(*(place(service) for service in services * 5))

    assert sorted(numbers) == [f"ORD_20241031_{place:03d}" for place in range(1, 21)]


async def test_next_month_exists_before_it_begins(database: Database, clock: FakeClock) -> None:
    keeping = asyncio.create_task(
        keep_months(OrderMonths(database), HistorySettings(), UTC_DAY, clock)
    )

    async def exists() -> bool:
        return "202501" in await months_of(database, "order_status_log")

    await eventually(exists, doing="for the month")
    keeping.cancel()


@pytest.mark.parametrize(
    ("to", "months", "expected"),
    [
        (date(2024, 12, 31), 1, date(2025, 1, 1)),
        (date(2024, 12, 31), -1, date(2024, 11, 1)),
        (date(2024, 1, 1), -1, date(2023, 12, 1)),
        (date(2024, 3, 15), -15, date(2022, 12, 1)),
        (date(2024, 3, 15), 0, date(2024, 3, 1)),
    ],
)
def test_months_are_counted_over_the_turn_of_the_year(
    to: date, months: int, expected: date
) -> None:
    assert add_months(to, months) == expected


@pytest.mark.parametrize(
    "number",
    ["", "ORD_2024", "ORD_\uff12024\uff11216_001", "' OR true --", "ORD_202499", "ZZZ_200001"],
)
async def test_malformed_number_hides_no_other_order(
    intake: OrderService, database: Database, number: str
) -> None:
    placed = await place(intake)

    async with database.connection() as sql:
        assert list(await tracking_queries.statuses(sql, [number, placed])) == [placed]
        assert list(await live_view_queries.steps(sql, [placed, number])) == [placed]
        assert await tracking_queries.order(sql, number) is None


def test_of_no_numbers_there_are_no_ids() -> None:
    assert numbers_and_ids([]) == ([], [])


# -- The path of a database that has orders already


FOLDER = resources.files("restaurant_system.database").joinpath("migrations")
OLDER = [file.name for file in FOLDER.iterdir() if file.name < "035"]
NEWER = [file.name for file in FOLDER.iterdir() if "035" <= file.name < "038"]
LEDGER = """
CREATE TABLE schema_migrations (
    name text PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now()
)
"""
# As the release before the months places orders.
PLACE_BEFORE = """
WITH requested AS MATERIALIZED (
    SELECT nextval('orders_id_seq') AS id, number FROM unnest($1::text[]) AS number
), stored AS (
    INSERT INTO orders (id, number, business_date, customer_name, type, total_amount, priority)
    OVERRIDING SYSTEM VALUE
    SELECT id, number, '2024-12-16', 'Ada', 'takeout', 9.50, 1 FROM requested
), logged AS (
    INSERT INTO order_status_log (order_id, status, changed_by)
    SELECT id, 'received', 'order-service' FROM requested
)
INSERT INTO order_items (order_id, name, quantity, price)
SELECT id, 'Soup', 1, 9.50 FROM requested
"""


FIND_BEFORE = """
SELECT count(*) FROM orders JOIN order_status_log ON order_id = orders.id WHERE number = $1
"""
EXISTING = 3000  # orders
COUNTS = """
SELECT count(*), count(DISTINCT id), count(DISTINCT number) FROM orders
UNION ALL SELECT count(*), count(DISTINCT id), count(DISTINCT order_id) FROM order_items
UNION ALL SELECT count(*), count(DISTINCT id), count(DISTINCT order_id) FROM order_status_log
"""
# Each statement that changes the schema is a step; at the last one, the session that migrates is
# interrupted. Steps that are rolled back stay counted.
LAST_STEP = 1000
STRIDE = 5  # steps from one termination to the next
INTERRUPTION = f"""
CREATE SEQUENCE steps;
CREATE FUNCTION interrupt() RETURNS event_trigger LANGUAGE plpgsql AS $$
BEGIN
    IF nextval('steps') = {LAST_STEP} THEN
        PERFORM {{}};
    END IF;
END $$;
CREATE EVENT TRIGGER interruption ON ddl_command_start EXECUTE FUNCTION interrupt();
"""
IS_INTERRUPTED = "SELECT last_value = $1 FROM steps"
IS_NEXT = "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted)"
# Steps that are in migrations 035, 036 and 037. They are counted from the start of 035 twice, and
# then from that of 036.
KILLS = (7, 12, 35)


@pytest.fixture
async def older_dsn(postgres_server: Postgres) -> str:
    """Return the DSN of a database as the release before the months left it."""
    dsn = postgres_server.dsn(await postgres_server.create_database())
    sql = await asyncpg.connect(dsn)
    await sql.execute(LEDGER)
    for name in sorted(OLDER):
        await sql.execute(FOLDER.joinpath(name).read_text(encoding="utf-8"))
        await sql.execute("INSERT INTO schema_migrations VALUES ($1)", name)
    await sql.close()
    return dsn


@pytest.fixture
async def older(older_dsn: str) -> AsyncIterator[Database]:
    """Open a database as the release before the months left it."""
    async with open_database(older_dsn) as database:
        yield database


async def keep_placing(
    connection: UnpooledConnection, placed: list[str], stopped: asyncio.Event
) -> None:
    """Place orders one after the other, and look them up, as a process of the release before."""
    while not stopped.is_set():
        number = f"ORD_20241216_{len(placed) + 101}"
        await connection.execute(PLACE_BEFORE, [number])
        placed.append(number)
        assert await connection.fetchval(FIND_BEFORE, number) == 1


@contextlib.asynccontextmanager
async def placing(older: Database) -> AsyncIterator[list[str]]:
    """Place orders before, during and after the block; yield the numbers of those placed so far.

    None is refused, lost or stored twice.
    """
    placed = [f"ORD_20241216_{number}" for number in range(101, 101 + EXISTING)]
    stopped = asyncio.Event()
    async with older.without_timeout() as connection, asyncio.TaskGroup() as tasks:
        await connection.execute(PLACE_BEFORE, placed)
        tasks.create_task(keep_placing(connection, placed, stopped))
        await wait_for_another(placed)
        yield placed
        await wait_for_another(placed)
        stopped.set()

    async with older.connection() as sql:
        counts = {tuple(row) for row in await sql.fetch(COUNTS)}
        found = await tracking_queries.statuses(sql, placed)
    assert counts == {(len(placed),) * 3}
    assert found.keys() == set(placed)


async def wait_for_another(placed: Sequence[str]) -> None:
    """Wait until another order was placed."""
    before = len(placed)

    async def is_placed() -> bool:
        return len(placed) > before

    await eventually(is_placed, doing="for an order to be placed")


async def interrupt_at(older: Database, step: int) -> None:
    """Interrupt the session that migrates once it has gone this number of steps from here."""
    async with older.connection() as sql:
        await sql.execute("SELECT setval('steps', $1)", LAST_STEP - step)


async def test_existing_orders_become_a_partition_while_more_are_placed(older: Database) -> None:
    """No statement of the release before fails, also if sessions that migrate are terminated."""
    async with older.connection() as sql:
        await sql.execute(INTERRUPTION.format("pg_terminate_backend(pg_backend_pid())"))
    async with placing(older) as placed:
        terminated = dict.fromkeys(await migrations.pending(older), 0)
        while pending := await migrations.pending(older):
            await interrupt_at(older, 1 + STRIDE * terminated[pending[0]])
            with contextlib.suppress(DatabaseUnavailable):
                await migrations.migrate(older)
            terminated[pending[0]] += 1
            await wait_for_another(placed)
    assert min(terminated.values()) > 1
    async with older.connection() as sql:
        await sql.execute("DROP EVENT TRIGGER interruption")

    assert "earlier" in await months_of(older)
    known = await ids(older)
    async with older.connection() as sql:
        assert await sql.fetchval("SELECT count(*) FROM orders_earlier") == len(known)

    intake = make_order_service(older, clock=FakeClock(datetime(2024, 12, 17, tzinfo=UTC)))
    number = await place(intake)
    assert (await ids(older))[number] % 10**12 > max(known.values())
    await move_through(older, placed[0], COOKING, READY)
    await intake.cancel(placed[1], Move(), request_id="request-2")
    async with older.connection() as sql:
        history = await tracking_queries.history(sql, placed[0])
        found = await tracking_queries.statuses(sql, [placed[0], placed[1], number])
    assert [row["status"] for row in history] == ["received", "cooking", "ready"]
    assert [found[each]["status"] for each in (*placed[:2], number)] == [
        *("ready", "cancelled", "received"),
    ]
    with pytest.raises(asyncpg.UniqueViolationError):
        async with older.connection() as sql:
            await sql.execute(PLACE_BEFORE, [placed[0]])


async def test_next_process_migrates_when_one_is_killed(older: Database, older_dsn: str) -> None:
    """Its session ends although it does not read from the process."""
    async with older.connection() as sql:
        await sql.execute(INTERRUPTION.format("pg_sleep(60)"))

    async def holds(query: str, *arguments: object) -> bool:
        async with older.connection() as sql:
            return bool(await sql.fetchval(query, *arguments))

    with processes({"RESTAURANT_DATABASE__URL": older_dsn}) as commands:
        async with placing(older) as placed:
            await interrupt_at(older, KILLS[0])
            migrating = commands.start("migrate")
            for next_step in (*KILLS[1:], 0):
                await eventually(
                    lambda: holds(IS_INTERRUPTED, LAST_STEP), doing="for the interruption"
                )
                following = commands.start("migrate")
                await eventually(lambda: holds(IS_NEXT), doing="for the next process")
                await interrupt_at(older, next_step)
                migrating.kill()
                await wait_for_another(placed)
                migrating = following
            assert await asyncio.to_thread(migrating.wait) == 0


OWNERS = """
SELECT relowner::regrole::text AS owner FROM pg_class
WHERE relname ~ '^order(s|_items|_status_log)(_|$)' AND relkind IN ('r', 'p', 'S')
"""


async def test_rights_are_those_of_the_tables_before(
    older: Database, postgres_server: Postgres
) -> None:
    """A role that owns nothing can place orders, begin a month and delete one.

    The tables stay those of their owner, also if a superuser migrates.
    """
    async with older.connection() as sql:
        name = await sql.fetchval("SELECT 'months_' || current_database()")
        await sql.execute(
            f"CREATE ROLE {name} LOGIN; GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN"
            f" SCHEMA public TO {name}; GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {name};"
            f" CREATE ROLE {name}_reader LOGIN; GRANT SELECT ON orders TO {name}_reader;"
            f" CREATE ROLE {name}_owner; GRANT CREATE ON SCHEMA public TO {name}_owner"
        )
        database_name = await sql.fetchval("SELECT current_database()")
        for table in await sql.fetch(TABLES):
            await sql.execute(f"ALTER TABLE {table['relname']} OWNER TO {name}_owner")
    await migrations.migrate(older)
    async with older.connection() as sql:
        owners = await sql.fetch(OWNERS)
    assert len(owners) == 3 * (1 + 2 + 1)  # tables, partitions, sequences
    assert {row["owner"] for row in owners} == {f"{name}_owner"}
    dsn = postgres_server.dsn(database_name)

    clock = FakeClock(IN_OCTOBER)
    async with open_database(dsn.replace("postgres@", f"{name}@")) as database:
        intake = make_order_service(database, clock=clock)
        number = await place(intake)
        await intake.cancel(number, Move(), request_id="request-2")
        assert await OrderMonths(database).delete_before(date(2024, 11, 1)) == [
            DeletedMonth("2024-10", 1)
        ]
        await place(make_order_service(database, clock=clock))
    reader = await asyncpg.connect(dsn.replace("postgres@", f"{name}_reader@"))
    assert await reader.fetchval("SELECT count(*) FROM orders_202410") == 1
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await reader.execute("SELECT drop_order_month('202410')")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await reader.fetchval("SELECT count(*) FROM order_items_202410")
    await reader.close()


async def test_statement_that_waits_for_a_migration_has_its_sequence_afterwards(
    older: Database,
) -> None:
    """It has looked up the name of the sequence, and then waits for a lock of the table."""
    async with older.without_timeout() as migrating, older.without_timeout() as waiting:
        for number, name in enumerate(sorted(NEWER), 100):
            await migrating.execute("BEGIN")
            await migrating.execute(FOLDER.joinpath(name).read_text(encoding="utf-8"))
            placing = asyncio.create_task(waiting.execute(PLACE_BEFORE, [f"ORD_20241216_{number}"]))
            await asyncio.sleep(0.1)
            await migrating.execute("COMMIT")
            await placing

    known = await ids(older)
    assert sorted(known) == sorted(known, key=known.__getitem__)
    assert len(known) == len(NEWER)


async def test_views_columns_and_names_of_an_existing_database_are_kept(older: Database) -> None:
    """Views show new orders too; a name that was refused later is replaced, as in an erasure."""
    async with older.connection() as sql:
        await sql.execute(PLACE_BEFORE, ["ORD_20241216_001"])
        role = await sql.fetchval("SELECT 'columns_' || current_database()")
        await sql.execute(
            "ALTER TABLE order_items DROP CONSTRAINT name_is_printable;"
            " UPDATE order_items SET name = 'Soup' || chr(8238);"
            " ALTER TABLE order_items ADD CONSTRAINT name_is_printable"
            " CHECK (name !~ '[\\u202e]') NOT VALID;"
            " CREATE VIEW per_order WITH (security_barrier = true) AS"
            " SELECT orders.id, number, count(order_items) AS items"
            " FROM orders JOIN order_items ON order_id = orders.id GROUP BY orders.id;"
            " CREATE VIEW numbers AS SELECT number FROM per_order;"
            " CREATE INDEX my_1_phone ON orders (phone); CREATE INDEX my_2_phone ON orders (phone);"
            " ALTER TABLE orders ADD COLUMN twice numeric GENERATED ALWAYS AS (total_amount * 2)"
            " STORED"
        )
        await sql.execute(f"CREATE ROLE {role}; GRANT SELECT (number) ON orders TO {role}")
    await migrations.migrate(older)
    await place(make_order_service(older, clock=FakeClock(IN_OCTOBER)))

    async with older.connection() as sql:
        assert await sql.fetchval("SELECT count(*) FROM numbers") == 2
        assert await sql.fetchval("SELECT bool_and(twice = total_amount * 2) FROM orders")
        options = await sql.fetchval("SELECT reloptions FROM pg_class WHERE relname = 'per_order'")
        assert options == ["security_barrier=true"]
        assert await sql.fetchval("SELECT name FROM order_items_earlier") == "Soup?"
        for table in ("orders", "orders_202410"):
            assert await sql.fetchval(
                "SELECT has_column_privilege($1, $2, 'number', 'SELECT')"
                " AND NOT has_column_privilege($1, $2, 'id', 'SELECT')",
                *(role, table),
            )


async def test_objects_of_the_administrator_that_would_lose_new_orders_are_named(
    older: Database,
) -> None:
    async with older.connection() as sql:
        await sql.execute(PLACE_BEFORE, ["ORD_20241216_001"])
        await sql.execute(
            "CREATE TABLE bills (order_id bigint REFERENCES orders);"
            "CREATE MATERIALIZED VIEW days AS SELECT FROM orders;"
            "CREATE PUBLICATION changes FOR TABLE orders;"
            "CREATE PUBLICATION everything FOR ALL TABLES;"
            "CREATE POLICY own ON order_items;"
            "CREATE TRIGGER mine AFTER INSERT ON orders FOR EACH ROW"
            " EXECUTE FUNCTION keep_number_of_external_order();"
            "ALTER TABLE orders ADD CONSTRAINT expensive CHECK (priority > 1) NOT VALID"
        )

    with pytest.raises(MigrationRefused, match='"expensive" of relation "orders" is violated'):
        await migrations.migrate(older)

    async with older.connection() as sql:
        await sql.execute("ALTER TABLE orders DROP CONSTRAINT expensive")
    with pytest.raises(MigrationRefused) as refused:
        await migrations.migrate(older)
    for name in (
        *("bills_order_id_fkey on table bills", "materialized view days", "publication changes"),
        "publication everything",
        *("policy own on table order_items", "trigger mine on table orders"),
    ):
        assert name in str(refused.value)
    async with older.connection() as sql:
        await sql.execute(PLACE_BEFORE, ["ORD_20241216_002"])
        await sql.execute(
            "DROP TABLE bills; DROP MATERIALIZED VIEW days; DROP PUBLICATION changes;"
            "ALTER PUBLICATION everything SET (publish_via_partition_root);"
            "DROP POLICY own ON order_items; DROP TRIGGER mine ON orders"
        )
    await migrations.migrate(older)


# -- Deletion


async def test_old_months_are_deleted_and_the_others_are_not(
    database: Database, clock: FakeClock
) -> None:
    clock.now = IN_OCTOBER
    intake = make_order_service(database, clock=clock)
    october = await place(intake, channel=UBER.channel, external_id=UBER.external_id)
    await move_through(database, october, COOKING, READY)
    clock.now += timedelta(days=1)
    november = await place(intake)
    await intake.cancel(november, Move(), request_id="request-2")
    months = OrderMonths(database)

    assert await months.delete_before(date(2024, 10, 1)) == []
    assert await months.delete_before(date(2024, 11, 1)) == [DeletedMonth("2024-10", 1)]
    assert await months.delete_before(date(2024, 11, 1)) == []

    assert set(await ids(database)) == {november}
    for table in ("orders", "order_items", "order_status_log"):
        assert "202410" not in await months_of(database, table)
    with pytest.raises(OrderNotFound):
        await intake.cancel(october, Move(), request_id="request-3")
    # The channel's id stays taken: the order is not cooked a second time.
    order = make_order(channel=UBER.channel, external_id=UBER.external_id)
    repeated = await intake.place(order, request_id="request-4", key=None)
    assert (repeated.order_number, repeated.replayed) == (october, True)
    # Numbers are not given twice, also on a date whose orders are deleted.
    clock.now = IN_OCTOBER
    assert await place(make_order_service(database, clock=clock)) == "ORD_20241031_002"


async def is_logged(logs: Sequence[Mapping[str, object]], event: str) -> bool:
    """Return whether an event is among the log lines."""
    return any(line["event"] == event for line in logs)


async def test_month_with_an_open_order_is_kept_and_that_is_logged_once(
    database: Database, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("restaurant_system.services.order.cleanup.INTERVAL", 0.05)
    clock.now = IN_OCTOBER
    intake = make_order_service(database, clock=clock)
    number = await place(intake)
    clock.now += timedelta(days=60)

    with capture_logs() as logs:
        keeping = asyncio.create_task(
            keep_months(OrderMonths(database), HistorySettings(months=1), UTC_DAY, clock)
        )
        await asyncio.sleep(0.3)
        assert not any(
            line["event"].startswith("month_") for line in logs
        )  # it is the newest order
        newest = await place(intake)
        await eventually(lambda: is_logged(logs, "month_kept"), doing="for the reason")
        await intake.cancel(number, Move(), request_id="request-2")
        await eventually(lambda: is_logged(logs, "month_deleted"), doing="for the deletion")
        keeping.cancel()

    assert set(await ids(database)) == {newest}
    assert [line["message"] for line in logs if line["event"] == "month_kept"] == [
        "The orders of 2024-10 cannot be deleted yet: 1 of its orders are received or cooking."
    ]
    assert [line["message"] for line in logs if line["event"] == "month_deleted"] == [
        "Deleted the 1 orders of 2024-10."
    ]


async def test_month_whose_tables_are_locked_is_kept_and_orders_are_placed(
    dsn: str, database: Database, clock: FakeClock
) -> None:
    clock.now = IN_OCTOBER
    intake = make_order_service(database, clock=clock)
    number = await place(intake)
    await intake.cancel(number, Move(), request_id="request-2")
    report = await asyncpg.connect(dsn)
    await report.execute("BEGIN; SELECT FROM orders")
    months = OrderMonths(database)

    async with asyncio.timeout(10):
        deleting = asyncio.create_task(months.delete_before(date(2024, 12, 1)))
        await asyncio.sleep(0.2)
        await place(intake)
        assert await deleting == []

    assert months.kept.keys() == {"2024-10"}
    assert "other sessions have the tables of orders locked" in months.kept["2024-10"]
    await report.close()


async def test_month_to_which_other_tables_or_views_refer_is_kept(
    database: Database, clock: FakeClock
) -> None:
    """The other months are deleted."""
    for month in (8, 9, 10):
        clock.now = datetime(2024, month, 1, 12, tzinfo=UTC)
        intake = make_order_service(database, clock=clock)
        await intake.cancel(await place(intake), Move(), request_id="request-2")
    async with database.connection() as sql:
        await sql.execute(
            "CREATE TABLE bills (order_id bigint REFERENCES orders);"
            "INSERT INTO bills SELECT id FROM orders WHERE number LIKE 'ORD_202408%';"
            "CREATE VIEW september AS SELECT number FROM orders_202409"
        )
    months = OrderMonths(database)

    deleted = await months.delete_before(date(2024, 12, 1))

    assert deleted == [DeletedMonth("2024-10", 1)]
    assert months.kept.keys() == {"2024-08", "2024-09"}
    assert "bills_order_id_fkey" in months.kept["2024-08"]
    assert "orders_202409 because other objects depend on it" in months.kept["2024-09"]
    assert sorted(await ids(database)) == ["ORD_20240801_001", "ORD_20240901_001"]
    async with database.connection() as sql:
        await sql.execute("DROP TABLE bills; DROP VIEW september")


async def test_orders_from_before_the_months_are_deleted_once_all_are_older(
    database: Database,
) -> None:
    async with database.connection() as sql:
        for day in (date(2024, 9, 30), date(2024, 10, 31)):
            number = f"ORD_{day:%Y%m%d}_001"
            await insert_order(sql, number=number, business_date=day)
            await sql.execute("UPDATE orders SET status = 'cancelled' WHERE number = $1", number)
    months = OrderMonths(database)

    assert await months.delete_before(date(2024, 10, 1)) == []
    assert await months.delete_before(date(2024, 11, 1)) == [DeletedMonth("earlier months", 2)]
    assert await months.delete_before(date(2024, 11, 1)) == []
    assert await ids(database) == {}


async def test_figures_of_the_dashboard_survive_the_deletion_of_all_that_may_be_deleted(
    database: Database, clock: FakeClock
) -> None:
    """The usual day reaches four weeks back; a month before the current one is always kept."""
    intake = make_order_service(database, clock=clock)
    for day in (date(2025, 1, 31), date(2025, 2, 1), date(2025, 2, 22)):
        clock.now = datetime(day.year, day.month, day.day, 12, tzinfo=UTC)
        number = await place(intake)
        await move_through(database, number, COOKING, READY, COMPLETED)
    today = date(2025, 3, 1)
    usual = await UsualDays(database, UTC_DAY).read(today)
    async with database.connection() as sql:
        counts = await order_list.latest_completion(sql)

    await OrderMonths(database).delete_before(add_months(today, -1))

    assert sorted(await ids(database)) == ["ORD_20250201_001", "ORD_20250222_001"]
    assert usual is not None
    assert usual.dates == [date(2025, 2, 22), date(2025, 2, 1)]
    assert await UsualDays(database, UTC_DAY).read(today) == usual
    async with database.connection() as sql:
        assert await order_list.latest_completion(sql) == counts


async def test_orders_are_placed_and_moved_while_months_are_deleted(
    dsn: str, database: Database
) -> None:
    """Nothing fails or is lost, and two processes that delete at once do so once."""
    clock = FakeClock(datetime(2024, 1, 31, tzinfo=UTC))
    old = make_order_service(database, clock=clock)
    for _ in range(6):
        await old.cancel(await place(old), Move(), request_id="request-2")
        clock.now += timedelta(days=30)
    intake = make_order_service(database)
    placed: list[str] = []

    async def keep_busy() -> None:
        while True:
            number = await place(intake)
            await move_through(database, number, COOKING, READY)
            placed.append(number)

    async with open_database(dsn) as other:
        busy = [asyncio.create_task(keep_busy()) for _ in range(4)]
        await asyncio.sleep(0.1)
        deleted = await asyncio.gather(
            *(OrderMonths(each).delete_before(date(2024, 12, 1)) for each in (database, other))
        )
        for task in busy:
            task.cancel()
        results = await asyncio.gather(*busy, return_exceptions=True)

    assert all(isinstance(result, asyncio.CancelledError) for result in results), results
    assert sum(month.orders for months in deleted for month in months) == 6
    assert set(placed) <= (await ids(database)).keys()
