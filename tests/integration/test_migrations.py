import asyncio
import contextlib
from collections.abc import AsyncIterator
from importlib import resources

import asyncpg
import pytest

from restaurant_system.database import migrations
from restaurant_system.database.connection import Database
from tests.conftest import opened
from tests.support.servers import Postgres

FOLDER = resources.files("restaurant_system.database").joinpath("migrations")
FILES = sorted(file.name for file in FOLDER.iterdir())
LEDGER = """
CREATE TABLE schema_migrations (
    name text PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now()
)
"""


@pytest.fixture
async def empty_dsn(postgres_server: Postgres) -> str:
    """Name a database with nothing in it."""
    return postgres_server.dsn(await postgres_server.create_database())


@pytest.fixture
async def empty(empty_dsn: str) -> AsyncIterator[Database]:
    """Open a database with nothing in it."""
    async with opened(empty_dsn) as database:
        yield database


async def tables(database: Database) -> set[str]:
    """Name the tables there are."""
    async with database.connection() as connection:
        rows = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    return {row["tablename"] for row in rows}


async def test_in_order(empty: Database) -> None:
    """An empty database gets every migration, in the order of their numbers."""
    applied = await migrations.migrate(empty)

    assert applied == FILES
    assert applied[0].startswith("001_")
    assert {"orders", "order_items", "order_status_log", "workers"} <= await tables(empty)


async def test_once(empty: Database) -> None:
    """What was applied is not applied again."""
    await migrations.migrate(empty)

    assert await migrations.migrate(empty) == []


async def test_what_is_pending(empty: Database) -> None:
    """What is pending is told without a change to anything."""
    assert await migrations.pending(empty) == FILES
    assert await tables(empty) == set()

    await migrations.migrate(empty)

    assert await migrations.pending(empty) == []


async def test_an_older_schema(empty: Database) -> None:
    """A database that is a migration behind gets that one alone."""
    *older, last = FILES
    async with empty.connection() as connection:
        await connection.execute(LEDGER)
        for name in older:
            await connection.execute(FOLDER.joinpath(name).read_text(encoding="utf-8"))
            await connection.execute("INSERT INTO schema_migrations VALUES ($1)", name)

    assert await migrations.pending(empty) == [last]
    assert await migrations.migrate(empty) == [last]


async def test_four_at_once(empty_dsn: str) -> None:
    """Of processes that start at once on an empty database, one migrates and the others wait."""
    async with contextlib.AsyncExitStack() as stack:
        pools = [await stack.enter_async_context(opened(empty_dsn)) for _ in range(4)]

        applied = await asyncio.gather(*(migrations.migrate(pool) for pool in pools))

        assert sorted(applied) == [[], [], [], FILES]


async def test_all_or_nothing(empty: Database) -> None:
    """A migration that fails leaves nothing half done, and can be made up for."""
    async with empty.connection() as connection:
        await connection.execute("CREATE TABLE workers (someone text)")

    with pytest.raises(asyncpg.DuplicateTableError):
        await migrations.migrate(empty)

    assert await tables(empty) == {"workers"}
    assert await migrations.pending(empty) == FILES

    async with empty.connection() as connection:
        await connection.execute("DROP TABLE workers")
    assert await migrations.migrate(empty) == FILES
