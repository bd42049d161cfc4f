"""`restaurant-system up`: all services in one process, with an embedded PostgreSQL."""

import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.acceptance.conftest import embedded_data
from tests.support.deployments import JSON, QUICK_SETTINGS, error_message
from tests.support.orders import make_order_body
from tests.support.processes import Process, Processes, processes
from tests.support.waiting import wait_until

ADDRESS = re.compile(r"The restaurant is running at (http://127\.0\.0\.1:\d+)$", re.MULTILINE)


class Up:
    """A running `up`, its output and its HTTP API."""

    def __init__(
        self, commands: Processes, data_dir: Path, *options: str, scale: float = 0.05
    ) -> None:
        self.data_dir = data_dir
        self.process: Process = commands.start(
            *("up", "--port", "0", "--data-dir", str(data_dir)),
            *("--cooking-time-scale", str(scale), *options),
        )
        wait_until(self._is_running, seconds=60, doing="for the restaurant to start")

    @property
    def address(self) -> str:
        """The address that `up` has printed."""
        (address,) = ADDRESS.findall(self.process.stdout)
        return str(address)

    @property
    def notifications(self) -> list[str]:
        """The notifications that `up` has printed so far."""
        lines = self.process.stdout.splitlines()
        return [line for line in lines if line.startswith("Notification")]

    def order(self, **changes: object) -> str:
        """Place an order, and return its number."""
        response = self._request(
            "POST", "/orders", content=make_order_body(**changes), headers=JSON
        )
        assert response.status_code == 201, response.text
        return str(response.json()["order_number"])

    def get(self, path: str) -> Any:  # noqa: ANN401 - JSON
        """Return the JSON at a path."""
        response = self._request("GET", path)
        assert response.status_code == 200, response.text
        return response.json()

    def wait_for(self, number: str, status: str) -> None:
        """Wait until an order has a status."""
        wait_until(
            lambda: self.get(f"/orders/{number}/status")["current_status"] == status,
            seconds=30,
            doing=f"for {number} to be {status}",
        )

    def _is_running(self) -> bool:
        assert self.process.running, self.process.stdout + self.process.stderr
        return (
            ADDRESS.search(self.process.stdout) is not None
            and self._request("GET", "/health").status_code == 200
        )

    def _request(self, method: str, path: str, **content: Any) -> httpx.Response:  # noqa: ANN401 - httpx's own
        """Send a request; loading certificates for TLS would take longer than the request."""
        return httpx.request(method, f"{self.address}{path}", verify=False, **content)  # noqa: S501


@pytest.fixture(scope="module")
def app() -> Iterator[Up]:
    """Run one `up` for all tests that do not stop it."""
    with embedded_data() as folder, processes(QUICK_SETTINGS) as commands:
        yield Up(commands, folder / "not" / "there" / "yet")


def test_printed_command_places_an_order(app: Up) -> None:
    (line,) = [line for line in app.process.stdout.splitlines() if line.startswith("  curl ")]

    result = subprocess.run(  # noqa: S603 - our own command
        ["bash", "-c", line],  # noqa: S607 - in the shell that a person pastes it into
        capture_output=True,
        text=True,
        check=True,
    )

    assert re.search(r'"order_number": ?"ORD_\d{8}_\d{3}"', result.stdout)
    assert re.search(r'"status": ?"received"', result.stdout)


def test_order_is_placed_and_tracked_on_the_same_port(app: Up) -> None:
    number = app.order()

    app.wait_for(number, "ready")

    status = app.get(f"/orders/{number}/status")
    assert (status["processed_by"], status["estimated_completion"]) == ("chef", None)
    assert [step["status"] for step in app.get(f"/orders/{number}/history")] == [
        "received",
        "cooking",
        "ready",
    ]


def test_each_status_change_is_printed_on_stdout(app: Up) -> None:
    number = app.order()

    expected = [
        f"Notification for order {number}: Status changed from 'received' to 'cooking' by chef.",
        f"Notification for order {number}: Status changed from 'cooking' to 'ready' by chef.",
    ]
    wait_until(
        lambda: [line for line in app.notifications if number in line] == expected,
        seconds=30,
        doing=f"for {expected}",
    )


