"""The findings of `doctor`, how they are judged, and how they are printed."""

import asyncio
import json
import socket
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml

from restaurant_system.app import doctor
from restaurant_system.app.doctor import (
    Finding,
    Level,
    Report,
    broker,
    certificates,
    machine,
    postgresql,
)
from restaurant_system.app.doctor.findings import Check, error, ok, run_check, warning
from restaurant_system.app.runtime import connections_needed
from restaurant_system.cli import doctor_output
from restaurant_system.config import Settings
from restaurant_system.database.replicas import ServerState
from restaurant_system.errors import ConfigurationError, DatabaseUnavailable
from restaurant_system.models.clock import utc_now
from tests.support import json_schema
from tests.support.certificates import CertificateAuthority
from tests.support.doctor import diagnose, faults, levels

NOON = datetime(2024, 12, 16, 12, 0, tzinfo=UTC)
REPORT = Report(
    NOON,
    "postgresql",
    [
        Finding(Level.OK, "PostgreSQL 18.1", check="replica.db2.example.org:5432.version"),
        Finding(Level.ERROR, "two\nlines\x1b[2J", "run this", "broker.rights"),
        Finding(Level.SKIPPED, "not checked", check="outbox"),
        Finding(Level.WARNING, "slow", "wait", "postgresql.clock"),
    ],
    is_complete=True,
)
GUIDE = Path(__file__).parents[2] / "docs" / "operations.md"


def test_each_finding_is_one_line_with_its_cure_and_faults_come_first(
    capsys: pytest.CaptureFixture[str],
) -> None:
    doctor_output.print_lines(REPORT)

    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines] == [
        ["error", "broker.rights", r"two\nlines\x1b[2J", "→", "run", "this"],
        ["warning", "postgresql.clock", "slow", "→", "wait"],
        ["ok", "replica.db2.example.org:5432.version", "PostgreSQL", "18.1"],
        ["skipped", "outbox", "not", "checked"],
        ["1", "error,", "1", "warning."],
    ]


def test_json_is_one_document_of_the_documented_schema(capsys: pytest.CaptureFixture[str]) -> None:
    doctor_output.print_json(REPORT)

    document = json.loads(capsys.readouterr().out)
    assert document["status"] == "error"
    assert document["checked_at"] == "2024-12-16T12:00:00.000Z"
    assert document["findings"][1] == {
        "check": "broker.rights",
        "level": "error",
        "message": "two\nlines\x1b[2J",
        "cure": "run this",
    }
    _, _, documented = GUIDE.read_text(encoding="utf-8").partition("```yaml\n# doctor --json\n")
    schema = yaml.safe_load(documented.partition("```")[0])
    assert json_schema.faults(document, schema) == []
    assert schema["additionalProperties"] is False


@pytest.mark.parametrize(
    ("found", "status"),
    [
        ([ok("")], "ok"),
        ([ok(""), warning("", "")], "warning"),
        ([warning("", ""), error("", "")], "error"),
    ],
)
def test_status_is_the_worst_level(found: list[Finding], status: str) -> None:
    assert Report(NOON, None, found).worst == status


async def hang() -> Sequence[Finding]:
    await asyncio.sleep(60)
    return []


async def fail() -> Sequence[Finding]:
    raise KeyError("s3cret")


async def refuse() -> Sequence[Finding]:
    raise DatabaseUnavailable("PostgreSQL unreachable: connection refused")


async def refuse_with_advice() -> Sequence[Finding]:
    raise DatabaseUnavailable("The disk is full; free some space.")


async def test_check_that_hangs_ends_with_its_cure() -> None:
    (found,) = await run_check(Check("a.check", hang, "restart it", timeout=0.01))

    assert found == Finding(Level.ERROR, "no answer within 0.01 s", "restart it", "a.check")


async def test_unexpected_error_is_a_finding_without_its_text() -> None:
    (found,) = await run_check(Check("a.check", fail, "restart it"))

    assert found.level is Level.ERROR
    assert "KeyError at test_doctor.py:" in found.message
    assert "s3cret" not in found.message


