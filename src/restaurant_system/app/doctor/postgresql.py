"""Check a PostgreSQL server: version, encoding, clock, schema, rights, number of connections."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from restaurant_system.app.doctor import certificates
from restaurant_system.app.doctor.findings import (
    Check,
    Finding,
    count,
    error,
    has_error,
    of_error,
    ok,
    run_check,
    run_checks,
    skipped,
    warning,
)
from restaurant_system.database import inspection, migrations
from restaurant_system.database.connection_factory import ConnectionFactory, UnpooledConnection
from restaurant_system.database.inspection import SchemaRights, TableRights
from restaurant_system.database.migrations import MIGRATIONS_TABLE, SchemaState
from restaurant_system.database.pooler import (
    ANOTHER_DATABASE,
    MISSING_SETTINGS,
    check_pooler,
    identity,
    is_behind_pooler,
    settings_cure,
)
from restaurant_system.database.replicas import ServerState, server_state
from restaurant_system.database.server_requirements import (
    LOWER_NEED,
    ConnectionLimit,
    check_encoding,
    connection_limits,
)
from restaurant_system.errors import (
    DatabaseReadOnly,
    DatabaseRefuses,
    DatabaseTlsFailed,
    DatabaseUnavailable,
    PoolerUnsuitable,
    StartupError,
)
from restaurant_system.logger import reason
from restaurant_system.models.clock import Clock

OLDEST, NEWEST = 14, 18  # major versions that are tested
SKEW_WARNING, SKEW_ERROR = 1.0, 30.0  # s
DIRECT_CURE = "correct database.direct_url: it is the server behind the pooler, with its database"
HOST_CURE = "start it as a replica, or remove it from database.hosts"
PRIMARY_CURE = (
    "stop all but the one that was promoted last, and make them replicas of it: what they were"
    " written since is lost"
)
CLOCK_CURE = "synchronise the clocks of both machines (NTP)"
MIGRATE = "run restaurant-system migrate; a service that starts does it too"
TLS_CURE = "correct database.sslmode, sslrootcert or the port, or replace the server's certificate"
OWN_NAME = "doctor"
MAX_AGE = 60  # s since the last commit that a replica which is behind has replayed
MAX_BEHIND = 16 * 2**20  # bytes of the write-ahead log: one segment
NAMED_MIGRATIONS = 3  # of more, the first and the last are named
UNREACHABLE = "PostgreSQL is unreachable"

Inspection = Callable[[UnpooledConnection], Awaitable[Sequence[Finding]]]


@dataclass(frozen=True, slots=True)
class Server:
    """A server to check; `advice` says what to do if it is unreachable.

    `factory` connects as services do: to a server that takes writes, unless it is a replica.
    `reader` takes any server. `needs` are the connections that each service may open on it. A
    replica has a `primary`, a pooler the server behind it, `direct`. Of several `hosts`, one takes
    writes.
    """

    area: str
    factory: ConnectionFactory
    reader: ConnectionFactory
    connect_timeout: float
    advice: str
    needs: Mapping[str, int]
    primary: ConnectionFactory | None = None
    direct: ConnectionFactory | None = None
    hosts: Mapping[str, ConnectionFactory] = field(default_factory=dict)

    @property
    def is_replica(self) -> bool:
        """Return whether it is a replica of another server, `primary`."""
        return self.primary is not None


async def check_server(server: Server, clock: Clock, found: list[Finding]) -> None:
    """Run all checks of a server, and append their findings to `found`.

    A server that takes no writes is checked all the same. If there is no connection at all, the
    other checks are skipped.
    """
    factory, skip = server.factory, None
    if has_error(await run_checks([_reachability(server, factory)], found)):
        factory = server.reader
        if has_error(await run_check(_reachability(server, factory))):
            skip = UNREACHABLE
    await run_checks(_checks(server, factory, clock), found, skip=skip)


def _reachability(server: Server, factory: ConnectionFactory) -> Check:
    async def connect() -> Sequence[Finding]:
        try:
            async with inspection.connected(factory) as connection:
                user = await connection.fetchval("SELECT current_user")
                database = await connection.fetchval("SELECT current_database()")
        except DatabaseReadOnly as failure:
            return [of_error(failure, "name the primary server, or let it take writes")]
        except DatabaseRefuses as refusal:
            return [of_error(refusal, inspection.cure_of_refusal(refusal) or server.advice)]
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
        schema = await inspection.schema_rights(connection)
        tables, sequences = state.expected("TABLE"), state.expected("SEQUENCE")
        if server.is_replica:
            readable = await inspection.table_rights(connection, schema, tables, (), ["SELECT"])
            return _reading_rights(schema, readable)
        rights = await inspection.table_rights(connection, schema, tables, sequences)
        return _rights(schema, rights, state)

    async def check_connections(connection: UnpooledConnection) -> Sequence[Finding]:
        limits = await connection_limits(connection, [*server.needs, OWN_NAME])
        return judge_connections(server.needs, limits)

    async def check_replication(connection: UnpooledConnection) -> Sequence[Finding]:
        assert server.primary is not None  # noqa: S101 - only a replica is checked
        async with inspection.connected(server.primary) as primary:
            return [judge_replication(await server_state(connection), await server_state(primary))]

    replication = [check("replication", check_replication)] if server.is_replica else []
    return [
        *replication,
        *_host_checks(server),
        *_pooler_checks(server, factory),
        check("certificate", check_certificate),
        check("version", _check_version, "upgrade PostgreSQL"),
        check("encoding", _check_encoding),
        check("clock", check_clock, CLOCK_CURE),
        check("migrations", check_schema, MIGRATE),
        check("rights", check_rights),
        check("connections", check_connections),
    ]


def _host_checks(server: Server) -> list[Check]:
    """Return the check that all of several hosts are there, and one of them takes writes."""

    async def check() -> Sequence[Finding]:
        states = await asyncio.gather(*map(_state_of, server.hosts.values()))
        found, primaries = [], {}
        for address, state in zip(server.hosts, states, strict=True):
            if isinstance(state, DatabaseUnavailable):
                found.append(warning(f"{address}: {reason(state)}", HOST_CURE))
            elif not state.is_replica:
                primaries[state.server] = address
        if len(primaries) > 1:
            found.append(error(f"{' and '.join(primaries.values())} take writes", PRIMARY_CURE))
        return found or [ok(f"all {len(states)} are there, and one takes writes")]

    if len(server.hosts) < 2:  # noqa: PLR2004 - several
        return []
    return [Check(f"{server.area}.hosts", check, HOST_CURE, server.connect_timeout + 1)]


async def _state_of(factory: ConnectionFactory) -> ServerState | DatabaseUnavailable:
    try:
        async with inspection.connected(factory) as connection:
            return await server_state(connection)
    except DatabaseUnavailable as failure:
        return failure


def _pooler_checks(server: Server, factory: ConnectionFactory) -> list[Check]:
    """Return the checks of a pooler before PostgreSQL, and of the server behind it."""

    async def check() -> Sequence[Finding]:
        async with inspection.connected(factory) as connection:
            if not await is_behind_pooler(connection):
                return [ok("there is no pooler before PostgreSQL")]
        try:
            role = await check_pooler(factory)
        except PoolerUnsuitable as failure:
            return [of_error(failure, DIRECT_CURE)]
        if role is not None:
            return [warning(MISSING_SETTINGS, settings_cure(role))]
        return [ok("the pooler keeps what services need")]

    async def check_direct() -> Sequence[Finding]:
        assert server.direct is not None  # noqa: S101 - only then it is checked
        async with (
            inspection.connected(factory) as pooled,
            inspection.connected(server.direct) as direct,
        ):
            if await is_behind_pooler(direct):
                try:
                    await check_pooler(server.direct)
                except PoolerUnsuitable as failure:
                    return [of_error(failure, DIRECT_CURE)]
            found, expected = [await identity(each) for each in (direct, pooled)]
        if found != expected:
            return [error(ANOTHER_DATABASE, DIRECT_CURE)]
        return [ok("it is the database behind the pooler")]

    checks = {} if server.is_replica else {"pooler": check}
    if server.direct is not None:
        checks["direct"] = check_direct
    return [Check(f"{server.area}.{name}", run, DIRECT_CURE) for name, run in checks.items()]


async def _check_version(connection: UnpooledConnection) -> Sequence[Finding]:
    return [judge_version(*await inspection.version(connection))]


def judge_replication(replica: ServerState, primary: ServerState) -> Finding:
    """Judge whether a server is a replica, and whether it has replayed what the primary wrote."""
    if not replica.is_replica:
        if replica.server == primary.server:
            return ok("it is the primary itself")
        return error(
            "it takes writes, but is not the primary",
            "name a streaming replica of the primary, or remove it from database.replicas",
        )
    if replica.position is None or primary.position is None:
        return warning("its position is unknown", "try again once it replays from the primary")
    behind = primary.position - replica.position  # the primary was measured last
    if behind < 0:
        return error(
            "it has replayed what the primary does not have",
            "make it anew as a replica of this primary, for example with pg_rewind",
        )
    age = replica.replayed_age or 0.0
    if behind > MAX_BEHIND or (behind and age > MAX_AGE):
        return warning(
            f"it is {behind / 2**20:.1f} MiB behind the primary, and what it has replayed last was"
            f" committed {age:.0f} s ago",
            "see why it does not receive or replay: pg_stat_replication, recovery_min_apply_delay",
        )
    return ok(f"it is {behind} bytes behind the primary")


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
    if not state.is_readable:
        return [skipped(f"not checked, because the role may not read {MIGRATIONS_TABLE}")]
    found = []
    if state.unknown:
        found.append(
            warning(
                f"the schema is newer than this release: {', '.join(state.unknown)}",
                "run the release that applied these migrations, or a later one",
            )
        )
    if state.pending:
        pending = state.pending
        several = len(pending) > NAMED_MIGRATIONS
        names = f"{pending[0]} to {pending[-1]}" if several else ", ".join(pending)
        found.append(
            error(f"the replica lacks {names}", "let the replica catch up with the primary")
            if server.is_replica
            else warning(f"{count(len(state.pending), 'pending migration')}: {names}", MIGRATE)
        )
    return found or [ok(f"the schema is up to date, with {state.applied[-1]}")]


def _rights(schema: SchemaRights, rights: TableRights, state: SchemaState) -> list[Finding]:
    """Return in one finding all that GRANT statements cure."""
    found = list(_missing_grants(schema, rights, may_create=schema.may_create))
    if rights.absent and state.is_readable:
        found.append(
            error(
                f"missing in the schema: {', '.join(rights.absent)}",
                "restore the database from a backup, or set the search_path of the role",
            )
        )
    if rights.not_owned:
        message = (
            f"{schema.role} does not own {', '.join(rights.not_owned)}, which migrations may alter"
        )
        cure = f"run ALTER TABLE … OWNER TO {schema.role} for each, or migrate as their owner"
        found.append(error(message, cure) if state.pending else warning(message, cure))
    return found or [ok(f"{schema.role} may read, write and migrate all tables")]


def _reading_rights(schema: SchemaRights, rights: TableRights) -> list[Finding]:
    found = list(_missing_grants(schema, rights, may_create=True))
    return found or [ok(f"{schema.role} may read all tables")]


def _missing_grants(
    schema: SchemaRights, rights: TableRights, *, may_create: bool
) -> Iterator[Finding]:
    """Yield one error with the statements that grant what is lacking, if anything is."""
    # The privileges, the kind of the objects as GRANT names it, and the objects.
    lacking: dict[tuple[str, str], list[str]] = {}
    of_schema = [] if schema.may_use else ["USAGE"]
    if not may_create:
        of_schema.append("CREATE")  # for migrations
    if of_schema:
        lacking[", ".join(of_schema), "SCHEMA "] = [schema.quoted]
    for name, privileges in rights.lacking.items():
        kind = "SEQUENCE " if privileges == ["USAGE"] else ""
        lacking.setdefault((", ".join(privileges), kind), []).append(name)
    if lacking:
        described = [
            f"{privileges} on {kind.lower()}{', '.join(names)}"
            for (privileges, kind), names in lacking.items()
        ]
        statements = [
            f"GRANT {privileges} ON {kind}{', '.join(names)} TO {schema.role}"
            for (privileges, kind), names in lacking.items()
        ]
        lacks = f"{schema.role} lacks {'; '.join(described)}"
        yield error(lacks, f"run {'; '.join(statements)}")


def judge_connections(needs: Mapping[str, int], limits: Sequence[ConnectionLimit]) -> list[Finding]:
    """Compare what one of each service may open with each limit that applies."""
    total = sum(needs.values())
    each = ", ".join(f"{name} {count}" for name, count in needs.items() if count)
    services = f"one of each service may open {total} ({each})"
    found = []
    for limit in limits:
        if limit.missing(total):
            judge = error if max(needs.values()) > limit.allowed else warning
            cure = f"{limit.cure(total)}, or {LOWER_NEED}"
            found.append(judge(f"{_used(limit)}, but {services}", cure))
    least = min(limits, key=lambda limit: limit.allowed - limit.open_elsewhere)
    return found or [ok(f"{_used(least)}, and {services}")]


def _used(limit: ConnectionLimit) -> str:
    return f"{limit.description}, of which others use {limit.open_elsewhere}"
