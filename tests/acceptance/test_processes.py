"""Several processes that share one port: orders, crashes and stops as customers meet them."""

import contextlib
import http.client
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from tests.acceptance.test_graceful_stop import port
from tests.support import deployments
from tests.support.deployments import JSON, Deployment, error_message
from tests.support.looping_client import LoopingClient
from tests.support.orders import make_order_body
from tests.support.processes import Process, Processes
from tests.support.waiting import wait_until

TWO = ("--processes", "2")
LINES = 8


@pytest.fixture
def deployment(dsn: str) -> Iterator[Deployment]:
    """Open a restaurant on our PostgreSQL alone: the broker has no part in this."""
    with deployments.running(dsn) as deployment:
        yield deployment


def children(supervisor: Process) -> list[int]:
    """Return the processes that the supervisor has started so far."""
    return [
        line["details"]["pid"] for line in supervisor.logs if line["action"] == "process_started"
    ]


def is_alive(process: int) -> bool:
    """Tell whether a process runs, and is not just waiting to be forgotten."""
    try:
        stat = Path(f"/proc/{process}/stat").read_text(encoding="utf-8")
    except FileNotFoundError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def wait_for_the_end_of(pids: list[int]) -> None:
    """Wait until none of these processes runs."""
    wait_until(lambda: not any(map(is_alive, pids)), seconds=15, doing="for the processes to end")


def order_on(line: http.client.HTTPConnection) -> bool:
    """Order on a line; return whether it is still there."""
    try:
        line.request("POST", "/orders", make_order_body(), JSON)
        answer = line.getresponse()
        answer.read()
    except (http.client.RemoteDisconnected, ConnectionError):
        return False
    assert answer.status == 201
    return True


def test_lines_are_shared_evenly_and_outlive_a_neighbour(deployment: Deployment) -> None:
    """Of 8 lines each process has 4; when one is killed, the others' go on, new ones too."""
    intake = deployment.start_order_service(*TWO)
    deployment.wait_until_ready()
    with contextlib.ExitStack() as stack:
        lines = [
            stack.enter_context(contextlib.closing(open_connection(deployment)))
            for _ in range(LINES)
        ]
        assert all(map(order_on, lines))

        os.kill(children(intake)[0], signal.SIGKILL)
        intake.wait_for("process_restarted", exit_code=-signal.SIGKILL)

        assert sum(map(order_on, lines)) == LINES // 2
        assert order_on(open_connection(deployment))
    wait_until(lambda: len(children(intake)) == 3, seconds=10, doing="for a third process")
    assert intake.stop() == 0
    wait_for_the_end_of(children(intake))


def open_connection(deployment: Deployment) -> http.client.HTTPConnection:
    """Open a line of one's own."""
    line = http.client.HTTPConnection("127.0.0.1", port(deployment.orders), timeout=30)
    line.connect()
    return line


def test_no_order_is_lost_or_doubled_when_processes_are_killed(deployment: Deployment) -> None:
    """Customers who repeat a request with its key get through, and nobody finds the port closed."""
    intake = deployment.start_order_service(*TWO)
    deployment.wait_until_ready()

    with ThreadPoolExecutor(8) as crowd:
        ordering = [crowd.submit(order_through, deployment, 25) for _ in range(8)]
        for started in (2, 3):
            wait_until(
                lambda: len(children(intake)) >= started,  # noqa: B023 - called at once
                seconds=30,
                doing="for both processes",
            )
            os.kill(children(intake)[-1], signal.SIGKILL)
        told = {key: number for guest in ordering for key, number in guest.result().items()}

    assert intake.stop() == 0
    stored = [row["number"] for row in deployment.query("SELECT number FROM orders")]
    assert sorted(stored) == sorted(told.values())
    assert len(told) == 200


def order_through(deployment: Deployment, orders: int) -> dict[str, str]:
    """Order so many times, each on a new line, and repeat what is cut off; return the numbers."""
    numbers = {}
    with httpx.Client(base_url=deployment.orders.base_url, timeout=30) as client:
        for _ in range(orders):
            key = str(uuid4())
            while key not in numbers:
                with contextlib.suppress(httpx.RemoteProtocolError, httpx.ReadError):
                    headers = {**JSON, "Idempotency-Key": key, "Connection": "close"}
                    answer = client.post("/orders", content=make_order_body(), headers=headers)
                    numbers[key] = answer.raise_for_status().json()["order_number"]
    return numbers


