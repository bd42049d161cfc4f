"""Prometheus scrapes all services, with the project's own rules, and finds what happened."""

import json
import os
import re
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import yaml

from tests.acceptance.test_graceful_stop import port
from tests.acceptance.test_processes import TWO, children, wait_for_listeners, wait_for_start
from tests.support import deployments
from tests.support.deployments import Deployment, error_message
from tests.support.metrics import names_in, value_in
from tests.support.orders import make_order_body
from tests.support.processes import Process, free_port
from tests.support.prometheus_server import FILES, running_prometheus
from tests.support.waiting import wait_until

DASHBOARD = Path(__file__).parents[2] / "deploy" / "grafana" / "restaurant.json"
NAME = re.compile(r"\b(?:restaurant|process)[_:][\w:]+")
ORDERS = 12
TEMPORARY = "TMPDIR"
A_PLATFORM = {"RESTAURANT_INTEGRATIONS__HUBRISE__SECRET": "a-secret-of-the-platform"}


@dataclass(frozen=True)
class Services:
    """Running services, and the port at which each has its metrics."""

    deployment: Deployment
    orders: Process
    ports: dict[str, int]

    def scrape(self, service: str) -> str:
        """Return the metrics of a service."""
        answer = httpx.get(f"http://127.0.0.1:{self.ports[service]}/metrics", verify=False)  # noqa: S501 - no TLS
        assert answer.status_code == 200, answer.text
        assert answer.elapsed.total_seconds() < 1
        return answer.text


@pytest.fixture
def services(dsn: str, amqp_url: str, tmp_path: Path) -> Iterator[Services]:
    """Run every service, two processes of the order service among them."""
    worker_port, subscriber_port, display_port = free_port(), free_port(), free_port()
    replicas = json.dumps([dsn])  # the primary itself, as after a promotion
    variables = {"RESTAURANT_DATABASE__REPLICAS": replicas}
    with deployments.running(dsn, amqp_url, **variables) as deployment:
        orders = deployment.start_order_service(*TWO, **{TEMPORARY: str(tmp_path)}, **A_PLATFORM)
        deployment.start_tracking_service()
        deployment.start_worker("mario", "--metrics-port", str(worker_port))
        deployment.start(
            *("notification-subscriber", "--metrics-port", str(subscriber_port)),
            until=lambda process: process.logged("subscribed"),
        )
        deployment.start(
            *("kitchen-display", "--port", str(display_port)),
            until=lambda process: process.logged("service_started"),
            RESTAURANT_KITCHEN_DISPLAY__HOST="127.0.0.1",
        )
        deployment.wait_until_ready()
        wait_for_start(orders)
        wait_for_listeners(deployment)
        ports = {
            "order-service": port(deployment.orders),
            "tracking-service": port(deployment.tracking),
            "kitchen-display": display_port,
            "kitchen-worker": worker_port,
            "notification-subscriber": subscriber_port,
        }
        yield Services(deployment, orders, ports)


def place_orders(deployment: Deployment, number: int) -> list[str]:
    """Place orders, each on a connection of its own, so that each process gets some."""
    answers = [deployment.post_order(make_order_body(), Connection="close") for _ in range(number)]
    return [answer.json()["order_number"] for answer in answers]


def expressions() -> Iterator[str]:
    """Yield every expression of the rules and of the dashboard."""
    for file in ("recording_rules.yml", "alert_rules.yml"):
        for group in yaml.safe_load((FILES / file).read_text("utf-8"))["groups"]:
            yield from (rule["expr"] for rule in group["rules"])
    for panel in json.loads(DASHBOARD.read_text("utf-8"))["panels"]:
        yield from (target["expr"] for target in panel.get("targets", ()))


def recorded_names() -> set[str]:
    """Return the names of the recorded figures."""
    groups = yaml.safe_load((FILES / "recording_rules.yml").read_text("utf-8"))["groups"]
    return {rule["record"] for group in groups for rule in group["rules"]}


