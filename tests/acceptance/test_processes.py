"""Several processes that share one port: orders, crashes and stops as clients see them."""

import contextlib
import http.client
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from restaurant_system.web import server
from tests.acceptance.test_graceful_stop import port
from tests.support import deployments
from tests.support.deployments import JSON, Deployment, error_message
from tests.support.looping_client import LoopingClient
from tests.support.orders import make_order_body
from tests.support.postgres_server import Postgres
from tests.support.processes import Process, Processes, free_port
from tests.support.waiting import wait_until

TWO = ("--processes", "2")
CONNECTIONS = 32
LISTEN = "0A"  # a socket's state in /proc/net/tcp


@pytest.fixture
def deployment(dsn: str) -> Iterator[Deployment]:
    """Open a deployment on PostgreSQL alone, because the broker has no effect on these tests."""
    with deployments.running(dsn) as deployment:
        yield deployment


def children(supervisor: Process) -> list[int]:
    """Return the ids of the processes that were started so far."""
    return [
        line["details"]["pid"] for line in supervisor.logs if line["action"] == "process_started"
    ]


def wait_for_start(supervisor: Process, number: int = 2) -> None:
    """Wait until this many processes have started their service."""
    wait_until(
        lambda: [line["action"] for line in supervisor.logs].count("service_started") >= number,
        seconds=30,
        doing="for the processes to start",
    )


def wait_for_listeners(deployment: Deployment, number: int = 2) -> None:
    """Wait until this many processes listen at the port of the order service."""
    address = f":{port(deployment.orders):04X}"

    def count() -> int:
        rows = [row.split() for row in Path("/proc/net/tcp").read_text("ascii").splitlines()]
        return sum(row[1].endswith(address) and row[3] == LISTEN for row in rows)

    wait_until(lambda: count() >= number, seconds=30, doing="for the processes to listen")


def is_alive(process: int) -> bool:
    """Tell whether a process runs, and is not a zombie."""
    try:
        stat = Path(f"/proc/{process}/stat").read_text(encoding="utf-8")
    except FileNotFoundError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def wait_for_the_end_of(pids: list[int]) -> None:
    """Wait until none of these processes runs."""
    wait_until(lambda: not any(map(is_alive, pids)), seconds=15, doing="for the processes to end")


def order_on(connection: http.client.HTTPConnection) -> bool:
    """Place an order on a connection; return whether the connection was still open."""
    try:
        connection.request("POST", "/orders", make_order_body(), JSON)
        answer = connection.getresponse()
        answer.read()
    except (http.client.RemoteDisconnected, ConnectionError):
        return False
    assert answer.status == 201
    return True


def test_killed_process_takes_only_its_own_connections_along_and_is_replaced(
    deployment: Deployment,
) -> None:
    """Both processes have connections; those of the other one stay open, and new ones work.

    When the supervisor is killed, too, its processes answer their requests, and end.
    """
    intake = deployment.start_order_service(*TWO)
    deployment.wait_until_ready()
    wait_for_listeners(deployment)
    with contextlib.ExitStack() as stack:
        connections = [
            stack.enter_context(contextlib.closing(connect(deployment))) for _ in range(CONNECTIONS)
        ]
        assert all(map(order_on, connections))

        killed = children(intake)[:1]
        os.kill(killed[0], signal.SIGKILL)
        wait_for_the_end_of(killed)

        assert 0 < sum(map(order_on, connections)) < CONNECTIONS
        assert order_on(connect(deployment))
        intake.wait_for("process_restarted", exit_code=-signal.SIGKILL)
    wait_for_start(intake, 3)
    with contextlib.closing(connect(deployment)) as connection:
        assert order_on(connection)

        intake.kill()

        assert order_on(connection)
        wait_for_the_end_of(children(intake))


def connect(deployment: Deployment) -> http.client.HTTPConnection:
    """Open a connection to the order service."""
    connection = http.client.HTTPConnection("127.0.0.1", port(deployment.orders), timeout=30)
    connection.connect()
    return connection


def test_no_order_is_lost_or_doubled_when_processes_are_killed(deployment: Deployment) -> None:
    """Clients repeat requests without a response with the same idempotency key."""
    intake = deployment.start_order_service(*TWO)
    deployment.wait_until_ready()

    with ThreadPoolExecutor(8) as clients:
        ordering = [clients.submit(order_through, deployment, 25) for _ in range(8)]
        for started in (2, 3):
            wait_for_start(intake, started)
            os.kill(children(intake)[-1], signal.SIGKILL)
        placed = {key: number for client in ordering for key, number in client.result().items()}

    assert intake.stop() == 0
    stored = [row["number"] for row in deployment.query("SELECT number FROM orders")]
    assert sorted(stored) == sorted(placed.values())
    assert len(placed) == 200


