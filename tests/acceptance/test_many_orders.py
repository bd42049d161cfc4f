"""Many orders pass all services, each in a separate process: rows, logs and output afterwards."""

import asyncio
import json
import re
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from tests.support import deployments
from tests.support.deployments import Deployment
from tests.support.orders import make_item, make_order_body
from tests.support.postgres_server import Postgres
from tests.support.processes import Process
from tests.support.waiting import wait_until

CLIENTS = 20
NAME, ADDRESS = "Zebulon Quartermaine", "17 Thistlewick Lane"
NOTIFICATION = re.compile(
    r"Notification for order (ORD_\d{8}_\d{3,}): "
    r"Status changed from '(\w+)' to '(\w+)' by (anna|bob|carla)\."
)
TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
FIELDS = {"timestamp", "level", "service", "action", "message", "hostname", "request_id", "details"}
OPTIONAL_FIELDS = {"duration_ms", "error"}


@dataclass(frozen=True)
class CompletedRun:
    """The results of a run: responses, rows, output and exit codes."""

    deployment: Deployment
    subscribers: list[Process]
    numbers: list[str]
    traced: str
    queues: dict[str, int]
    exit_codes: list[int]

    @property
    def processes(self) -> list[Process]:
        """The processes of all services of the run."""
        return self.deployment.started

    def lines_of(self, request_id: str) -> set[tuple[str, str]]:
        """Return service and action of each log line with this request id."""
        return {
            (line["service"], line["action"])
            for process in self.processes
            for line in process.logs
            if line["request_id"] == request_id
        }


@pytest.fixture(scope="module", params=[("postgres", 60), ("rabbitmq", 300)], ids=lambda p: p[0])
def run(
    request: pytest.FixtureRequest, postgres_server: Postgres, template_database: str
) -> Iterator[CompletedRun]:
    """Run all services for a number of orders, and stop them."""
    kind, count = request.param
    amqp_url = None
    if kind == "rabbitmq":
        server = request.getfixturevalue("rabbitmq_server")
        amqp_url = server.url(server.create_vhost())
    dsn = postgres_server.dsn(asyncio.run(postgres_server.create_database(template_database)))
    variables = {
        "RESTAURANT_LOG__LEVEL": "DEBUG",
        "RESTAURANT_BUSINESS_TIMEZONE": far_from_midnight(),
    }
    with deployments.running(dsn, amqp_url, **variables) as deployment:
        yield place_many_orders(deployment, count)


def far_from_midnight() -> str:
    """Return a time zone in which it is about noon, so that all orders have one business date."""
    return f"Etc/GMT{datetime.now(UTC).hour - 12:+d}"


def place_many_orders(deployment: Deployment, count: int) -> CompletedRun:
    """Place orders of mixed types and totals, one with a request id of its own; stop at the end."""
    deployment.start_order_service()
    deployment.start_tracking_service()
    deployment.start_worker("anna")
    deployment.start_worker("bob")
    deployment.start_worker("carla", "--order-types", "delivery")
    subscribers = [deployment.start_subscriber("display"), deployment.start_subscriber("app")]
    deployment.wait_until_ready()

    deployment.post_order(
        make_order_body(customer_name=f"{NAME} <z@example.org>", table_number=ADDRESS)
    )
    with ThreadPoolExecutor(CLIENTS) as clients:
        numbers = list(clients.map(lambda index: order(deployment, index), range(1, count)))
    numbers.append(order(deployment, count, **{"X-Request-ID": "order-request"}))
    traced = numbers[-1]

    wait_until_all_are_notified(deployment, subscribers, count)
    deployment.tracking.get(f"/orders/{traced}/status", headers={"X-Request-ID": "status-request"})
    queues = wait_for_the_last_acknowledgement(deployment)
    return CompletedRun(deployment, subscribers, numbers, traced, queues, deployment.stop_all())


def wait_for_the_last_acknowledgement(deployment: Deployment) -> dict[str, int]:
    """Return the depths of the queues once all are empty, or after 20 s.

    A worker may finish an order before it receives the order's message.
    """
    queues: dict[str, int] = {}
    for _ in range(40):
        queues = deployment.tracking.get("/stats").json()["queues"]
        if not any(queues.values()):
            break
        time.sleep(0.5)
    return queues


def order(deployment: Deployment, index: int, **headers: str) -> str:
    """Place an order whose type and price depend on `index`; return its number."""
    kinds: list[dict[str, object]] = [
        {"order_type": "dine_in", "table_number": index % 100 + 1},
        {"order_type": "takeout"},
        {"order_type": "delivery", "delivery_address": ADDRESS},
    ]
    price = Decimal(["9.50", "50.00", "100.01", "100.00"][index % 4])
    body = make_order_body(customer_name=NAME, items=[make_item(price=price)], **kinds[index % 3])
    response = deployment.post_order(body, **headers)
    assert response.status_code == 201, response.text
    return str(response.json()["order_number"])


