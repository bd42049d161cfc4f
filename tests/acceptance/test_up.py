"""`restaurant-system up`: everything in one process, on a machine with nothing installed."""

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
from tests.support.deployments import JSON, QUICK, complaint
from tests.support.orders import make_order_body
from tests.support.processes import Process, Processes, processes
from tests.support.waiting import wait_until

ADDRESS = re.compile(r"The restaurant is running at (http://127\.0\.0\.1:\d+)$", re.MULTILINE)


class House:
    """A running `up`, seen from a terminal."""

    def __init__(
        self, commands: Processes, data_dir: Path, *options: str, scale: float = 0.05
    ) -> None:
        self.data_dir = data_dir
        self.process: Process = commands.start(
            *("up", "--port", "0", "--data-dir", str(data_dir)),
            *("--cooking-time-scale", str(scale), *options),
        )
        wait_until(self._is_open, seconds=60, doing="for the restaurant to open")

    @property
    def address(self) -> str:
        """Where it says that it is."""
        (address,) = ADDRESS.findall(self.process.stdout)
        return str(address)

    @property
    def notifications(self) -> list[str]:
        """What it has told so far."""
        lines = self.process.stdout.splitlines()
        return [line for line in lines if line.startswith("Notification")]

    def order(self, **changes: object) -> str:
        """Place an order, and return its number."""
        answer = self._ask("POST", "/orders", content=make_order_body(**changes), headers=JSON)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["order_number"])

    def get(self, path: str) -> Any:  # noqa: ANN401 - JSON
        """Ask something."""
        answer = self._ask("GET", path)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def wait_for(self, number: str, status: str) -> None:
        """Wait until tracking says so."""
        wait_until(
            lambda: self.get(f"/orders/{number}/status")["current_status"] == status,
            seconds=30,
            doing=f"for {number} to be {status}",
        )

    def _is_open(self) -> bool:
        assert self.process.running, self.process.stdout + self.process.stderr
        return (
            ADDRESS.search(self.process.stdout) is not None
            and self._ask("GET", "/health").status_code == 200
        )

    def _ask(self, method: str, path: str, **content: Any) -> httpx.Response:  # noqa: ANN401 - handed on
        """Ask without TLS, whose certificates take longer than a request."""
        return httpx.request(method, f"{self.address}{path}", verify=False, **content)  # noqa: S501


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    """Open one restaurant for all the tests that only order and ask."""
    with embedded_data() as folder, processes(QUICK) as commands:
        yield House(commands, folder / "not" / "there" / "yet")


def test_the_printed_line_orders_when_it_is_pasted(house: House) -> None:
    """The first screen shows one curl line that works as it stands."""
    (line,) = [line for line in house.process.stdout.splitlines() if line.startswith("  curl ")]

    pasted = subprocess.run(  # noqa: S603 - our own line
        ["bash", "-c", line],  # noqa: S607 - in the shell that a person pastes it into
        capture_output=True,
        text=True,
        check=True,
    )

    assert re.search(r'"order_number": ?"ORD_\d{8}_\d{3}"', pasted.stdout)
    assert re.search(r'"status": ?"received"', pasted.stdout)


def test_an_order_is_tracked_on_the_same_port(house: House) -> None:
    """Ordered, cooked and ready: tracking tells each step."""
    number = house.order()

    house.wait_for(number, "ready")

    status = house.get(f"/orders/{number}/status")
    assert (status["processed_by"], status["estimated_completion"]) == ("chef", None)
    assert [step["status"] for step in house.get(f"/orders/{number}/history")] == [
        "received",
        "cooking",
        "ready",
    ]


def test_every_step_is_told_on_stdout(house: House) -> None:
    """Notifications stand there in these very words, one line each."""
    number = house.order()

    told = [
        f"Notification for order {number}: Status changed from 'received' to 'cooking' by chef.",
        f"Notification for order {number}: Status changed from 'cooking' to 'ready' by chef.",
    ]
    wait_until(
        lambda: [line for line in house.notifications if number in line] == told,
        seconds=30,
        doing=f"for {told}",
    )


def test_a_second_one_on_the_same_data_is_refused(house: House, commands: Processes) -> None:
    """It exits with 1, and one sentence names the directory."""
    second = commands.start("up", "--port", "0", "--data-dir", str(house.data_dir))

    assert second.wait() == 1
    assert complaint(second).count("\n") == 1
    assert f"already up on {house.data_dir}" in complaint(second)
    assert house.process.running


def test_a_port_that_is_taken_is_refused(house: House, commands: Processes, data_dir: Path) -> None:
    """It exits with 1, one sentence names the port, and nothing is left running."""
    port = house.address.rpartition(":")[2]

    second = commands.start("up", "--port", port, "--data-dir", str(data_dir))

    assert second.wait() == 1
    assert complaint(second).count("\n") == 1
    assert port in complaint(second)
    assert "--port" in complaint(second)
    assert not servers_on(data_dir)


def test_ctrl_c_closes_it_with_clean_hands(commands: Processes, data_dir: Path) -> None:
    """SIGINT: what cooks is finished and told, PostgreSQL is stopped, the exit code is 0."""
    house = House(commands, data_dir, scale=0.2)
    number = house.order()
    house.wait_for(number, "cooking")
    assert servers_on(data_dir)

    house.process.signal(signal.SIGINT)

    assert house.process.wait() == 0
    assert house.notifications[-1:] == [
        f"Notification for order {number}: Status changed from 'cooking' to 'ready' by chef."
    ]
    assert not servers_on(data_dir)
    assert complaint(house.process) == ""


def test_opened_again_it_has_everything_at_once(commands: Processes, data_dir: Path) -> None:
    """A second start takes seconds, and yesterday's orders are there."""
    house = House(commands, data_dir, scale=0)
    number = house.order(notes="no onions")
    house.wait_for(number, "ready")
    before = house.get(f"/orders/{number}")
    assert house.process.stop() == 0

    start = time.monotonic()
    house = House(commands, data_dir, scale=0)
    took = time.monotonic() - start

    assert house.get(f"/orders/{number}") == before
    assert int(house.order()[-3:]) == int(number[-3:]) + 1
    assert took < 6  # 3 s, and as much again for a machine that is busy


def test_after_a_power_cut_it_finishes_what_was_cooking(
    commands: Processes, data_dir: Path
) -> None:
    """SIGKILL while an order cooks: opened again, it is ready, and no step is logged twice."""
    house = House(commands, data_dir, scale=60)
    number = house.order()
    house.wait_for(number, "cooking")

    house.process.kill()
    house = House(commands, data_dir, scale=0)

    house.wait_for(number, "ready")
    assert [step["status"] for step in house.get(f"/orders/{number}/history")] == [
        "received",
        "cooking",
        "ready",
    ]


def test_cooks_are_hired_by_name_and_type(commands: Processes, data_dir: Path) -> None:
    """`--worker NAME:TYPE` gives each cook its own orders."""
    hired = ("--worker", "anna:takeout", "--worker", "bob:dine_in,delivery")
    house = House(commands, data_dir, *hired, scale=0)

    takeout, dine_in = house.order(), house.order(order_type="dine_in", table_number=4)

    house.wait_for(takeout, "ready")
    house.wait_for(dine_in, "ready")
    cooked = [house.get(f"/orders/{number}")["processed_by"] for number in (takeout, dine_in)]
    assert cooked == ["anna", "bob"]
    assert [
        (worker["worker_name"], worker["status"], worker["orders_processed"])
        for worker in house.get("/workers/status")
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
