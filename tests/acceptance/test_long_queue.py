"""Tens of thousands of waiting orders take disk, not memory, and every service keeps working."""

import asyncio
import json
import sys
import time
from collections.abc import Callable, Iterator

import httpx
import pytest

from tests.support import deployments
from tests.support.deployments import Deployment
from tests.support.orders import make_order_body
from tests.support.postgres_server import Postgres, running_postgres
from tests.support.processes import Process
from tests.support.rabbitmq_server import RabbitMQ
from tests.support.waiting import wait_until

WAITING = 20_000
SOME = 1_500
GROWTH = 20  # MB that a service may have at its worst, beyond what it has when it is idle
SHORT_INTERVALS = {
    "RESTAURANT_RECONCILIATION__INTERVAL": "2",
    "RESTAURANT_RECONCILIATION__AFTER": "1",
}
MAX_RESPONSE_SECONDS = 3  # on a busy machine

PLACE_ORDERS = """
INSERT INTO orders (number, business_date, customer_name, type, total_amount, priority)
SELECT 'ORD_20200101_' || to_char(n, 'FM000000'), '2020-01-01', 'Ada Lovelace', 'takeout', 10.50, 1
FROM generate_series(1, $1::integer) AS n
"""
# Reconciliation leaves an order without items alone: they are brought once its message is there.
BRING_ITEMS = """
INSERT INTO order_items (order_id, name, quantity, price)
SELECT id, 'Margherita', 3, 3.50 FROM orders WHERE business_date = '2020-01-01'
"""

# What is the same in the body of each, as the order service writes it.
REST = json.dumps(
    {
        "customer_name": "Ada Lovelace",
        "order_type": "takeout",
        "table_number": None,
        "delivery_address": None,
        "items": [{"name": "Margherita", "quantity": 1, "price": 3.5, "notes": "no onions"}] * 3,
        "notes": None,
        "total_amount": 10.5,
        "priority": 1,
    }
)
MESSAGES = f"""
SELECT number, 'orders_topic' AS exchange, 'kitchen.takeout.1' AS routing_key,
       'order.received' AS type,
       convert_to('{{"order_number": "' || number || '", {REST.removeprefix("{")}', 'UTF8') AS body,
       gen_random_uuid() AS message_id, 'from-a-test' AS correlation_id,
       'order-service' AS app_id, now() AS timestamp, 1 AS priority
FROM orders WHERE business_date = '2020-01-01' ORDER BY id
"""  # noqa: S608 - constants
OWE_THEM = f"""
INSERT INTO outbox (stream, exchange, routing_key, type, body, message_id, correlation_id, app_id,
                    timestamp, priority)
SELECT exchange || '/' || number, exchange, routing_key, type, body, message_id, correlation_id,
       app_id, timestamp, priority
FROM ({MESSAGES}) AS message
"""  # noqa: S608 - constants
QUEUE_THEM = f"""
INSERT INTO broker_messages (queue, exchange, routing_key, type, body, message_id, correlation_id,
                             app_id, timestamp, priority, content_type, headers)
SELECT 'kitchen_takeout_queue', exchange, routing_key, type, body, message_id, correlation_id,
       app_id, timestamp, priority, 'application/json', '{{}}'
FROM ({MESSAGES}) AS message
"""  # noqa: S608 - constants
ANALYZE = "ANALYZE"  # as PostgreSQL does by itself within a minute
LOSE_THEM = "DELETE FROM broker_messages"
RESENT = "SELECT count(*) AS orders FROM order_resends"
OLDEST = "SELECT min(id) AS id FROM {table}"

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")


@pytest.fixture(scope="module")
def own_postgres() -> Iterator[Postgres]:
    """Run a PostgreSQL that no other module uses."""
    with running_postgres() as server:
        yield server


@pytest.fixture
def own_dsn(own_postgres: Postgres) -> str:
    """Return the URL of a new database on the module's PostgreSQL."""
    return own_postgres.dsn(asyncio.run(own_postgres.create_database()))


