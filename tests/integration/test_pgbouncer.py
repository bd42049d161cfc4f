"""Services behind PgBouncer in transaction mode, and what they say of one that is unsuitable."""

import asyncio
from collections.abc import Iterator

import pytest

from restaurant_system.config import DatabaseSettings
from restaurant_system.database.connection import Database
from restaurant_system.errors import DatabaseUnavailable, StartupError
from tests.support import deployments
from tests.support.database import execute, monitored, succeeds
from tests.support.doctor import diagnose, faults, levels
from tests.support.pgbouncer import PgBouncer, running_pgbouncer
from tests.support.postgres_server import Postgres
from tests.support.waiting import eventually, wait_until

IGNORED = ",".join(
    (
        *("enable_seqscan", "jit", "plan_cache_mode", "default_transaction_read_only"),
        *("tcp_keepalives_idle", "tcp_keepalives_interval", "tcp_keepalives_count"),
    )
)
DIRECT = "the URL of PostgreSQL itself"
POOLED = "the URL of a pooler in transaction mode"
OPEN_SESSIONS = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND application_name = 'test' AND pid <> pg_backend_pid()
"""


@pytest.fixture(scope="module")
def poolers(postgres_server: Postgres) -> Iterator[list[PgBouncer]]:
    """Run two, in transaction mode: one refuses unknown settings, the other ignores them."""
    with (
        running_pgbouncer(postgres_server) as strict,
        running_pgbouncer(postgres_server, ignore_startup_parameters=IGNORED) as lenient,
    ):
        yield [strict, lenient]


@pytest.fixture
def pooler(poolers: list[PgBouncer]) -> PgBouncer:
    """Return the one that refuses unknown settings."""
    return poolers[0]


def through(pooler: PgBouncer, dsn: str, **settings: object) -> dict[str, object]:
    """Return the settings of a database, `dsn`, through a pooler."""
    return {"url": pooler.dsn(dsn.rpartition("/")[2]), **settings}


def suited(pooler: PgBouncer, dsn: str) -> dict[str, object]:
    """Return the settings with which this version of PgBouncer can be used."""
    return through(pooler, dsn, direct_url=dsn, prepared_statements=False)


def database_of(section: dict[str, object]) -> Database:
    """Return the database of a section of the configuration."""
    settings = DatabaseSettings.model_validate(section)
    return Database(settings.dsn(), settings, application_name="test")


def test_restaurant_works_through_pgbouncer(postgres_server: Postgres, dsn: str) -> None:
    """All services share two sessions of PostgreSQL; what needs its own has it."""
    with running_pgbouncer(postgres_server, pool_size=2) as pooler:
        section = suited(pooler, dsn)
        variables = {
            f"RESTAURANT_DATABASE__{name.upper()}": str(value).lower()
            if value is False
            else str(value)
            for name, value in section.items()
        }
        with deployments.running(dsn, **variables) as deployment:
            restaurant = deployment.start_all_in_one("--worker", "anna", "--worker", "ben:takeout")
            deployment.wait_until_ready()

            numbers = [deployment.place_order() for _ in range(10)]

            for number in numbers:
                deployment.wait_for_status(number, "ready")
            wait_until(
                lambda: restaurant.stdout.count("to 'ready'") == len(numbers),
                seconds=20,
                doing="for the notifications",
            )
            assert deployment.orders.get("/health").json()["status"] == "ok"
            log = deployment.query("SELECT count(*) AS rows FROM order_status_log")
            assert log == [{"rows": 3 * len(numbers)}]


@pytest.mark.parametrize(
    ("is_lenient", "more", "expected"),
    [
        (False, {}, "refuses a setting .*; set database.direct_url"),
        (True, {}, "is behind a pooler in transaction mode; set database.direct_url"),
        (
            False,
            {"direct_url": POOLED, "prepared_statements": False},
            "^PostgreSQL is behind a pooler in transaction mode; set database.direct_url",
        ),
        (False, {"direct_url": DIRECT}, "keep prepared statements; set .*statements to false"),
        (
            False,
            {"direct_url": "postgresql://127.0.0.1:1/r", "prepared_statements": False},
            "^database.direct_url: PostgreSQL unreachable",
        ),
    ],
)
async def test_unsuitable_pooler_is_refused_in_one_line(
    *, is_lenient: bool, more: dict[str, object], expected: str, dsn: str, poolers: list[PgBouncer]
) -> None:
    if more.get("direct_url") == DIRECT:
        more = {"direct_url": dsn}
    if more.get("direct_url") == POOLED:
        more = {**more, "direct_url": through(poolers[True], dsn)["url"]}
    section = through(poolers[is_lenient], dsn, **more)

    with pytest.raises(StartupError, match=expected) as refused:
        await database_of(section).connect_within(0.1)
    assert "\n" not in str(refused.value)

    first, *_ = faults(await diagnose(database=section))
    assert first in {"postgresql.connection", "postgresql.pooler", "postgresql.direct"}


async def test_doctor_finds_nothing_wrong_with_a_suited_pooler(pooler: PgBouncer, dsn: str) -> None:
    findings = await diagnose(database=suited(pooler, dsn))
    assert not faults(findings)
    assert levels(findings)["postgresql.direct"] == "ok"


async def test_direct_url_of_another_database_is_refused(
    pooler: PgBouncer, dsn: str, postgres_server: Postgres
) -> None:
    """Otherwise that database would be migrated."""
    elsewhere = {**suited(pooler, dsn), "direct_url": postgres_server.dsn("postgres")}
    with pytest.raises(StartupError, match="direct_url: it leads to another database"):
        await database_of(elsewhere).connect_within(0.1)
    assert "postgresql.direct" in faults(await diagnose(database=elsewhere))


async def test_session_mode_needs_nothing(postgres_server: Postgres, dsn: str) -> None:
    with running_pgbouncer(
        postgres_server, mode="session", pool_size=10, ignore_startup_parameters=IGNORED
    ) as pooler:
        database = database_of(through(pooler, dsn))
        await database.connect_within(1)
        await database.close()


async def test_connections_work_again_after_pgbouncer_has_lost_its_sessions(
    pooler: PgBouncer, dsn: str, database: Database
) -> None:
    """A statement in progress fails as unavailable, and is not repeated."""
    async with monitored(database_of(suited(pooler, dsn))) as pooled:
        sleeping = asyncio.create_task(execute(pooled, "SELECT pg_sleep(10)"))

        async def is_sleeping() -> bool:
            async with database.connection() as connection:
                return bool(await connection.fetchval(OPEN_SESSIONS + "AND state = 'active'"))

        await eventually(is_sleeping, doing="for the statement")
        terminate = OPEN_SESSIONS.replace("count(*)", "pg_terminate_backend(pid)")
        await execute(database, terminate + "AND state = 'active'")
        with pytest.raises(DatabaseUnavailable):
            await sleeping
        await eventually(lambda: succeeds(pooled, "SELECT 1"), doing="for PgBouncer")
