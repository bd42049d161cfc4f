"""`doctor` as a command: exit codes and output for each shape of a configuration."""

import json
import signal
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.support.deployments import QUICK_SETTINGS, environment
from tests.support.processes import Process, Processes, free_port, processes
from tests.support.waiting import wait_until

UNREACHABLE = {
    "RESTAURANT_DATABASE__URL": "postgresql://postgres:s3cret@127.0.0.1:1/name",
    "RESTAURANT_RABBITMQ__URL": "amqp://cook:s3cret@127.0.0.1:1/",
}


def findings(process: Process) -> dict[str, dict[str, Any]]:
    """Return the findings that `doctor --json` printed, by check."""
    return {each["check"]: each for each in json.loads(process.stdout)["findings"]}


def test_servers_that_are_away_are_one_line_each_and_exit_with_1(commands: Processes) -> None:
    """Nothing is printed on stderr, and no line contains the password."""
    process = commands.start("doctor", **UNREACHABLE)

    assert process.wait() == 1
    errors = [line for line in process.stdout.splitlines() if line.startswith("error")]
    assert [line.split()[1] for line in errors] == ["postgresql.connection", "broker.connection"]
    assert all("unreachable: connection refused → check that" in line for line in errors)
    assert process.stdout.endswith("2 errors, no warnings.\n")
    assert process.stderr == ""
    assert "s3cret" not in process.stdout


def test_invalid_configuration_exits_with_1_and_is_one_json_document(commands: Processes) -> None:
    process = commands.start("doctor", "--json", RESTAURANT_KITCHEN__CHEFS="3")

    assert process.wait() == 1
    assert "kitchen.chefs" in findings(process)["configuration.settings"]["message"]
    assert process.stderr == ""


@pytest.mark.parametrize("as_json", [False, True])
def test_interrupted_doctor_prints_what_was_found_and_exits_with_1(
    commands: Processes, *, as_json: bool
) -> None:
    """It is interrupted while it waits for a server that never answers."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql://ada@127.0.0.1:{silent.getsockname()[1]}/x?sslmode=disable"
        options = ["--json"] if as_json else []
        process = commands.start("doctor", *options, RESTAURANT_DATABASE__URL=url)
        silent.settimeout(30)
        connection, _ = silent.accept()
        process.signal(signal.SIGINT)

        assert process.wait() == 1
        connection.close()

    if as_json:
        assert json.loads(process.stdout)["complete"] is False
        assert findings(process).keys() >= {"configuration.settings", "machine.open_files"}
    else:
        assert "configuration.settings" in process.stdout
        assert process.stdout.splitlines()[-1].endswith(" so far.")
    assert "postgresql.connection" not in process.stdout
    assert process.stderr == (
        "restaurant-system: Interrupted before all checks were done; run doctor again.\n"
    )


def test_servers_in_use_exit_with_0(
    commands: Processes, dsn: str, optional_amqp_url: str | None
) -> None:
    process = commands.start("doctor", "--json", **environment(dsn, optional_amqp_url))

    assert process.wait() == 0, process.stdout
    document = json.loads(process.stdout)
    assert document["status"] == "ok"
    expected = "postgresql" if optional_amqp_url is None else "postgresql_and_rabbitmq"
    assert document["shape"] == expected
    assert "a message came back after" in findings(process)["broker.round_trip"]["message"]


def test_embedded_database_is_checked_while_it_runs_and_never_started(data_dir: Path) -> None:
    """A server that runs is neither stopped nor locked."""
    with processes({**QUICK_SETTINGS, "RESTAURANT_DATA_DIR": str(data_dir)}) as started:
        before = started.start("doctor", "--json")
        assert before.wait() == 0, before.stdout
        assert findings(before)["postgresql.connection"]["level"] == "skipped"
        assert list(data_dir.iterdir()) == []

        app = started.start("up", "--port", str(free_port()))
        app.wait_for("service_started")
        during = started.start("doctor", "--json")
        assert during.wait() == 0, during.stdout
        assert findings(during)["postgresql.connection"]["level"] == "ok"
        assert findings(during)["broker.round_trip"]["level"] == "ok"
        assert app.stop() == 0
        wait_until(
            lambda: not (data_dir / "postgres" / "postmaster.pid").exists(),
            seconds=30,
            doing="for PostgreSQL to stop",
        )

        after = started.start("doctor", "--json")
        assert after.wait() == 0, after.stdout
        assert findings(after)["postgresql.connection"]["level"] == "skipped"
        assert not (data_dir / "postgres" / "postmaster.pid").exists()
