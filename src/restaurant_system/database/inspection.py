"""Inspect a PostgreSQL server for `doctor`: read what services need of it, and change nothing.

Each inspection has a connection of its own, so that one that fails does not affect the others.
"""

import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import asyncpg

from restaurant_system.database.connection_factory import ConnectionFactory, UnpooledConnection
from restaurant_system.database.error_translation import translate_connect_errors, translate_errors
from restaurant_system.errors import ConfigurationError
from restaurant_system.models.clock import Clock

PRIVILEGES = ("SELECT", "INSERT", "UPDATE", "DELETE")


@contextlib.asynccontextmanager
async def connected(factory: ConnectionFactory) -> AsyncIterator[UnpooledConnection]:
    """Open a connection for the block; raises `DatabaseUnavailable`, also for its statements."""
    try:
        with translate_connect_errors():
            connection = await factory.connect()
    except asyncpg.ClientConfigurationError as error:
        raise ConfigurationError(f"database: {str(error).splitlines()[0]}.") from error
    try:
        with translate_errors():
            yield connection
            await connection.close()
    finally:
        connection.terminate()  # without waiting for a server that hangs


@contextlib.asynccontextmanager
async def inspecting(
    factory: ConnectionFactory, *, read_only: bool = True
) -> AsyncIterator[UnpooledConnection]:
    """Open a connection in a transaction that is rolled back; by default it cannot write."""
    async with connected(factory) as connection:
        transaction = connection.transaction(readonly=read_only)
        await transaction.start()
        yield connection
        await transaction.rollback()


async def version(connection: UnpooledConnection) -> tuple[int, str]:
    """Return the major version, and the whole version as the server names it."""
    number = int(await connection.fetchval("SHOW server_version_num"))
    return number // 10_000, await connection.fetchval("SHOW server_version")


@dataclass(frozen=True, slots=True)
class ClockSkew:
    """By how many seconds the server's clock is ahead, and how inexact this is."""

    ahead: float
    inexact: float


async def clock_skew(connection: UnpooledConnection, now: Clock) -> ClockSkew:
    """Compare the server's clock with `now`, on the assumption that both ways take equally long."""
    before = now()
    theirs: datetime = await connection.fetchval("SELECT clock_timestamp()")
    after = now()
    inexact = (after - before) / 2
    return ClockSkew((theirs - before - inexact).total_seconds(), inexact.total_seconds())


# Tables are found as our statements find them: by the search path. A table of the list that is not
# there has no owner.
TABLE_RIGHTS = """
SELECT name, relowner IS NOT NULL AS exists,
       coalesce(pg_has_role(relowner, 'USAGE'), false) AS owned,
       ARRAY(
           SELECT privilege FROM unnest($2::text[]) AS privilege
           WHERE NOT has_table_privilege(pg_class.oid, privilege)
       ) AS missing
FROM unnest($1::text[]) AS name
LEFT JOIN pg_class ON pg_class.oid = to_regclass(quote_ident(name))
"""
SEQUENCE_RIGHTS = """
SELECT name, to_regclass(quote_ident(name)) IS NOT NULL AS exists,
       coalesce(has_sequence_privilege(to_regclass(quote_ident(name)), 'USAGE'), false) AS usable
FROM unnest($1::text[]) AS name
"""
SCHEMA_RIGHTS = """
SELECT quote_ident(current_user) AS role, quote_ident(current_schema()) AS schema,
       has_schema_privilege(current_schema(), 'CREATE') AS may_create
"""


@dataclass(frozen=True, slots=True)
class Rights:
    """What a role lacks: rights on tables and sequences, and on the schema.

    Names are quoted where SQL needs it. `schema` is `None` if the role may use none of its search
    path. `lacking` names for each table
    or sequence the missing privileges; `absent` are those that do not exist.
    """

    role: str
    schema: str | None
    may_create: bool
    lacking: dict[str, list[str]]
    absent: list[str]
    not_owned: list[str]


async def rights(
    connection: UnpooledConnection,
    tables: Sequence[str],
    sequences: Sequence[str],
    privileges: Sequence[str] = PRIVILEGES,
) -> Rights:
    """Return which rights the connected role lacks."""
    schema = await connection.fetchrow(SCHEMA_RIGHTS)
    assert schema is not None  # noqa: S101 - a SELECT without a condition returns a row
    of_tables = await connection.fetch(TABLE_RIGHTS, list(tables), list(privileges))
    of_sequences = await connection.fetch(SEQUENCE_RIGHTS, list(sequences))
    lacking = {row["name"]: row["missing"] for row in of_tables if row["exists"] and row["missing"]}
    lacking |= {
        row["name"]: ["USAGE"] for row in of_sequences if row["exists"] and not row["usable"]
    }
    return Rights(
        role=schema["role"],
        schema=schema["schema"],
        may_create=bool(schema["may_create"]),
        lacking=lacking,
        absent=[row["name"] for row in (*of_tables, *of_sequences) if not row["exists"]],
        not_owned=[row["name"] for row in of_tables if row["exists"] and not row["owned"]],
    )


def peer_certificate(connection: UnpooledConnection) -> bytes | None:
    """Return the server's certificate (DER); `None` if the connection is not encrypted.

    asyncpg has no public access to the transport of a connection.
    """
    transport = getattr(connection, "_transport")  # noqa: B009 - unknown to asyncpg's stubs
    tls = transport.get_extra_info("ssl_object")
    return None if tls is None else tls.getpeercert(binary_form=True)
