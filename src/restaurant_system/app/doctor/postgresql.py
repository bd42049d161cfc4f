"""Check a PostgreSQL server: version, encoding, clock, schema, rights, number of connections."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from restaurant_system.app.doctor import certificates
from restaurant_system.app.doctor.findings import (
    Check,
    Finding,
    count,
    error,
    has_error,
    of_error,
    ok,
    run_checks,
    warning,
)
from restaurant_system.database import inspection, migrations
from restaurant_system.database.connection_factory import ConnectionFactory, UnpooledConnection
from restaurant_system.database.inspection import Rights
from restaurant_system.database.migrations import SchemaState
from restaurant_system.database.server_requirements import check_encoding, connection_limit
from restaurant_system.errors import DatabaseReadOnly, DatabaseTlsFailed, StartupError
from restaurant_system.models.clock import Clock

OLDEST, NEWEST = 14, 18  # major versions that are tested
SKEW_WARNING, SKEW_ERROR = 1.0, 30.0  # s
CLOCK_CURE = "synchronise the clocks of both machines (NTP)"
MIGRATE = "run restaurant-system migrate; a service that starts does it too"
TLS_CURE = "replace the server's certificate, or correct database.sslmode and sslrootcert"
OWN_NAME = "doctor"
UNREACHABLE = "PostgreSQL is unreachable"

Inspection = Callable[[UnpooledConnection], Awaitable[Sequence[Finding]]]


@dataclass(frozen=True, slots=True)
class Server:
    """A server to check; `advice` says what to do if it is unreachable.

    `factory` connects as services do: to a server that takes writes, unless it is a replica.
    `reader` takes any server. `needs` are the connections that each service may open on it.
    """

    area: str
    factory: ConnectionFactory
    reader: ConnectionFactory
    connect_timeout: float
    advice: str
    needs: Mapping[str, int]
    is_replica: bool = False


async def check_server(server: Server, clock: Clock) -> list[Finding]:
    """Run all checks of a server.

    A server that takes no writes is checked all the same. If there is no connection at all, the
    other checks are skipped.
    """
    found = await run_checks([_reachability(server, server.factory)])
    factory = server.factory
    if has_error(found) and not has_error(await run_checks([_reachability(server, server.reader)])):
        factory = server.reader
    elif has_error(found):
        return found + await run_checks(_checks(server, factory, clock), skip=UNREACHABLE)
    return found + await run_checks(_checks(server, factory, clock))


def _reachability(server: Server, factory: ConnectionFactory) -> Check:
    async def connect() -> Sequence[Finding]:
        try:
            async with inspection.connected(factory) as connection:
                user = await connection.fetchval("SELECT current_user")
                database = await connection.fetchval("SELECT current_database()")
        except DatabaseReadOnly as failure:
            return [of_error(failure, "name the primary server, or let it take writes")]
        except DatabaseTlsFailed as failure:
            return [of_error(failure, TLS_CURE)]
        return [ok(f"connected to the database {database} as {user}")]

    timeout = server.connect_timeout + 1  # longer than asyncpg's own, whose error says more
    return Check(f"{server.area}.connection", connect, server.advice, timeout)


def _checks(server: Server, factory: ConnectionFactory, clock: Clock) -> list[Check]:
    def check(name: str, inspect: Inspection, cure: str = server.advice) -> Check:
        async def run() -> Sequence[Finding]:
            async with inspection.inspecting(factory) as connection:
                return await inspect(connection)

        return Check(f"{server.area}.{name}", run, cure)

    async def check_clock(connection: UnpooledConnection) -> Sequence[Finding]:
        return [_clock(await inspection.clock_skew(connection, clock))]

    async def check_certificate(connection: UnpooledConnection) -> Sequence[Finding]:
        der = inspection.peer_certificate(connection)
        return [certificates.check_server_certificate(der, clock)]

    async def check_schema(connection: UnpooledConnection) -> Sequence[Finding]:
        return list(_schema(await migrations.schema_state(connection), server))

    async def check_rights(connection: UnpooledConnection) -> Sequence[Finding]:
        state = await migrations.schema_state(connection)
        tables = state.expected("TABLE")
        if server.is_replica:
            lacking = await inspection.rights(connection, tables, [], ("SELECT",))
            return _reading_rights(lacking)
        rights = await inspection.rights(connection, tables, state.expected("SEQUENCE"))
        return _rights(rights, state)

    async def check_connections(connection: UnpooledConnection) -> Sequence[Finding]:
        limit = await connection_limit(connection, [*server.needs, OWN_NAME])
        return [_connections(server.needs, limit.allowed, limit.open_elsewhere)]

    return [
        check("certificate", check_certificate),
        check("version", _check_version, "upgrade PostgreSQL"),
        check("encoding", _check_encoding),
        check("clock", check_clock, CLOCK_CURE),
        check("migrations", check_schema, MIGRATE),
        check("rights", check_rights),
        check("connections", check_connections),
    ]


async def _check_version(connection: UnpooledConnection) -> Sequence[Finding]:
    return [judge_version(*await inspection.version(connection))]


def judge_version(major: int, name: str) -> Finding:
    """Judge a version by its first number."""
    if major < OLDEST:
        return error(
            f"PostgreSQL {name} is not supported", f"upgrade to PostgreSQL {OLDEST} or later"
        )
    if major > NEWEST:
        return warning(
            f"PostgreSQL {name} is newer than the tested ones",
            f"use PostgreSQL {OLDEST} to {NEWEST}, or a later restaurant-system",
        )
    return ok(f"PostgreSQL {name}")


async def _check_encoding(connection: UnpooledConnection) -> Sequence[Finding]:
    try:
        await check_encoding(connection)
    except StartupError as failure:
        return [of_error(failure, "create a database with the encoding UTF8")]
    return [ok("UTF8")]


def _clock(skew: inspection.ClockSkew) -> Finding:
    """Judge the part of the difference that is certain."""
    apart = abs(skew.ahead)
    direction = "ahead of" if skew.ahead > 0 else "behind"
    message = f"PostgreSQL's clock is {apart:.3f} s {direction} this machine's"
    certain = apart - skew.inexact
    if certain > SKEW_ERROR:
        return error(message, CLOCK_CURE)
    return warning(message, CLOCK_CURE) if certain > SKEW_WARNING else ok(message)


def _schema(state: SchemaState, server: Server) -> list[Finding]:
    found = []
    if state.unknown:
        found.append(
            warning(
                f"the schema is newer than this release: {', '.join(state.unknown)}",
                "run the release that applied these migrations, or a later one",
            )
        )
    if state.pending:
        names = ", ".join(state.pending)
        found.append(
            error(f"the replica lacks {names}", "let the replica catch up with the primary")
            if server.is_replica
            else warning(f"{count(len(state.pending), 'pending migration')}: {names}", MIGRATE)
        )
    return found or [ok(f"the schema is up to date, with {state.applied[-1]}")]


def _rights(rights: Rights, state: SchemaState) -> list[Finding]:
    found = []
    if rights.schema is None:
        cure = f"run GRANT USAGE, CREATE ON SCHEMA public TO {rights.role}, or set its search_path"
        found.append(error(f"{rights.role} may use no schema of its search_path", cure))
    elif not rights.may_create:
        found.append(
            error(
                f"{rights.role} may not create tables in the schema {rights.schema}, as migrations"
                " do",
                f"run GRANT CREATE ON SCHEMA {rights.schema} TO {rights.role}",
            )
        )
    if rights.lacking:
        found.append(error(f"{rights.role} lacks {_listed(rights.lacking)}", _grants(rights)))
    if rights.absent:
        found.append(
            error(
                f"missing in the schema: {', '.join(rights.absent)}",
                "restore the database from a backup, or set the search_path of the role",
            )
        )
    if rights.not_owned:
        message = (
            f"{rights.role} does not own {', '.join(rights.not_owned)}, which migrations may alter"
        )
        cure = f"run ALTER TABLE … OWNER TO {rights.role} for each, or migrate as their owner"
        found.append(error(message, cure) if state.pending else warning(message, cure))
    return found or [ok(f"{rights.role} may read, write and migrate all tables")]


def _reading_rights(rights: Rights) -> list[Finding]:
    if rights.lacking:
        return [error(f"{rights.role} lacks {_listed(rights.lacking)}", _grants(rights))]
    return [ok(f"{rights.role} may read all tables")]


def _listed(lacking: dict[str, list[str]]) -> str:
    return "; ".join(f"{', '.join(rights)} on {name}" for name, rights in lacking.items())


def _grants(rights: Rights) -> str:
    """Return the statements that grant what is lacking, those of equal privileges together."""
    tables: dict[str, list[str]] = {}
    for name, privileges in rights.lacking.items():
        kind = "SEQUENCE " if privileges == ["USAGE"] else ""
        tables.setdefault(f"{', '.join(privileges)} ON {kind}", []).append(name)
    statements = (f"GRANT {on}{', '.join(names)} TO {rights.role}" for on, names in tables.items())
    return f"run {'; '.join(statements)}"


def _connections(needs: Mapping[str, int], allowed: int, elsewhere: int) -> Finding:
    """Compare what one of each service may open with what the server allows."""
    total = sum(needs.values())
    each = ", ".join(f"{name} {count}" for name, count in needs.items() if count)
    message = f"PostgreSQL allows {allowed} connections, {elsewhere} are used by other programs"
    missing = total + elsewhere - allowed
    if missing <= 0:
        return ok(f"{message}, and one of each service may open {total} ({each})")
    cure = (
        f"raise max_connections, or the limit of the role or the database, by {missing}, or lower"
        " database.pool_max"
    )
    message = f"{message}, but one of each service may open {total} ({each})"
    largest = max(needs.values())
    return error(message, cure) if largest > allowed else warning(message, cure)