def wait_until_all_are_notified(
    deployment: Deployment, subscribers: list[Process], count: int
) -> None:
    """Wait until every order is ready and every subscriber has printed every update."""
    wait_until(
        lambda: len(deployment.query("SELECT FROM orders WHERE status = 'ready'")) == count,
        seconds=120,
        doing="for every order to be ready",
    )
    wait_until(
        lambda: all(each.stdout.count("\n") >= 2 * count for each in subscribers),
        seconds=60,
        doing="for every notification",
    )
    deployment.wait_until_outbox_is_empty()


def test_concurrent_orders_are_numbered_from_001_without_gap_or_repeat(run: CompletedRun) -> None:
    date = run.numbers[0].rpartition("_")[0]

    assert sorted(run.numbers) == [
        f"{date}_{place:03d}" for place in range(1, len(run.numbers) + 1)
    ]


def test_every_order_has_exactly_three_status_log_rows_in_order(run: CompletedRun) -> None:
    steps = defaultdict(list)
    for row in run.deployment.query(
        "SELECT number, log.status FROM order_status_log AS log"
        " JOIN orders ON orders.id = log.order_id ORDER BY log.id"
    ):
        steps[row["number"]].append(row["status"])

    assert steps == {number: ["received", "cooking", "ready"] for number in run.numbers}


def test_every_subscriber_prints_every_update_once_and_in_order(run: CompletedRun) -> None:
    for subscriber in run.subscribers:
        notified = defaultdict(list)
        for line in subscriber.stdout.splitlines():
            notification = NOTIFICATION.fullmatch(line)
            assert notification, line
            notified[notification[1]].append((notification[2], notification[3]))

        assert set(notified) == set(run.numbers)
        assert all(
            steps == [("received", "cooking"), ("cooking", "ready")] for steps in notified.values()
        )


def test_no_message_is_left_in_queues_dead_letters_or_outbox(run: CompletedRun) -> None:
    assert set(run.queues) == {
        "kitchen_queue",
        "kitchen_dine_in_queue",
        "kitchen_takeout_queue",
        "kitchen_delivery_queue",
        "kitchen_dead_letter_queue",
    }
    assert not any(run.queues.values())
    assert not run.deployment.query("SELECT FROM outbox")


def test_workers_are_credited_with_the_orders_of_their_types_that_they_cooked(
    run: CompletedRun,
) -> None:
    cooked = run.deployment.query("SELECT processed_by, type FROM orders")
    book = run.deployment.query("SELECT name, status, orders_processed FROM workers")

    assert {row["type"] for row in cooked if row["processed_by"] == "carla"} == {"delivery"}
    assert {row["name"]: row["orders_processed"] for row in book} == Counter(
        row["processed_by"] for row in cooked
    )
    assert {row["status"] for row in book} == {"offline"}


def test_every_service_exits_with_0_on_sigterm(run: CompletedRun) -> None:
    assert run.exit_codes == [0] * 7


def test_request_id_follows_its_order_through_all_services(run: CompletedRun) -> None:
    lines = run.lines_of("order-request")

    assert lines >= {
        ("order-service", "request_received"),
        ("order-service", "order_received"),
        ("order-service", "order_published"),
        ("kitchen-worker", "order_processing_started"),
        ("kitchen-worker", "order_published"),
        ("kitchen-worker", "order_completed"),
        ("notification-subscriber", "notification_received"),
    }
    assert run.lines_of("status-request") == {("tracking-service", "request_received")}


def test_log_lines_with_a_request_id_are_about_its_order_only(run: CompletedRun) -> None:
    about = {
        line["details"]["order_number"]
        for process in run.processes
        for line in process.logs
        if line["request_id"] == "order-request" and "order_number" in line["details"]
    }

    assert about == {run.traced}


def test_every_log_line_has_exactly_the_fields_of_the_contract(run: CompletedRun) -> None:
    for process in run.processes:
        for line in log_lines(process, run):
            logged = json.loads(line)
            assert FIELDS <= set(logged) <= FIELDS | OPTIONAL_FIELDS, line
            assert TIMESTAMP.fullmatch(logged["timestamp"]), line
            assert logged["level"] in {"DEBUG", "INFO", "WARNING", "ERROR"}, line
            assert isinstance(logged["details"], dict), line
            assert (logged["level"] == "ERROR") == ("error" in logged), line


def test_no_output_contains_names_or_addresses(run: CompletedRun) -> None:
    for process in run.processes:
        for private in (*NAME.split(), *ADDRESS.split()[1:]):
            assert private.casefold() not in (process.stdout + process.stderr).casefold()


def log_lines(process: Process, run: CompletedRun) -> list[str]:
    """Return the log lines of a process."""
    lines = process.stderr if process in run.subscribers else process.stdout
    return lines.splitlines()
