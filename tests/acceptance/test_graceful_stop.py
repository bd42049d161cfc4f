"""Everything is stopped while everyone is busy, and opened again: nothing is lost or done twice."""

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

ORDERING, READING = 24, 8
ENOUGH = 40  # orders, to be in the middle of it
PROMISED = 25  # s; what cooks takes 0.2 s here, so that this is the HTTP services' promise
TOLD = re.compile(r"^Notification for order (\S+): Status changed from '(\w+)' to '(\w+)' by \w+\.")
UPDATES = [("received", "cooking"), ("cooking", "ready")]


def open_services(deployment: Deployment) -> list[Process]:
    """Open with every service a process of its own; the last one tells what happens."""
    return [
        deployment.start_order_service(),
        deployment.start_tracking_service(),
        deployment.start_worker("anna", "--prefetch", "4", scale=0.02),
        deployment.start_worker("bob", "--prefetch", "4", scale=0.02),
        deployment.start_subscriber("display"),
    ]


def open_up(deployment: Deployment) -> list[Process]:
    """Open with everything in one process but for who keeps what it missed."""
    return [
        deployment.start_all_in_one("--worker", "anna", "--worker", "bob"),
        deployment.start_subscriber("display"),
    ]


@pytest.mark.parametrize(
    ("optional_amqp_url", "open_all"),
    [("postgres", open_up), ("rabbitmq", open_services)],
    indirect=["optional_amqp_url"],
)
def test_a_busy_evening_is_interrupted(
    deployment: Deployment, open_all: Callable[[Deployment], list[Process]]
) -> None:
    """SIGTERM for everyone amid requests and messages: what was taken is seen through.

    Every request is answered, or finds the door closed. No order is cooked twice, no update is
    told twice, and all the rest is done after the interruption.
    """
    told: dict[str, list[tuple[str, str]]] = defaultdict(list)
    opened = open_all(deployment)
    deployment.wait_until_ready()

    numbers = interrupt(deployment, opened)
    note(told, opened[-1])
    *_, display = open_all(deployment)
    deployment.wait_until_ready()
    wait_until(
        lambda: is_over(deployment, display, 2 * len(numbers) - sum(map(len, told.values()))),
        seconds=60,
        doing="for what was interrupted to be done",
    )
    queues = deployment.tracking.get("/stats").json()["queues"]
    assert set(deployment.stop_all()) == {0}
    note(told, display)

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
        assert told[number] == UPDATES
    assert not any(queues.values())
    assert not deployment.query("SELECT FROM outbox")


def interrupt(deployment: Deployment, opened: list[Process]) -> dict[str, str]:
    """Stop everything amid guests without pause; return what they were answered, by key."""
    ordering = [LoopingClient(port(deployment.orders)) for _ in range(ORDERING)]
    reading = [LoopingClient(port(deployment.tracking)) for _ in range(READING)]
    with ThreadPoolExecutor(ORDERING + READING) as crowd:
        busy = [crowd.submit(guest.order_until_closed) for guest in ordering]
        busy += [crowd.submit(guest.read_until_closed, "/orders?limit=5") for guest in reading]
        try:
            wait_until(
                lambda: len(deployment.query("SELECT FROM orders")) >= ENOUGH,
                seconds=60,
                doing="for orders",
            )
        finally:
            exit_codes = stop(opened)
        for guest in busy:
            guest.result()

    assert set(exit_codes) == {0}
    assert [cut for guest in (*ordering, *reading) for cut in guest.cut_off] == []
    assert all(guest.reads for guest in reading)
    return {key: number for guest in ordering for key, number in guest.numbers.items()}


def stop(processes: list[Process]) -> list[int]:
    """Ask all of them to stop at once; return the exit codes, all there in time."""
    deadline = time.monotonic() + PROMISED
    for process in processes:
        process.signal(signal.SIGTERM)
    return [process.wait(max(deadline - time.monotonic(), 0)) for process in processes]


def note(told: dict[str, list[tuple[str, str]]], display: Process) -> None:
    """Note what was told about each order."""
    for line in display.stdout.splitlines():
        update = TOLD.match(line)
        assert update, line
        told[update[1]].append((update[2], update[3]))


def is_over(deployment: Deployment, display: Process, untold: int) -> bool:
    """Tell whether everything is cooked, told and settled."""
    return (
        display.stdout.count("\n") >= untold
        and not deployment.query("SELECT FROM orders WHERE status <> 'ready'")
        and not any(deployment.tracking.get("/stats").json()["queues"].values())
        and not deployment.query("SELECT FROM outbox")
    )


def port(client: httpx.Client) -> int:
    """Return the port that a client talks to."""
    assert client.base_url.port is not None
    return client.base_url.port