def open_all(deployment: Deployment) -> dict[Process, float]:
    """Start every service, use each once, and return the memory of each in MB."""
    services = [
        deployment.start_order_service(),
        deployment.start_worker("anna", "--prefetch", "10"),
        deployment.start_tracking_service(),
        deployment.start_subscriber("display"),
    ]
    deployment.wait_until_ready()
    for number in [deployment.place_order() for _ in range(20)]:
        deployment.wait_for_status(number, "ready")
    deployment.wait_until_outbox_is_empty()
    answer_in_time(deployment)
    return {service: service.memory for service in services}


def answer_in_time(deployment: Deployment) -> None:
    """Assert that each HTTP service responds in time."""
    questions: list[Callable[[], httpx.Response]] = [
        lambda: deployment.post_order(make_order_body()),
        lambda: deployment.orders.get("/health"),
        lambda: deployment.tracking.get("/health"),
        lambda: deployment.tracking.get("/stats"),
        lambda: deployment.tracking.get("/orders"),
        lambda: deployment.tracking.get("/orders/ORD_20200101_199999/status"),
    ]
    for question in questions:
        started = time.monotonic()
        answer = question()
        assert time.monotonic() - started < MAX_RESPONSE_SECONDS, answer.url
        assert answer.status_code in {200, 201, 404}, answer.text


def gone_from(deployment: Deployment, table: str) -> int:
    """Return how many of the oldest messages have been deleted from a table."""
    oldest: int = deployment.query(OLDEST.format(table=table))[0]["id"]
    return oldest


def assert_modest(idle: dict[Process, float]) -> None:
    """Assert that the peak memory of each service is within its limit."""
    growth = {service.logs[0]["service"]: service.peak_memory - idle[service] for service in idle}
    assert all(megabytes < GROWTH for megabytes in growth.values()), growth


def test_long_outbox_takes_no_memory(
    own_dsn: str, amqp_url: str, restartable_rabbitmq: RabbitMQ
) -> None:
    """Memory stays low while RabbitMQ is unavailable and while the whole outbox is published."""
    with deployments.running(own_dsn, amqp_url, **SHORT_INTERVALS) as deployment:
        idle = open_all(deployment)
        restartable_rabbitmq.kill()
        deployment.query(PLACE_ORDERS, WAITING)
        deployment.query(OWE_THEM)
        deployment.query(BRING_ITEMS)
        deployment.query(ANALYZE)
        wait_until(
            lambda: outbox_size(deployment) >= WAITING,
            seconds=30,
            doing="for the size of the outbox",
        )
        answer_in_time(deployment)
        assert_modest(idle)

        restartable_rabbitmq.start()

        wait_until(
            lambda: gone_from(deployment, "outbox") > SOME,
            seconds=60,
            doing="for some to be published",
        )
        answer_in_time(deployment)
        assert_modest(idle)


def test_long_queue_takes_no_memory(own_dsn: str) -> None:
    """Memory stays low with all orders in the queue table, and when that table has been emptied."""
    with deployments.running(own_dsn, **SHORT_INTERVALS) as deployment:
        idle = open_all(deployment)
        deployment.query(PLACE_ORDERS, WAITING)

        deployment.query(QUEUE_THEM)
        deployment.query(BRING_ITEMS)
        deployment.query(ANALYZE)

        wait_until(
            lambda: gone_from(deployment, "broker_messages") > SOME / 10,
            seconds=60,
            doing="for some to be cooked",
        )
        answer_in_time(deployment)
        assert_modest(idle)
        assert not deployment.query(RESENT)[0]["orders"]

        deployment.query(LOSE_THEM)

        wait_until(
            lambda: deployment.query(RESENT)[0]["orders"] > SOME / 3,
            seconds=60,
            doing="for some to be sent again",
        )
        answer_in_time(deployment)
        assert_modest(idle)


def outbox_size(deployment: Deployment) -> int:
    """Return the size of the outbox according to health; 0 unless that is degraded."""
    health = deployment.orders.get("/health").json()
    size: int = health["dependencies"]["outbox"].get("size", 0)
    return size if health["status"] == "degraded" else 0
