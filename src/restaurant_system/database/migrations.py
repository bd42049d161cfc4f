"""Brings the schema up to date: numbered SQL files, each applied once, in order, under a lock."""

from importlib import resources

from restaurant_system.database.connection import Connection, Database
from restaurant_system.logger import get_logger

log = get_logger()

# Any number that nobody else locks; held while migrations run, so that several processes that
# start at once apply them one after the other.
LOCK = 7_278_110_042

CREATE_LEDGER = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    name       text        PRIMARY KEY,
    applied_at timestamptz NOT NULL DEFAULT now()
)
"""


async def migrate(database: Database) -> list[str]:
    """Apply what is pending, all of it or nothing; return the names of what was applied."""
    async with database.transaction() as tx:
        await tx.execute("SELECT pg_advisory_xact_lock($1)", LOCK)
        await tx.execute(CREATE_LEDGER)
        names = await _pending(tx)
        for name in names:
            await tx.execute(_read(name))
            await tx.execute("INSERT INTO schema_migrations (name) VALUES ($1)", name)
    if names:
        log.info(
            "migrations_applied",
            message=f"Brought the schema up to date, to {names[-1]}.",
            migrations=names,
        )
    return names


async def pending(database: Database) -> list[str]:
    """Return the names of what `migrate` would apply; change nothing."""
    async with database.connection() as connection:
        if await connection.fetchval("SELECT to_regclass('schema_migrations')") is None:
            return _all()
        return await _pending(connection)


async def _pending(connection: Connection) -> list[str]:
    rows = await connection.fetch("SELECT name FROM schema_migrations")
    applied = {row["name"] for row in rows}
    return [name for name in _all() if name not in applied]


def _all() -> list[str]:
    files = resources.files(__package__).joinpath("migrations").iterdir()
    return sorted(file.name for file in files if file.name.endswith(".sql"))


def _read(name: str) -> str:
    return resources.files(__package__).joinpath("migrations", name).read_text(encoding="utf-8")