@pytest.mark.parametrize("whom", ["the supervisor", "everyone"])
def test_a_stop_answers_every_request(deployment: Deployment, whom: str) -> None:
    """SIGTERM, to the supervisor or, as systemd has it, to all of them: nobody is cut off."""
    intake = deployment.start_order_service(*TWO)
    deployment.wait_until_ready()
    guests = [LoopingClient(port(deployment.orders)) for _ in range(12)]
    with ThreadPoolExecutor(len(guests)) as crowd:
        ordering = [crowd.submit(guest.order_until_closed) for guest in guests]
        wait_until(
            lambda: len(deployment.query("SELECT FROM orders")) > 20, seconds=30, doing="for orders"
        )

        if whom == "everyone":
            for process in children(intake):
                os.kill(process, signal.SIGTERM)
        intake.signal(signal.SIGTERM)

        assert intake.wait() == 0
        for guest in ordering:
            guest.result()
    assert [cut for guest in guests for cut in guest.cut_off] == []
    assert len(deployment.query("SELECT FROM orders")) == sum(
        len(guest.numbers) for guest in guests
    )
    wait_for_the_end_of(children(intake))


def test_a_second_signal_stops_at_once(deployment: Deployment) -> None:
    """A request that never ends holds nobody up who insists; Ctrl-C is ours alone to pass on."""
    intake = deployment.start_order_service(*TWO)
    deployment.wait_until_ready()
    with contextlib.closing(open_connection(deployment)) as line:
        line.putrequest("POST", "/orders")
        line.putheader("Content-Length", "1000")
        line.endheaders()

        assert [os.getsid(child) for child in children(intake)] == children(intake)
        intake.signal(signal.SIGINT)
        intake.wait_for("graceful_shutdown")
        intake.signal(signal.SIGINT)

        assert intake.wait(5) == 0
    wait_for_the_end_of(children(intake))


def test_a_supervisor_that_is_killed_leaves_nobody_behind(deployment: Deployment) -> None:
    """SIGKILL: its processes notice, answer whom they have, and end."""
    intake = deployment.start_order_service(*TWO)
    deployment.wait_until_ready()
    with contextlib.closing(open_connection(deployment)) as line:
        assert order_on(line)

        intake.kill()

        assert order_on(line)
        wait_for_the_end_of(children(intake))


def test_a_taken_port_is_said_once(deployment: Deployment) -> None:
    """A port that is taken exits with 1 before any process is started; who has it goes on."""
    command = ("tracking-service", "--port", str(port(deployment.tracking)), *TWO)
    first = deployment.start(*command, until=lambda process: len(children(process)) == 2)
    deployment.wait_until_ready()

    late = deployment.start(*command)

    assert late.wait() == 1
    assert error_message(late).count("\n") == 1
    assert "Cannot listen on" in error_message(late)
    assert children(late) == []
    assert deployment.tracking.get("/orders").raise_for_status().json()["orders"] == []
    assert first.stop() == 0


def test_what_keeps_all_from_starting_is_said_once(commands: Processes) -> None:
    """The first process finds out, and its exit code and its sentence are those of all."""
    process = commands.start(
        *("order-service", "--port", "0", *TWO),
        RESTAURANT_DATABASE__URL="postgresql://postgres@127.0.0.1:1/nobody",
        RESTAURANT_STARTUP_TIMEOUT="0.5",
    )

    assert process.wait() == 1
    assert error_message(process).count("\n") == 1
    assert "Check that PostgreSQL runs" in error_message(process)


def test_a_wrong_setting_is_said_once(commands: Processes) -> None:
    """A setting that is wrong exits with 2 before any process is started."""
    process = commands.start("order-service", *TWO, RESTAURANT_DELIVERY__MAX_ATTEMPTS="0")

    assert process.wait() == 2
    assert error_message(process).count("\n") == 1
    assert "delivery.max_attempts" in error_message(process)
