"""Services that are stopped and killed during their work, with both brokers."""

import itertools
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import httpx

from tests.support.deployments import JSON, Deployment, error_message
from tests.support.orders import make_order_body
from tests.support.processes import Process
from tests.support.waiting import wait_until


def test_stopped_worker_finishes_the_order_that_it_cooks(deployment: Deployment) -> None:
    """After SIGTERM the waiting orders stay in the queue for other workers."""
    deployment.start_order_service()
    anna = deployment.start_worker("anna", scale=0.2)
    deployment.wait_until_ready()
    first, second = deployment.place_order(), deployment.place_order()
    deployment.wait_for_status(first, "cooking")

    anna.signal(signal.SIGTERM)
    deployment.start_worker("bob")
    deployment.wait_until_ready()

    assert anna.wait() == 0
    deployment.wait_for_status(second, "ready")
    assert deployment.history(first)[1:] == [("cooking", "anna"), ("ready", "anna")]
    assert deployment.history(second)[1:] == [("cooking", "bob"), ("ready", "bob")]
    assert deployment.worker_status("anna") == "offline"


def test_second_signal_to_a_worker_returns_its_order_to_the_queue(deployment: Deployment) -> None:
    """A second SIGTERM ends it at once, and another worker finishes the order."""
    deployment.start_order_service()
    anna = deployment.start_worker("anna", scale=60)
    deployment.wait_until_ready()
    number = deployment.place_order()
    deployment.wait_for_status(number, "cooking")
    deployment.start_worker("bob")
    deployment.wait_until_ready()

    anna.signal(signal.SIGTERM)
    anna.wait_for("graceful_shutdown")
    anna.signal(signal.SIGTERM)

    assert anna.wait() == 0
    deployment.wait_for_status(number, "ready")
    assert deployment.history(number) == [
        ("received", "order-service"),
        ("cooking", "anna"),
        ("ready", "bob"),
    ]
    assert deployment.worker_status("anna") == "offline"


def test_order_of_a_killed_worker_is_finished_by_another(deployment: Deployment) -> None:
    """After SIGKILL another worker takes over once the lease has expired; no move is repeated."""
    deployment.start_order_service()
    anna = deployment.start_worker("anna", "--heartbeat-interval", "0.5", scale=60)
    deployment.wait_until_ready()
    number = deployment.place_order()
    deployment.wait_for_status(number, "cooking")
    deployment.start_worker("bob")
    deployment.wait_until_ready()

    anna.kill()

    deployment.wait_for_status(number, "ready")
    assert deployment.history(number) == [
        ("received", "order-service"),
        ("cooking", "anna"),
        ("ready", "bob"),
    ]
    assert deployment.get_order(number)["processed_by"] == "bob"


def test_second_worker_of_the_same_name_is_refused(deployment: Deployment) -> None:
    """The second worker exits with 1, one log line and one line on stderr."""
    anna = deployment.start_worker("anna")
    deployment.wait_until_ready()

    impostor = deployment.start_worker("anna")

    assert impostor.wait() == 1
    assert impostor.logged("worker_registration_failed")
    assert error_message(impostor).count("\n") == 1
    assert "A worker named anna is online" in error_message(impostor)
    assert anna.running


def test_killed_order_service_loses_no_acknowledged_order(
    deployment: Deployment,
) -> None:
    """SIGKILL during requests: every order that was answered with 201 is stored and cooked."""
    intake = deployment.start_order_service()
    deployment.wait_until_ready()
    with ThreadPoolExecutor(4) as clients:
        ordering = [clients.submit(order_until_cut_off, deployment) for _ in range(4)]
        wait_until(
            lambda: len(deployment.query("SELECT id FROM orders")) > 20, seconds=60, doing="orders"
        )
        intake.kill()
        acknowledged = {number for client in ordering for number in client.result()}

    deployment.start_worker("anna")
    deployment.wait_until_ready()

    everything = {row["number"] for row in deployment.query("SELECT number FROM orders")}
    assert acknowledged
    assert acknowledged <= everything
    for number in everything:
        deployment.wait_for_status(number, "ready")
    assert sorted(int(number[-3:]) for number in everything) == list(range(1, len(everything) + 1))


def order_until_cut_off(deployment: Deployment) -> list[str]:
    """Place orders until the connection breaks; return the numbers of the acknowledged ones."""
    acknowledged: list[str] = []
    with httpx.Client(base_url=deployment.orders.base_url) as client:
        for _ in itertools.count():
            try:
                response = client.post("/orders", content=make_order_body(), headers=JSON)
            except httpx.TransportError:
                return acknowledged
            assert response.status_code == 201, response.text
            acknowledged.append(response.json()["order_number"])
    raise AssertionError("itertools.count ended")


def test_stopped_order_service_answers_the_request_in_progress(deployment: Deployment) -> None:
    """After SIGTERM a request in progress is answered, and a new connection is refused."""
    intake = deployment.start_order_service()
    deployment.wait_until_ready()
    where = (deployment.orders.base_url.host, deployment.orders.base_url.port)
    with socket.create_connection(where, timeout=30) as client:
        send_head_of_an_order(client, len(make_order_body()))

        intake.signal(signal.SIGTERM)
        wait_until(lambda: is_closed(where), seconds=30, doing="for connections to be refused")
        time.sleep(1.5)  # longer than an idle connection stays open
        client.sendall(make_order_body())

        assert client.recv(65536).startswith(b"HTTP/1.1 201 Created\r\n")
    assert intake.wait() == 0
    assert len(deployment.query("SELECT id FROM orders")) == 1


def send_head_of_an_order(client: socket.socket, length: int) -> None:
    """Send the head of a request, and wait for `100 Continue`."""
    client.sendall(
        b"POST /orders HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % length
    )
    assert client.recv(1024).startswith(b"HTTP/1.1 100 Continue\r\n")


def is_closed(where: tuple[str, int | None]) -> bool:
    """Return whether the service refuses new connections."""
    with socket.socket() as probe:
        return probe.connect_ex(where) != 0


def test_named_subscriber_gets_the_updates_that_it_missed(deployment: Deployment) -> None:
    """The updates of a stopped subscriber are kept; after its start it gets each of them once."""
    deployment.start_order_service()
    deployment.start_worker("anna")
    display = deployment.start_subscriber("display")
    deployment.wait_until_ready()
    seen = deployment.place_order()
    wait_until(lambda: lines_about(display, seen) == 2, seconds=30, doing="for two updates")

    assert display.stop() == 0
    missed = deployment.place_order()
    deployment.wait_for_status(missed, "ready")
    display = deployment.start_subscriber("display")

    wait_until(lambda: lines_about(display, missed) == 2, seconds=30, doing="for what was missed")
    assert display.stdout.splitlines() == [
        f"Notification for order {missed}: Status changed from 'received' to 'cooking' by anna.",
        f"Notification for order {missed}: Status changed from 'cooking' to 'ready' by anna.",
    ]


def lines_about(subscriber: Process, number: str) -> int:
    """Count the notifications about an order."""
    return subscriber.stdout.count(f"Notification for order {number}: ")


def test_ctrl_c_ends_every_service(deployment: Deployment) -> None:
    """SIGINT ends each of the four with exit code 0 and nothing on stderr."""
    deployment.start_order_service()
    deployment.start_tracking_service()
    deployment.start_worker("anna")
    deployment.start_subscriber("display")
    deployment.wait_until_ready()

    for process in deployment.started:
        process.signal(signal.SIGINT)

    assert [process.wait() for process in deployment.started] == [0, 0, 0, 0]
    assert [error_message(process) for process in deployment.started] == ["", "", "", ""]
