"""A whole evening with every service a process of its own, from the first guest to the last."""

import asyncio
import json
import re
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

GUESTS = 20
NAME, ADDRESS = "Zebulon Quartermaine", "17 Thistlewick Lane"
NOTIFICATION = re.compile(
    r"Notification for order (ORD_\d{8}_\d{3,}): "
    r"Status changed from '(\w+)' to '(\w+)' by (anna|bob|carla)\."
)
TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
FIELDS = {"timestamp", "level", "service", "action", "message", "hostname", "request_id", "details"}
OPTIONAL_FIELDS = {"duration_ms", "error"}


@dataclass(frozen=True)
class Evening:
    """What is left of an evening: answers, rows, output and exit codes."""

    deployment: Deployment
    subscribers: list[Process]
    numbers: list[str]
    traced: str
    queues: dict[str, int]
    exit_codes: list[int]

    @property
    def processes(self) -> list[Process]:
        """Everyone who worked."""
        return self.deployment.started

    def lines_of(self, request_id: str) -> set[tuple[str, str]]:
        """Return who logged what for a request."""
        return {
            (line["service"], line["action"])
            for process in self.processes
            for line in process.logs
            if line["request_id"] == request_id
        }


@pytest.fixture(scope="module", params=[("postgres", 60), ("rabbitmq", 300)], ids=lambda p: p[0])
def evening(
    request: pytest.FixtureRequest, postgres_server: Postgres, template_database: str
) -> Iterator[Evening]:
    """Open, serve so many orders, close, and leave the traces for the tests to read."""
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
    """Name a time zone in which it is noon or so: all orders are of one business date."""
    return f"Etc/GMT{datetime.now(UTC).hour - 12:+d}"


def place_many_orders(deployment: Deployment, count: int) -> Evening:
    """Serve so many orders of mixed types and totals, one with a request id of its own."""
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
    with ThreadPoolExecutor(GUESTS) as guests:
        numbers = list(guests.map(lambda place: order(deployment, place), range(1, count)))
    numbers.append(order(deployment, count, **{"X-Request-ID": "from-the-guest"}))
    traced = numbers[-1]

    wait_until_all_is_told(deployment, subscribers, count)
    deployment.tracking.get(f"/orders/{traced}/status", headers={"X-Request-ID": "by-the-guest"})
    queues = deployment.tracking.get("/stats").json()["queues"]
    return Evening(deployment, subscribers, numbers, traced, queues, deployment.stop_all())


def order(deployment: Deployment, place: int, **headers: str) -> str:
    """Order as the guest in this place of the line does."""
    kinds: list[dict[str, object]] = [
        {"order_type": "dine_in", "table_number": place % 100 + 1},
        {"order_type": "takeout"},
        {"order_type": "delivery", "delivery_address": ADDRESS},
    ]
    price = Decimal(["9.50", "50.00", "100.01", "100.00"][place % 4])
    body = make_order_body(customer_name=NAME, items=[make_item(price=price)], **kinds[place % 3])
    answer = deployment.post_order(body, **headers)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["order_number"])


def wait_until_all_is_told(deployment: Deployment, subscribers: list[Process], count: int) -> None:
    """Wait until every order is ready, and every subscriber has been told."""
    wait_until(
        lambda: len(deployment.query("SELECT FROM orders WHERE status = 'ready'")) == count,
        seconds=120,
        doing="for every order to be ready",
    )
    wait_until(
        lambda: all(each.stdout.count("\n") >= 2 * count for each in subscribers),
        seconds=60,
        doing="for every update to be told",
    )
    deployment.wait_until_outbox_is_empty()


def test_order_numbers_have_no_gap(evening: Evening) -> None:
    """However many order at once, numbers run from 001 without gap or repeat."""
    date = evening.numbers[0].rpartition("_")[0]

    assert sorted(evening.numbers) == [
        f"{date}_{place:03d}" for place in range(1, len(evening.numbers) + 1)
    ]


