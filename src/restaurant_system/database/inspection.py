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
from restaurant_system.errors import ConfigurationError, DatabaseRefuses
from restaurant_system.models.clock import Clock

PRIVILEGES = ("SELECT", "INSERT", "UPDATE", "DELETE")


# What to do about the answer to a connection; subclasses come before their class.
CURES_OF_REFUSALS: dict[type[Exception], str] = {
    asyncpg.InvalidPasswordError: "correct the user and the password in the database section",
    asyncpg.InvalidAuthorizationSpecificationError: (
        "correct the user in the database section, or create it, or allow this connection in"
        " pg_hba.conf; if the server wants encryption, correct database.sslmode"
    ),
    asyncpg.InvalidCatalogNameError: (
        "create the database, or correct its name in the database section"
    ),
    asyncpg.InsufficientPrivilegeError: "grant the user CONNECT on the database",
    asyncpg.TooManyConnectionsError: (
        "close connections of other programs, or raise max_connections or the limit that is named"
    ),
    asyncpg.CannotConnectNowError: "wait until PostgreSQL has started",
}


def cure_of_refusal(refusal: DatabaseRefuses) -> str | None:
    """Return what to do about a refused connection, if the server's answer tells."""
    answers = CURES_OF_REFUSALS.items()
    return next((cure for kind, cure in answers if isinstance(refusal.__cause__, kind)), None)


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


# Tables are found as our statements find them, by the search path. If the role may use none of its
# schemas, they are looked up in the first one that exists.
SCHEMA = """
SELECT nspname AS name, quote_ident(current_user) AS role, quote_ident(nspname) AS quoted,
       has_schema_privilege(pg_namespace.oid, 'USAGE') AS may_use,
       has_schema_privilege(pg_namespace.oid, 'CREATE') AS may_create
FROM unnest(string_to_array(current_setting('search_path'), ','))
    WITH ORDINALITY AS path (element, position)
JOIN pg_namespace ON nspname = replace(btrim(element, ' "'), '$user', current_user)
ORDER BY nspname = current_schema() DESC NULLS LAST, position LIMIT 1
"""
FIND_TABLE = """
coalesce(to_regclass(quote_ident(name)), (
    SELECT oid FROM pg_class
    WHERE relname = name AND relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = $2)
))
"""
# A table of the list that is not there has no owner.
TABLE_RIGHTS = f"""
SELECT name, relowner IS NOT NULL AS exists,
       coalesce(pg_has_role(relowner, 'USAGE'), false) AS owned,
       ARRAY(
           SELECT privilege FROM unnest($3::text[]) AS privilege
           WHERE NOT has_table_privilege(pg_class.oid, privilege)
       ) AS missing
FROM unnest($1::text[]) AS name
LEFT JOIN pg_class ON pg_class.oid = {FIND_TABLE}
"""
SEQUENCE_RIGHTS = f"""
SELECT name, oid IS NOT NULL AS exists,
       coalesce(has_sequence_privilege(oid, 'USAGE'), false) AS usable
FROM (SELECT name, {FIND_TABLE} AS oid FROM unnest($1::text[]) AS name) AS sequence
"""


@dataclass(frozen=True, slots=True)
class SchemaRights:
    """A role, and what it may do in the schema of our tables; names are quoted where SQL needs it.

    `name` is as the catalogue has it.
    """

    role: str
    name: str
    quoted: str
    may_use: bool
    may_create: bool


@dataclass(frozen=True, slots=True)
class TableRights:
    """What a role lacks: for each table or sequence, the missing privileges.

    `absent` are those that do not exist.
    """

    lacking: dict[str, list[str]]
    absent: list[str]
    not_owned: list[str]


async def schema_rights(connection: UnpooledConnection) -> SchemaRights:
    """Return what the connected role may do in the schema that it uses, or would use.

    Raises `ConfigurationError` if no schema of its search path exists.
    """
    row = await connection.fetchrow(SCHEMA)
    if row is None:
        raise ConfigurationError(
            "No schema of the role's search_path exists; correct it by ALTER ROLE … SET search_path"
        )
    return SchemaRights(**row)


async def table_rights(
    connection: UnpooledConnection,
    schema: SchemaRights,
    tables: Sequence[str],
    sequences: Sequence[str] = (),
    privileges: Sequence[str] = PRIVILEGES,
) -> TableRights:
    """Return which rights on tables and sequences the connected role lacks."""
    of_tables = await connection.fetch(TABLE_RIGHTS, list(tables), schema.name, list(privileges))
    of_sequences = await connection.fetch(SEQUENCE_RIGHTS, list(sequences), schema.name)
    lacking = {row["name"]: row["missing"] for row in of_tables if row["exists"] and row["missing"]}
    lacking |= {
        row["name"]: ["USAGE"] for row in of_sequences if row["exists"] and not row["usable"]
    }
    return TableRights(
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