def order_through(deployment: Deployment, orders: int) -> dict[str, str]:
    """Place orders, each on a new connection; repeat requests without a response.

    Returns the order numbers by idempotency key.
    """
    numbers = {}
    with httpx.Client(base_url=deployment.orders.base_url, timeout=30) as client:
        for _ in range(orders):
            key = str(uuid4())
            while key not in numbers:
                with contextlib.suppress(httpx.TransportError):
                    headers = {**JSON, "Idempotency-Key": key, "Connection": "close"}
                    answer = client.post("/orders", content=make_order_body(), headers=headers)
                    numbers[key] = answer.raise_for_status().json()["order_number"]
    return numbers


@pytest.mark.parametrize("receiver", ["supervisor", "everyone"])
def test_stop_answers_every_request(deployment: Deployment, receiver: str) -> None:
    """SIGTERM to the supervisor, or to all processes at once, as systemd does by default.

    Only a connection that the kernel had queued for a process may be reset: its order is not
    stored.
    """
    intake = deployment.start_order_service(*TWO)
    deployment.wait_until_ready()
    wait_for_start(intake)
    clients = [LoopingClient(port(deployment.orders)) for _ in range(12)]
    with ThreadPoolExecutor(len(clients)) as threads:
        ordering = [threads.submit(client.order_until_closed) for client in clients]
        wait_until(
            lambda: len(deployment.query("SELECT FROM orders")) > 20, seconds=30, doing="for orders"
        )

        if receiver == "everyone":
            for process in children(intake):
                os.kill(process, signal.SIGTERM)
        intake.signal(signal.SIGTERM)

        assert intake.wait() == 0
        for each in ordering:
            each.result()
    assert [cut for client in clients for cut in client.cut_off] == []
    stored = {row["number"] for row in deployment.query("SELECT number FROM orders")}
    assert stored == {number for client in clients for number in client.numbers.values()}
    assert error_message(intake) == ""
    wait_for_the_end_of(children(intake))


def test_second_ctrl_c_stops_at_once(deployment: Deployment) -> None:
    """A request that never ends does not delay the stop; a terminal signals all processes."""
    intake = deployment.start_order_service(*TWO)
    deployment.wait_until_ready()
    wait_for_start(intake)
    pids = children(intake)
    with incomplete_requests(deployment, 1):
        interrupt(intake, pids)
        intake.wait_for("graceful_shutdown")
        time.sleep(0.5)
        assert intake.running
        interrupt(intake, pids)

        assert intake.wait(5) == 0
    assert error_message(intake) == ""
    wait_for_the_end_of(pids)


def test_all_processes_drain_at_once_until_a_second_signal(deployment: Deployment) -> None:
    """Each process answers on, and reports that it is not ready."""
    intake = deployment.start_order_service(*TWO, RESTAURANT_HTTP__DRAIN_SECONDS="60")
    deployment.wait_until_ready()
    wait_for_start(intake)
    wait_for_listeners(deployment)
    assert ready_codes(deployment) == {200}

    intake.signal(signal.SIGTERM)

    wait_until(
        lambda: ready_codes(deployment) == {503},
        seconds=15,
        doing="for all processes to report that they are not ready",
    )
    assert sum(line["action"] == "draining" for line in intake.logs) == 2
    assert deployment.place_order()
    intake.signal(signal.SIGTERM)
    assert intake.wait(10) == 0
    assert error_message(intake) == ""


def ready_codes(deployment: Deployment) -> set[int]:
    """Return the status codes of `/health/ready` on several connections."""
    return {deployment.orders.get("/health/ready").status_code for _ in range(16)}


@pytest.mark.parametrize("is_restarting", [False, True], ids=["serving", "restarting"])
def test_second_stop_signal_stops_at_once_however_soon_it_follows(
    deployment: Deployment, *, is_restarting: bool
) -> None:
    """Also while the supervisor replaces the processes, and waits for the requests of the first."""
    intake = deployment.start_order_service(*TWO)
    deployment.wait_until_ready()
    wait_for_start(intake)
    wait_for_listeners(deployment)
    with incomplete_requests(deployment, 16):
        if is_restarting:
            intake.signal(signal.SIGHUP)
            wait_for_start(intake, 3)
            time.sleep(0.5)

        intake.signal(signal.SIGTERM)
        time.sleep(0.05)
        assert intake.running
        intake.signal(signal.SIGTERM)

        assert intake.wait(2) == 0
    assert error_message(intake) == ""
    wait_for_the_end_of(children(intake))