async def test_advice_of_an_error_is_the_cure() -> None:
    (without,) = await run_check(Check("a.check", refuse, "restart it"))
    (with_advice,) = await run_check(Check("a.check", refuse_with_advice, "restart it"))

    assert (without.message, without.cure) == (
        "PostgreSQL unreachable: connection refused",
        "restart it",
    )
    assert (with_advice.message, with_advice.cure) == ("The disk is full", "free some space")


@pytest.mark.parametrize(
    ("free", "level"), [(machine.LEAST_SPACE - 1, Level.ERROR), (machine.GIB, Level.WARNING)]
)
async def test_little_disk_space_is_named(tmp_path: Path, free: int, level: Level) -> None:
    found = faults(await diagnose(data_dir=tmp_path / "new", free_space=lambda _: free))

    assert found["machine.disk"].level is level
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("limit", "level"), [(256, Level.ERROR), (1024, Level.WARNING), (8192, Level.OK)]
)
def test_low_limit_of_open_files_is_named(limit: int, level: Level) -> None:
    assert machine.check_open_files(limit).level is level


@pytest.mark.parametrize(
    ("remaining", "level"),
    [
        (timedelta(0), Level.ERROR),
        (timedelta(days=29), Level.WARNING),
        (timedelta(days=31), Level.OK),
    ],
)
def test_certificate_is_judged_by_its_remaining_days(
    tmp_path: Path, remaining: timedelta, level: Level
) -> None:
    identity = CertificateAuthority(tmp_path).server("localhost")
    expiry = datetime(3000, 1, 1, tzinfo=UTC)  # of every certificate that trustme issues

    (found,) = certificates.check_file(identity.certificate, lambda: expiry - remaining)

    assert found.level is level


async def test_client_certificate_in_a_url_is_checked(tmp_path: Path) -> None:
    identity = CertificateAuthority(tmp_path).client("ada")
    url = (
        f"postgresql://ada@127.0.0.1:1/x?sslmode=require&sslcert={identity.certificate}"
        f"&sslkey={identity.key}"
    )

    found = faults(
        await diagnose(database={"url": url}, clock=lambda: utc_now() + timedelta(days=365_250))
    )

    assert f"{identity.certificate} expired on" in found["configuration.certificates"].message


@pytest.mark.parametrize(
    ("version", "level"),
    [
        ("3.9.29", Level.ERROR),
        ("", Level.ERROR),
        ("3.10.0", Level.OK),
        ("4.3.6", Level.OK),
        ("5.0.0", Level.WARNING),
    ],
)
def test_version_of_rabbitmq_is_compared_with_the_tested_ones(version: str, level: Level) -> None:
    assert broker.judge_version(version).level is level


@pytest.mark.parametrize(
    ("major", "level"),
    [(13, Level.ERROR), (14, Level.OK), (18, Level.OK), (19, Level.WARNING)],
)
def test_version_of_postgresql_is_compared_with_the_tested_ones(major: int, level: Level) -> None:
    assert postgresql.judge_version(major, f"{major}.1").level is level


@pytest.mark.parametrize(
    ("position", "age", "level"),
    [
        (1000, 7200, Level.OK),  # of an idle primary
        (999, 1, Level.OK),
        (999, 300, Level.WARNING),
        (-(2**24), 1, Level.WARNING),
        (1001, 1, Level.ERROR),
    ],
)
def test_replica_is_judged_by_what_it_has_replayed(position: int, age: float, level: Level) -> None:
    replica = ServerState(0, "a", position, is_replica=True, replayed_age=age)
    primary = ServerState(0, "b", 1000, is_replica=False, replayed_age=None)

    assert postgresql.judge_replication(replica, primary).level is level


