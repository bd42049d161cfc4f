"""Run all checks in their order, for each of the three shapes of a configuration."""

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from restaurant_system.app.doctor import broker, configuration, machine
from restaurant_system.app.doctor.broker import DatabaseAccess
from restaurant_system.app.doctor.findings import (
    Finding,
    Level,
    has_error,
    of_error,
    run_checks,
    skipped,
)
from restaurant_system.app.doctor.postgresql import OWN_NAME, UNREACHABLE, Server, check_server
from restaurant_system.app.runtime import EMBEDDED_POOL, connections_needed
from restaurant_system.config import ServerSettings, Settings
from restaurant_system.database import embedded
from restaurant_system.database.connection import ADVICE
from restaurant_system.database.connection_factory import ConnectionFactory
from restaurant_system.errors import ConfigurationError, StartupError
from restaurant_system.models.clock import Clock, utc_now

Shape = Literal["embedded", "postgresql", "postgresql_and_rabbitmq", "embedded_and_rabbitmq"]

NOT_RUNNING = "the embedded PostgreSQL does not run"
START_IT = "doctor does not start it; run doctor again while restaurant-system is up"
DIRECTORY_CURE = "choose another directory with data_dir"


@dataclass(slots=True)
class Report:
    """The findings of a run; `shape` is `None` if the configuration cannot be loaded.

    It is complete once all checks have ended.
    """

    checked_at: datetime
    shape: Shape | None
    findings: list[Finding] = field(default_factory=list)
    is_complete: bool = False

    def count(self, level: Level) -> int:
        """Return the number of findings of a level."""
        return sum(each.level is level for each in self.findings)

    @property
    def worst(self) -> Literal["ok", "warning", "error"]:
        """The worst level of all findings; what was skipped does not count."""
        if has_error(self.findings):
            return "error"
        return "warning" if self.count(Level.WARNING) else "ok"


def report_of_refused_configuration(failure: ConfigurationError, clock: Clock = utc_now) -> Report:
    """Return the report on a configuration that cannot be loaded."""
    return Report(clock(), None, [configuration.refused(failure)], is_complete=True)


def start_report(settings: Settings, clock: Clock = utc_now) -> Report:
    """Return the report on settings, without a finding."""
    return Report(clock(), _shape(settings))


async def diagnose(
    settings: Settings,
    report: Report,
    *,
    clock: Clock = utc_now,
    free_space: machine.FreeSpace = machine.free_space,
) -> None:
    """Run all checks, one after the other, and add what they find to the report."""
    found = report.findings
    await run_checks(
        [*configuration.checks(settings, clock), *machine.checks(settings, free_space)], found
    )
    with contextlib.ExitStack() as stack:
        try:
            server = _primary(settings, stack)
        except StartupError as failure:
            found.append(_about_connection(of_error(failure, DIRECTORY_CURE)))
            reason = "the data directory cannot be used"
            await _check_with(None, reason, settings, clock, found)
        else:
            if server is None:
                found.append(_about_connection(skipped(f"{NOT_RUNNING}, and {START_IT}")))
            await _check_with(server, NOT_RUNNING, settings, clock, found)
    report.is_complete = True


async def _check_with(
    server: Server | None, unusable: str, settings: Settings, clock: Clock, found: list[Finding]
) -> None:
    """Check the database and the broker; without a server, say why what needs one is skipped."""
    database = DatabaseAccess(None, unusable)
    if server is not None:
        await check_server(server, clock, found)
        database = DatabaseAccess(server.factory, _skip_reason(found), server.direct)
    for replica in _replicas(settings):
        await check_server(replica, clock, found)
    if settings.rabbitmq is None:
        await broker.check_queue_table(database, found)
    else:
        await broker.check_rabbitmq(settings, settings.rabbitmq, database, clock, found)
    await broker.check_outbox(database, found)


def _skip_reason(found: Sequence[Finding]) -> str | None:
    """Return why checks that read our tables are skipped; `None` if they can run."""
    levels = {(each.check, each.level) for each in found}
    if ("postgresql.rights", Level.SKIPPED) in levels:
        return UNREACHABLE
    if ("postgresql.connection", Level.ERROR) in levels:
        return "PostgreSQL takes no writes"
    if ("postgresql.migrations", Level.WARNING) in levels:
        return "the schema is not that of this release"
    if ("postgresql.rights", Level.ERROR) in levels:
        return "of what postgresql.rights found"
    if ("postgresql.migrations", Level.OK) not in levels:
        return "the schema could not be read"
    return None


def _about_connection(finding: Finding) -> Finding:
    return dataclasses.replace(finding, check="postgresql.connection")


def _primary(settings: Settings, stack: contextlib.ExitStack) -> Server | None:
    """Return the configured server, or the embedded one if it runs.

    Raises `StartupError` if the data directory of the embedded one cannot be used.
    """
    needs = connections_needed(settings)
    together = needs.pop("up")
    database = settings.database
    if database is not None:
        server, direct = _server("postgresql", database.dsn(), database, ADVICE, needs), None
        servers = database.direct()
        if database.direct_url is not None:
            direct = _factory(servers.dsn(), servers)
        hosts = {
            address: _factory(dsn, servers, read_only=True)
            for address, dsn in servers.dsns().items()
        }
        return dataclasses.replace(server, direct=direct, hosts=hosts)
    dsn = stack.enter_context(embedded.dsn_if_running(settings.data_dir))
    if dsn is None:
        return None
    advice = embedded.advice(settings.data_dir)
    return _server("postgresql", dsn, EMBEDDED_POOL, advice, {"up": together})


def _replicas(settings: Settings) -> Iterator[Server]:
    """Yield the replicas; of several, the area has the address."""
    database = settings.database
    if database is None:
        return
    servers = database.replica_servers()
    primary = _factory(database.dsn(), database)
    for name, replica in servers.items():
        area = "replica" if len(servers) == 1 else f"replica.{name}"
        needs = {"tracking-service": settings.tracking_service.processes * (replica.pool_max + 1)}
        yield _server(area, replica.dsn(), replica, ADVICE, needs, primary=primary)


def _server(
    area: str,
    dsn: str,
    settings: ServerSettings,
    advice: str,
    needs: Mapping[str, int],
    *,
    primary: ConnectionFactory | None = None,
) -> Server:
    reader = _factory(dsn, settings, read_only=True)
    return Server(
        area=area,
        factory=_factory(dsn, settings) if primary is None else reader,
        reader=reader,
        connect_timeout=settings.connect_timeout,
        advice=advice[0].lower() + advice[1:],
        needs=needs,
        primary=primary,
    )


def _factory(dsn: str, settings: ServerSettings, *, read_only: bool = False) -> ConnectionFactory:
    return ConnectionFactory(dsn, settings, application_name=OWN_NAME, read_only=read_only)


def _shape(settings: Settings) -> Shape:
    database: Literal["embedded", "postgresql"]
    database = "embedded" if settings.database is None else "postgresql"
    if settings.rabbitmq is None:
        return database
    return "embedded_and_rabbitmq" if database == "embedded" else "postgresql_and_rabbitmq"