@contextlib.contextmanager
def incomplete_requests(deployment: Deployment, number: int) -> Iterator[None]:
    """Send this number of requests without their bodies, which delays a stop by seconds."""
    with contextlib.ExitStack() as stack:
        for _ in range(number):
            connection = stack.enter_context(contextlib.closing(connect(deployment)))
            connection.putrequest("POST", "/orders")
            connection.putheader("Content-Length", "1000")
            connection.endheaders()
        yield


def test_ctrl_c_during_the_start_of_a_process_does_not_disturb_it(deployment: Deployment) -> None:
    """A terminal sends SIGINT to all processes; the supervisor stops those that start.

    Processes start at first, and when one is replaced, restarted (SIGHUP) or added (SIGTTIN).
    """
    intake = deployment.start_order_service(*TWO)
    interrupt_start(intake, before=set())
    wait_for_start(intake)
    deployment.wait_until_ready()

    before = service_processes(intake)
    os.kill(min(before), signal.SIGKILL)
    interrupt_start(intake, before)
    wait_for_start(intake, 3)

    for cause, started in ((signal.SIGHUP, 5), (signal.SIGTTIN, 6)):
        before = service_processes(intake)
        intake.signal(cause)
        interrupt_start(intake, before)
        wait_for_start(intake, started)

    assert intake.stop() == 0
    assert error_message(intake) == ""


def interrupt_start(supervisor: Process, before: set[int]) -> None:
    """Wait until another process starts, and send it SIGINT again and again until it runs."""
    wait_until(
        lambda: bool(service_processes(supervisor) - before),
        seconds=30,
        doing="for a process to start",
    )
    (starting, *_) = service_processes(supervisor) - before
    while starting not in children(supervisor):
        os.kill(starting, signal.SIGINT)
        time.sleep(0.02)


def service_processes(supervisor: Process) -> set[int]:
    """Return the ids of the processes that serve, or will serve, for a supervisor."""
    found = set()
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parent = int(status.read_text(encoding="utf-8").rpartition(")")[2].split()[1])
            command = (status.parent / "cmdline").read_bytes()
            if parent == supervisor.pid and b"multiprocessing.spawn" in command:
                found.add(int(status.parent.name))
    return found


def interrupt(supervisor: Process, pids: list[int]) -> None:
    """Send SIGINT to the supervisor and to these processes."""
    supervisor.signal(signal.SIGINT)
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):  # ended since
            os.kill(pid, signal.SIGINT)


def test_process_that_cannot_be_replaced_is_tried_again_while_others_run(
    commands: Processes,
) -> None:
    """A process cannot be replaced while the database is stopped, and is replaced afterwards."""
    with contextlib.closing(Postgres()) as database:
        address = free_port()
        intake = commands.start(
            *("order-service", "--port", str(address), *TWO),
            RESTAURANT_DATABASE__URL=database.dsn("postgres"),
            RESTAURANT_STARTUP_TIMEOUT="1",
        )
        wait_for_start(intake)

        database.stop()
        os.kill(children(intake)[0], signal.SIGKILL)
        intake.wait_for("process_restarted", exit_code=-signal.SIGKILL)
        intake.wait_for("process_restarted", exit_code=1)
        database.start()
        wait_for_start(intake, 3)

        health = f"http://127.0.0.1:{address}/health"
        wait_until(
            lambda: httpx.get(health, timeout=30, verify=False).is_success,  # noqa: S501 - no TLS
            seconds=10,
            doing="for the other process to connect again",
        )
        assert intake.stop() == 0
        assert error_message(intake) == ""


def test_taken_port_is_reported_once_before_any_process_starts(commands: Processes) -> None:
    """The exit code is 1, also if another command shares the port among its own processes."""
    with server.bind("127.0.0.1", 0, is_shared=True) as process_of_another:
        process_of_another.listen()
        taken = process_of_another.getsockname()[1]

        late = commands.start(
            *("tracking-service", "--port", str(taken), *TWO),
            RESTAURANT_DATABASE__URL="postgresql://postgres@127.0.0.1:1/nobody",
        )

        assert late.wait() == 1
    assert error_message(late).count("\n") == 1
    assert "Cannot listen on" in error_message(late)
    assert children(late) == []


@pytest.mark.parametrize(
    ("setting", "value"),
    [("DELIVERY__MAX_ATTEMPTS", "0"), ("ORDER_SERVICE__MENU", "/nowhere/menu.yaml")],
)
def test_wrong_setting_is_reported_once(commands: Processes, setting: str, value: str) -> None:
    """The command exits with 2 before it starts a process."""
    process = commands.start("order-service", *TWO, **{f"RESTAURANT_{setting}": value})

    assert process.wait() == 2
    message = error_message(process)
    assert message.count("\n") == 1
    assert setting.lower().replace("__", ".") in message or value in message
    assert children(process) == []