def test_second_start_on_the_same_data_directory_is_refused(app: Up, commands: Processes) -> None:
    """The second `up` exits with 1, and one sentence names the data directory."""
    second = commands.start("up", "--port", "0", "--data-dir", str(app.data_dir))

    assert second.wait() == 1
    assert error_message(second).count("\n") == 1
    assert f"already up on {app.data_dir}" in error_message(second)
    assert app.process.running


def test_port_in_use_is_refused_and_postgres_is_stopped(
    app: Up, commands: Processes, data_dir: Path
) -> None:
    """`up` exits with 1, and one sentence names the port."""
    port = app.address.rpartition(":")[2]

    second = commands.start("up", "--port", port, "--data-dir", str(data_dir))

    assert second.wait() == 1
    assert error_message(second).count("\n") == 1
    assert port in error_message(second)
    assert "--port" in error_message(second)
    assert not servers_on(data_dir)


def test_sigint_finishes_cooking_orders_and_stops_postgres(
    commands: Processes, data_dir: Path
) -> None:
    app = Up(commands, data_dir, scale=0.2)
    number = app.order()
    app.wait_for(number, "cooking")
    assert servers_on(data_dir)

    app.process.signal(signal.SIGINT)

    assert app.process.wait() == 0
    assert app.notifications[-1:] == [
        f"Notification for order {number}: Status changed from 'cooking' to 'ready' by chef."
    ]
    assert not servers_on(data_dir)
    assert error_message(app.process) == ""


def test_restart_takes_seconds_and_keeps_the_orders(commands: Processes, data_dir: Path) -> None:
    app = Up(commands, data_dir, scale=0)
    number = app.order(notes="no onions")
    app.wait_for(number, "ready")
    before = app.get(f"/orders/{number}")
    assert app.process.stop() == 0

    start = time.monotonic()
    app = Up(commands, data_dir, scale=0)
    took = time.monotonic() - start

    assert app.get(f"/orders/{number}") == before
    assert int(app.order()[-3:]) == int(number[-3:]) + 1
    assert took < 6  # 3 s, doubled because the machine may be busy


def test_order_cooking_at_a_sigkill_is_finished_after_the_restart(
    commands: Processes, data_dir: Path
) -> None:
    """No status change of the order is logged twice."""
    app = Up(commands, data_dir, scale=60)
    number = app.order()
    app.wait_for(number, "cooking")

    app.process.kill()
    app = Up(commands, data_dir, scale=0)

    app.wait_for(number, "ready")
    assert [step["status"] for step in app.get(f"/orders/{number}/history")] == [
        "received",
        "cooking",
        "ready",
    ]


def test_worker_option_sets_name_and_order_types(commands: Processes, data_dir: Path) -> None:
    workers = ("--worker", "anna:takeout", "--worker", "bob:dine_in,delivery")
    app = Up(commands, data_dir, *workers, scale=0)

    takeout, dine_in = app.order(), app.order(order_type="dine_in", table_number=4)

    app.wait_for(takeout, "ready")
    app.wait_for(dine_in, "ready")
    cooked = [app.get(f"/orders/{number}")["processed_by"] for number in (takeout, dine_in)]
    assert cooked == ["anna", "bob"]
    assert [
        (worker["worker_name"], worker["status"], worker["orders_processed"])
        for worker in app.get("/workers/status")
    ] == [("anna", "online", 1), ("bob", "online", 1)]


def servers_on(data_dir: Path) -> list[str]:
    """Return the PostgreSQL servers that run on a data directory."""
    running = subprocess.run(
        ["ps", "-A", "-ww", "-o", "args"],  # noqa: S607 - wherever it is installed
        capture_output=True,
        text=True,
        check=True,
    )
    return [line for line in running.stdout.splitlines() if f"-D {data_dir}" in line]