def test_prometheus_finds_what_happened_in_all_services(services: Services, tmp_path: Path) -> None:
    deployment = services.deployment
    with running_prometheus(services.ports) as prometheus:
        prometheus.wait_for('count(up{job="restaurant"} == 1)', len(services.ports))
        numbers = place_orders(deployment, ORDERS)
        for number in numbers:
            deployment.wait_for_status(number, "ready")
        assert deployment.tracking.get(f"/orders/{numbers[0]}/status").status_code == 200

        prometheus.wait_for("sum(restaurant_orders_placed_total)", ORDERS)
        prometheus.wait_for('sum(restaurant_order_moves_total{to_status="ready"})', ORDERS)
        prometheus.wait_for(
            'sum(restaurant_order_time_to_status_seconds_count{status="ready"})', ORDERS
        )
        prometheus.wait_for(
            'restaurant_deliveries_total{queue="notifications", service="notification-subscriber"}',
            2 * ORDERS,
        )
        prometheus.wait_for('max(restaurant_workers_online{order_type="takeout"})', 1)
        prometheus.wait_for("min(restaurant_broker_available)", 1)
        prometheus.wait_for("max(restaurant_outbox_messages)", 0)
        prometheus.wait_for(
            'sum(restaurant_http_request_duration_seconds_count{route="/orders", code="201"})',
            ORDERS,
        )
        prometheus.wait_for('sum(restaurant_lookup_batch_size_sum{service="tracking-service"})', 1)
        wait_until(
            lambda: (prometheus.value("sum(restaurant:orders_placed:rate5m)") or 0) > 0,
            seconds=20,
            doing="for a recorded figure",
        )
        assert prometheus.query('ALERTS{alertstate="firing"}') == []
        for expression in expressions():
            prometheus.query(expression)  # fails if it is invalid
    check_that_all_names_exist(services)
    check_that_nothing_personal_is_exposed(services, numbers)
    check_sum_after_the_death_of_a_process(services)
    assert deployment.stop_all() == [0] * len(services.ports)
    assert list(tmp_path.iterdir()) == []  # the shared files are deleted


def check_that_all_names_exist(services: Services) -> None:
    """Compare the names in the rules and the dashboard with what the services expose."""
    exposed = set.union(*(names_in(services.scrape(each)) for each in services.ports))
    used = {name for expression in expressions() for name in NAME.findall(expression)}

    assert used - exposed - recorded_names() == set()
    assert len(used) > 30


def check_that_nothing_personal_is_exposed(services: Services, numbers: list[str]) -> None:
    """Search for what would identify a customer, a member of the staff or an order."""
    customer = json.loads(make_order_body())["customer_name"]
    texts = [services.scrape(each) for each in services.ports]

    assert not [text for text in texts for each in (customer, "mario", *numbers) if each in text]


def check_sum_after_the_death_of_a_process(services: Services) -> None:
    """Kill one of two processes: what it counted stays counted, whichever answers the scrape."""
    victim = children(services.orders)[0]
    os.kill(victim, signal.SIGKILL)
    services.orders.wait_for("process_restarted")
    wait_for_start(services.orders, 3)
    for number in place_orders(services.deployment, 4):
        services.deployment.wait_for_status(number, "ready")

    def placed() -> float | None:
        return value_in(
            services.scrape("order-service"),
            "restaurant_orders_placed_total",
            order_type="takeout",
        )

    time.sleep(0.3)  # until a rendering that was made before is not sent again
    assert {placed() for _ in range(6)} == {ORDERS + 4}


def test_metrics_port_that_is_taken_is_reported(dsn: str) -> None:
    taken = free_port()
    with deployments.running(dsn) as deployment:
        deployment.start_worker("mario", "--metrics-port", str(taken))
        deployment.wait_until_ready()

        second = deployment.start(
            "kitchen-worker", "--worker-name", "luigi", "--metrics-port", str(taken)
        )

        assert second.wait() == 1
        assert "--metrics-port" in error_message(second)
        assert not second.logged("worker_registered")
