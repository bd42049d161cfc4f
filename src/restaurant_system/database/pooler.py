"""Find out whether a pooler such as PgBouncer before PostgreSQL keeps what services need.

In transaction mode a connection has another session of PostgreSQL after each transaction. What
belongs to a session is lost, or seen by others: prepared statements, advisory locks, LISTEN.
PgBouncer 1.21 with `max_prepared_statements`, and others, keep prepared statements by their names.
"""

import contextlib
import uuid
from collections.abc import AsyncIterator

from restaurant_system.database.connection_factory import (
    PLANNER_SETTINGS,
    AnyConnection,
    ConnectionFactory,
    UnpooledConnection,
)
from restaurant_system.database.error_translation import translate_connect_errors, translate_errors
from restaurant_system.errors import PoolerUnsuitable

TRANSACTION_MODE = "PostgreSQL is behind a pooler in transaction mode"
SET_DIRECT_URL = (
    "set database.direct_url to the URL of PostgreSQL itself, for what needs a session of its own"
)
ANOTHER_DATABASE = "it leads to another database than the pooler"
IDENTITY = """
SELECT pg_postmaster_start_time()::text AS started, current_database()::text AS name
"""
BACKEND = "SELECT pg_backend_pid()"
MISSING_SETTINGS = (
    "The pooler does not pass on the settings without which queries may scan whole tables"
)
# What every connection sets if no pooler refuses it (`PLANNER_SETTINGS`).
ROLE_WITHOUT_SETTINGS = """
SELECT quote_ident(current_user) AS role
FROM pg_settings JOIN unnest($1::text[], $2::text[]) AS needed (name, value) USING (name)
WHERE setting <> value LIMIT 1
"""


async def is_behind_pooler(connection: AnyConnection) -> bool:
    """Return whether another process serves the connection than the one reported at its start."""
    return bool(await connection.fetchval(BACKEND) != connection.get_server_pid())


async def identity(connection: AnyConnection) -> tuple[str, str]:
    """Return what no two databases have in common: the start of the server, and the name."""
    (row,) = await connection.fetch(IDENTITY)
    return row["started"], row["name"]


async def check_pooler(factory: ConnectionFactory) -> str | None:
    """Raise `PoolerUnsuitable` if the pooler loses what is needed.

    With other clients at the same time, the loss may remain unnoticed here. It is then noticed by
    the first statement that fails. Returns the role that lacks settings, if they are needed.
    """
    async with _open(factory) as first, _open(factory) as second:
        with translate_errors():
            if not factory.has_direct_url and await _share_a_session(first, second):
                raise PoolerUnsuitable(TRANSACTION_MODE, SET_DIRECT_URL)
            if not factory.prepares_statements:
                return None
            await _prepare_on_both(first, second)
            role: str | None = await first.fetchval(
                ROLE_WITHOUT_SETTINGS, list(PLANNER_SETTINGS), list(PLANNER_SETTINGS.values())
            )
            return role


def settings_cure(role: str) -> str:
    """Return how a role gets the settings that a pooler does not pass on."""
    first, *others = (f"SET {name} = {value}" for name, value in PLANNER_SETTINGS.items())
    return f"run ALTER ROLE {role} {first}, and likewise {' and '.join(others)}"


@contextlib.asynccontextmanager
async def _open(factory: ConnectionFactory) -> AsyncIterator[UnpooledConnection]:
    with translate_connect_errors():
        connection = await factory.connect()
    try:
        yield connection
    finally:
        connection.terminate()


async def _share_a_session(first: UnpooledConnection, second: UnpooledConnection) -> bool:
    """Return whether the second connection gets the session that the first one had."""
    transaction = second.transaction()
    session = await first.fetchval(BACKEND)
    await transaction.start()
    is_same = bool(await second.fetchval(BACKEND) == session)
    await transaction.rollback()
    return is_same


async def _prepare_on_both(first: UnpooledConnection, second: UnpooledConnection) -> None:
    """Prepare statements of one name on two connections; in one session, that is an error.

    They are executed, because the connection keeps its session between the two.
    """
    name = f"restaurant_{uuid.uuid4().hex}"
    kept = await first.prepare("SELECT 1", name=name)  # asyncpg closes one without a reference
    await kept.fetchval()
    await (await second.prepare("SELECT 1", name=name)).fetchval()
