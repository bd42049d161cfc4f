"""Services that wait for their dependencies before they can start."""

import contextlib
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from restaurant_system.database import migrations
from tests.support.deployments import DatabaseClient, error_message
from tests.support.postgres_server import Postgres
from tests.support.processes import Process, Processes, free_port
from tests.support.waiting import wait_until

UNREACHABLE = "postgresql://postgres@127.0.0.1:1/none"  # a port that refuses connections
HTTP_SERVICES = [
    ["order-service"],
    ["order-service", "--processes", "2"],
    ["kitchen-display"],
    ["tracking-service"],
    ["up", "--no-worker"],
]


class Service:
    """A started HTTP service that waits for its database."""

    def __init__(self, commands: Processes, command: list[str], **variables: str) -> None:
        self.port = free_port()
        self.process: Process = commands.start(*command, "--port", str(self.port), **variables)
        wait_until(
            lambda: not self.process.running or self.status("GET", "/health") is not None,
            seconds=30,
            doing="for the port to answer",
        )

    def request(self, method: str, path: str, **content: str) -> httpx.Response:
        """Send an HTTP request to the service."""
        address = f"http://127.0.0.1:{self.port}{path}"
        return httpx.request(method, address, timeout=5, verify=False, data=content or None)  # noqa: S501 - no TLS

    def status(self, method: str, path: str) -> int | None:
        """Return the status of a response, `None` if nothing listens."""
        try:
            return self.request(method, path).status_code
        except httpx.TransportError:
            return None


@pytest.mark.parametrize("command", HTTP_SERVICES, ids=" ".join)
def test_service_that_waits_for_its_database_answers_503_and_stops_at_once(
    commands: Processes, data_dir: Path, command: list[str]
) -> None:
    """SIGTERM during the wait ends the service with exit code 0."""
    service = Service(
        commands,
        command,
        RESTAURANT_DATABASE__URL=UNREACHABLE,
        RESTAURANT_DATA_DIR=str(data_dir),
    )

    health, order = (
        service.request("GET", "/health"),
        service.request("POST", "/orders", name="Ada"),
    )

    assert (health.status_code, health.json()["status"]) == (503, "unavailable")
    assert service.status("GET", "/health/live") == 200
    assert order.status_code == 503
    assert order.headers["Content-Type"] == "application/problem+json"
    assert order.headers["X-Request-ID"] == order.json()["request_id"]
    assert "starting" in order.json()["detail"]
    assert health.headers["Retry-After"] == order.headers["Retry-After"] == "1"
    with socket.create_connection(("127.0.0.1", service.port)) as half_sent:
        half_sent.sendall(b"POST /orders HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{")
        time.sleep(0.1)  # for its head to be read
        start = time.monotonic()
        assert service.process.stop() == 0
    assert time.monotonic() - start < 3
    assert error_message(service.process) == ""
    assert not [line for line in service.process.logs if line["level"] == "ERROR"]


@pytest.mark.parametrize(("count", "timeout"), [("1", "1"), ("2", "3")])
def test_database_that_stays_unreachable_ends_an_http_service_with_1(
    commands: Processes, count: str, timeout: str
) -> None:
    """Requests during the wait do not change the exit code and the one line on stderr."""
    service = Service(
        commands,
        ["order-service", "--processes", count],
        RESTAURANT_DATABASE__URL=UNREACHABLE,
        RESTAURANT_STARTUP_TIMEOUT=timeout,
    )

    assert service.status("GET", "/health") == 503
    assert service.process.wait() == 1
    assert error_message(service.process).count("\n") == 1
    assert "Check that PostgreSQL runs" in error_message(service.process)


@pytest.fixture
def late_postgres() -> Iterator[Postgres]:
    """Provide a stopped PostgreSQL server for the test to start."""
    server = Postgres()
    server.stop()
    yield server
    server.close()


@pytest.mark.parametrize("count", [1, 2])
def test_every_request_is_answered_while_the_database_starts(
    commands: Processes, late_postgres: Postgres, count: int
) -> None:
    """Requests are answered with 503 until the service has started, and with 200 from then on."""
    service = Service(
        commands,
        ["order-service", "--processes", str(count)],
        RESTAURANT_DATABASE__URL=late_postgres.dsn("postgres"),
    )
    late_postgres.start()
    statuses: list[int | None] = []

    def is_up() -> bool:
        statuses.append(service.status("GET", "/health"))
        return statuses[-1] == 200

    wait_until(is_up, seconds=30, doing="for the service to start")

    assert set(statuses) <= {503, 200}
    wait_until(
        lambda: [line["action"] for line in service.process.logs].count("service_started") >= count,
        seconds=30,
        doing="for all processes to start",
    )
    assert {service.status("GET", "/health") for _ in range(20)} == {200}
    assert service.process.stop() == 0


@pytest.fixture
def migration_lock(empty_dsn: str) -> Iterator[DatabaseClient]:
    """Hold the advisory lock of migrations until the client is closed."""
    with contextlib.closing(DatabaseClient(empty_dsn)) as client:
        client.query(f"SELECT pg_advisory_lock({migrations.LOCK})")
        yield client


def test_service_that_waits_for_a_migration_logs_it_and_answers_503(
    commands: Processes, empty_dsn: str, migration_lock: DatabaseClient
) -> None:
    """The service waits longer than its timeouts, and starts when the lock is free."""
    service = Service(
        commands,
        ["order-service"],
        RESTAURANT_DATABASE__URL=empty_dsn,
        RESTAURANT_DATABASE__COMMAND_TIMEOUT="1",
        RESTAURANT_STARTUP_TIMEOUT="1",
    )
    service.process.wait_for("migration_waiting")

    assert service.status("GET", "/health") == 503

    migration_lock.close()
    wait_until(lambda: service.status("GET", "/health") == 200, seconds=30, doing="for its start")


def test_migrate_stopped_while_it_waits_exits_with_1_at_once(
    commands: Processes, empty_dsn: str, migration_lock: DatabaseClient
) -> None:
    """One line on stderr says that everything was rolled back."""
    migrate = commands.start("migrate", RESTAURANT_DATABASE__URL=empty_dsn)
    migrate.wait_for("db_connected")
    waiting = "SELECT FROM pg_locks WHERE NOT granted"
    wait_until(lambda: bool(migration_lock.query(waiting)), seconds=30, doing="for it to wait")

    assert migrate.stop(seconds=3) == 1

    assert "rolled back. Run migrate again." in error_message(migrate)
    assert migrate.stdout == ""