def test_every_order_takes_three_steps(evening: Evening) -> None:
    """Each order has exactly its three log rows, in order."""
    steps = defaultdict(list)
    for row in evening.deployment.query(
        "SELECT number, log.status FROM order_status_log AS log"
        " JOIN orders ON orders.id = log.order_id ORDER BY log.id"
    ):
        steps[row["number"]].append(row["status"])

    assert steps == {number: ["received", "cooking", "ready"] for number in evening.numbers}


def test_every_subscriber_is_told_everything_once_and_in_order(evening: Evening) -> None:
    """Each subscriber prints each update of each order once, the earlier one first."""
    for subscriber in evening.subscribers:
        told = defaultdict(list)
        for line in subscriber.stdout.splitlines():
            notification = NOTIFICATION.fullmatch(line)
            assert notification, line
            told[notification[1]].append((notification[2], notification[3]))

        assert set(told) == set(evening.numbers)
        assert all(
            steps == [("received", "cooking"), ("cooking", "ready")] for steps in told.values()
        )


def test_nothing_is_left_behind(evening: Evening) -> None:
    """No dead letter, nothing in a queue, nothing owed."""
    assert set(evening.queues) == {
        "kitchen_queue",
        "kitchen_dine_in_queue",
        "kitchen_takeout_queue",
        "kitchen_delivery_queue",
        "kitchen_dead_letter_queue",
    }
    assert not any(evening.queues.values())
    assert not evening.deployment.query("SELECT FROM outbox")


def test_cooks_are_credited_with_what_they_cooked(evening: Evening) -> None:
    """Every cook cooked, what it is there for only, and the book adds up."""
    cooked = evening.deployment.query("SELECT processed_by, type FROM orders")
    book = evening.deployment.query("SELECT name, status, orders_processed FROM workers")

    assert {row["type"] for row in cooked if row["processed_by"] == "carla"} == {"delivery"}
    assert {row["name"]: row["orders_processed"] for row in book} == Counter(
        row["processed_by"] for row in cooked
    )
    assert {row["status"] for row in book} == {"offline"}


def test_everyone_goes_home_in_order(evening: Evening) -> None:
    """SIGTERM ends every service with exit code 0."""
    assert evening.exit_codes == [0] * 7


def test_a_request_id_follows_its_order(evening: Evening) -> None:
    """From the HTTP request through the outbox and the kitchen to those who are told."""
    lines = evening.lines_of("from-the-guest")

    assert lines >= {
        ("order-service", "request_received"),
        ("order-service", "order_received"),
        ("order-service", "order_published"),
        ("kitchen-worker", "order_processing_started"),
        ("kitchen-worker", "order_published"),
        ("kitchen-worker", "order_completed"),
        ("notification-subscriber", "notification_received"),
    }
    assert evening.lines_of("by-the-guest") == {("tracking-service", "request_received")}


def test_a_request_id_is_of_no_other_order(evening: Evening) -> None:
    """Lines with a guest's request id are about that guest's order."""
    about = {
        line["details"]["order_number"]
        for process in evening.processes
        for line in process.logs
        if line["request_id"] == "from-the-guest" and "order_number" in line["details"]
    }

    assert about == {evening.traced}


def test_every_log_line_is_complete(evening: Evening) -> None:
    """One JSON object a line, with the fields of the contract and no others."""
    for process in evening.processes:
        for line in log_lines(process, evening):
            logged = json.loads(line)
            assert FIELDS <= set(logged) <= FIELDS | OPTIONAL_FIELDS, line
            assert TIMESTAMP.fullmatch(logged["timestamp"]), line
            assert logged["level"] in {"DEBUG", "INFO", "WARNING", "ERROR"}, line
            assert isinstance(logged["details"], dict), line
            assert (logged["level"] == "ERROR") == ("error" in logged), line


def test_no_log_line_names_a_guest(evening: Evening) -> None:
    """Names and addresses are in no output of anybody, also not those of a refused order."""
    for process in evening.processes:
        for private in (*NAME.split(), *ADDRESS.split()[1:]):
            assert private.casefold() not in (process.stdout + process.stderr).casefold()


def log_lines(process: Process, evening: Evening) -> list[str]:
    """Return every line of the stream that a process logs to."""
    lines = process.stderr if process in evening.subscribers else process.stdout
    return lines.splitlines()
