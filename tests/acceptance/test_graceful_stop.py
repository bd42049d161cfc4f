"""A restart of all services during requests and messages loses and repeats nothing."""

import re
import signal
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.support.deployments import Deployment
from tests.support.looping_client import LoopingClient
from tests.support.processes import Process
from tests.support.waiting import wait_until

ORDERING, READING = 12, 4
ENOUGH = 40  # orders before the stop
STOP_TIMEOUT = 25  # s; cooking takes 0.2 s here, so that this is the limit of the HTTP services
NOTIFICATION = re.compile(
    r"^Notification for order (\S+): Status changed from '(\w+)' to '(\w+)' by \w+\."
)
UPDATES = [("received", "cooking"), ("cooking", "ready")]


def start_services(deployment: Deployment) -> list[Process]:
    """Start each service as a separate process, the notification subscriber last."""
    return [
        deployment.start_order_service(),
        deployment.start_tracking_service(),
        deployment.start_worker("anna", "--prefetch", "4", scale=0.02),
        deployment.start_worker("bob", "--prefetch", "4", scale=0.02),
        deployment.start_subscriber("display"),
    ]


def start_up(deployment: Deployment) -> list[Process]:
    """Start `up` and a named notification subscriber."""
    return [
        deployment.start_all_in_one(
            *("--worker", "anna", "--worker", "bob"), "--cooking-time-scale", "0.005"
        ),
        deployment.start_subscriber("display"),
    ]


@pytest.mark.parametrize(
    ("optional_amqp_url", "start_all"),
    [("postgres", start_up), ("rabbitmq", start_services)],
    indirect=["optional_amqp_url"],
)
def test_restart_of_all_services_loses_and_repeats_nothing(
    deployment: Deployment, start_all: Callable[[Deployment], list[Process]]
) -> None:
    """SIGTERM to all processes during requests and messages.

    Every request on an open connection is answered; a connection that the kernel had queued may be
    reset, and its order is not stored. No order is cooked twice, no update is printed twice, and
    the remaining work is done after the restart.
    """
    printed: dict[str, list[tuple[str, str]]] = defaultdict(list)
    started = start_all(deployment)
    deployment.wait_until_ready()

    numbers = interrupt(deployment, started)
    record(printed, started[-1])
    *_, display = start_all(deployment)
    deployment.wait_until_ready()
    wait_until(
        lambda: is_done(deployment, display, 2 * len(numbers) - sum(map(len, printed.values()))),
        seconds=60,
        doing="for what was interrupted to be done",
    )
    queues = deployment.tracking.get("/stats").json()["queues"]
    assert set(deployment.stop_all()) == {0}
    record(printed, display)

    keys = deployment.query(
        "SELECT key, number FROM idempotency_keys JOIN orders ON orders.id = order_id"
    )
    assert {row["key"]: row["number"] for row in keys} == numbers
    assert Counter(numbers.values()) == Counter(
        row["number"] for row in deployment.query("SELECT number FROM orders")
    )
    for number in numbers.values():
        assert [status for status, _ in deployment.history(number)] == [
            "received",
            "cooking",
            "ready",
        ]
        assert printed[number] == UPDATES
    assert not any(queues.values())
    assert not deployment.query("SELECT FROM outbox")


def interrupt(deployment: Deployment, started: list[Process]) -> dict[str, str]:
    """Stop all processes during requests; return the order numbers by idempotency key."""
    ordering = [LoopingClient(port(deployment.orders)) for _ in range(ORDERING)]
    reading = [LoopingClient(port(deployment.tracking)) for _ in range(READING)]
    with ThreadPoolExecutor(ORDERING + READING) as threads:
        busy = [threads.submit(client.order_until_closed) for client in ordering]
        busy += [threads.submit(client.read_until_closed, "/orders?limit=5") for client in reading]
        try:
            wait_until(
                lambda: (
                    len(deployment.query("SELECT FROM orders")) >= ENOUGH
                    and all(client.reads for client in reading)
                ),
                seconds=60,
                doing="for orders and reads",
            )
        finally:
            exit_codes = stop(started)
        for client in busy:
            client.result()

    assert set(exit_codes) == {0}
    for each in (*ordering, *reading):
        assert each.cut_off == []
    return {key: number for client in ordering for key, number in client.numbers.items()}


def stop(processes: list[Process]) -> list[int]:
    """Send SIGTERM to all processes; return their exit codes, or fail after a timeout."""
    deadline = time.monotonic() + STOP_TIMEOUT
    for process in processes:
        process.signal(signal.SIGTERM)
    return [process.wait(max(deadline - time.monotonic(), 0)) for process in processes]


def record(printed: dict[str, list[tuple[str, str]]], display: Process) -> None:
    """Record the printed updates of each order."""
    for line in display.stdout.splitlines():
        update = NOTIFICATION.match(line)
        assert update, line
        printed[update[1]].append((update[2], update[3]))


def is_done(deployment: Deployment, display: Process, unprinted: int) -> bool:
    """Tell whether every order is cooked, every update printed and every queue empty."""
    return (
        display.stdout.count("\n") >= unprinted
        and not deployment.query("SELECT FROM orders WHERE status <> 'ready'")
        and not any(deployment.tracking.get("/stats").json()["queues"].values())
        and not deployment.query("SELECT FROM outbox")
    )


def port(client: httpx.Client) -> int:
    """Return the port that a client connects to."""
    assert client.base_url.port is not None
    return client.base_url.port