async def test_faulty_menu_and_language_are_errors(tmp_path: Path) -> None:
    menu = tmp_path / "menu.yaml"
    menu.write_text("sections: 3")

    found = faults(
        await diagnose(
            data_dir=tmp_path / "new",
            order_service={"menu": str(menu)},
            language="tlh",
        )
    )

    assert found.keys() == {
        "configuration.menu",
        "configuration.pages",
    }
    assert "menu.yaml" in found["configuration.menu"].message


async def test_default_priority_thresholds_in_yen_are_a_warning(tmp_path: Path) -> None:
    found = faults(await diagnose(data_dir=tmp_path / "new", currency="JPY"))

    assert found["configuration.settings"].level is Level.WARNING
    assert "kitchen.priority_thresholds" in (found["configuration.settings"].cure or "")


@pytest.mark.parametrize(
    ("currency", "thresholds", "is_unsuitable"),
    [
        ("JPY", {}, True),
        ("JPY", {10: 15000}, True),
        ("JPY", {5: 7500, 10: 15000}, False),
        ("EUR", {}, False),
        (None, {}, False),
    ],
)
def test_default_thresholds_suit_only_currencies_with_decimals(
    currency: str | None, thresholds: dict[int, int], *, is_unsuitable: bool
) -> None:
    kitchen = {"priority_thresholds": thresholds}
    settings = Settings.model_validate({"currency": currency, "kitchen": kitchen})

    assert settings.has_unsuitable_thresholds is is_unsuitable


async def test_embedded_database_that_does_not_run_is_not_created(tmp_path: Path) -> None:
    findings = await diagnose(data_dir=tmp_path / "new")

    assert faults(findings) == {}
    assert levels(findings)["postgresql.connection"] is Level.SKIPPED
    assert levels(findings)["broker.round_trip"] is Level.SKIPPED
    assert not (tmp_path / "new").exists()


async def test_data_directory_that_is_a_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    found = faults(await diagnose(data_dir=tmp_path / "file"))

    assert found["machine.disk"].message == f"{tmp_path / 'file'} is not a folder"


async def test_reason_why_a_host_is_unknown_is_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail_to_resolve(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail_to_resolve)
    unknown = {"host": "server.invalid"}

    found = faults(await diagnose(database=unknown, rabbitmq=unknown))

    for check in ("postgresql.connection", "broker.connection"):
        assert found[check].message.endswith("unreachable: name or service not known")


async def test_damaged_data_directory_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "postgres").mkdir()
    (tmp_path / "postgres" / "base").mkdir()

    found = faults(await diagnose(data_dir=tmp_path))

    assert "PG_VERSION is missing" in found["postgresql.connection"].message
    assert (found["postgresql.connection"].cure or "").startswith("restore it from a backup")


async def test_unreachable_servers_are_one_error_each(tmp_path: Path) -> None:
    closed = {"host": "127.0.0.1", "port": 1}

    found = faults(
        await diagnose(data_dir=tmp_path, database={**closed, "replica": closed}, rabbitmq=closed)
    )

    assert found.keys() == {"postgresql.connection", "replica.connection", "broker.connection"}


def test_connections_of_each_service_are_summed() -> None:
    database = {"pool_max": 4}
    counts = {"order_service": {"processes": 2}, "kitchen_display": {"stations": 6}}

    alone = connections_needed(Settings.model_validate({"database": database, **counts}))
    with_servers = connections_needed(
        Settings.model_validate(
            {"database": {**database, "replica": {}}, "rabbitmq": {}, **counts}
        ),
        cooks=2,
    )

    assert alone == {
        "order-service": 14,
        "kitchen-worker": 6,
        "kitchen-display": 11,
        "tracking-service": 10,
        "notification-subscriber": 6,
        "up": 20,
    }
    assert with_servers["tracking-service"] == 10
    assert with_servers["notification-subscriber"] == 0
    assert with_servers["up"] == 10


def test_refused_configuration_is_a_report() -> None:
    report = doctor.report_of_refused_configuration(ConfigurationError("kitchen.chefs: unknown."))

    assert report.worst == "error"
    assert report.findings[0].message == "kitchen.chefs: unknown"
