"""PostgreSQL and RabbitMQ become unavailable and available again; no service is restarted."""

import asyncio
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from restaurant_system.config import RabbitMQSettings
from restaurant_system.messaging import topology
from restaurant_system.messaging.rabbitmq import RabbitMQBroker
from restaurant_system.models.message import Message, StatusChanged
from restaurant_system.models.status import OrderStatus
from tests.conftest import QUICK_RETRIES
from tests.support import deployments
from tests.support.deployments import Deployment
from tests.support.orders import make_order_body
from tests.support.postgres_server import Postgres, running_postgres
from tests.support.processes import Process
from tests.support.rabbitmq_server import RabbitMQ
from tests.support.waiting import wait_until


@pytest.fixture(scope="module")
def own_postgres() -> Iterator[Postgres]:
    """Run a PostgreSQL that no other module uses."""
    with running_postgres() as server:
        yield server


def test_orders_are_accepted_during_a_rabbitmq_outage_and_cooked_afterwards(
    dsn: str, amqp_url: str, restartable_rabbitmq: RabbitMQ
) -> None:
    """Orders are accepted during the outage; afterwards they are cooked and notified."""
    with deployments.running(dsn, amqp_url) as deployment:
        deployment.start_order_service()
        deployment.start_worker("anna", scale=0.1)
        display = deployment.start_subscriber("display")
        deployment.wait_until_ready()
        begun = deployment.place_order()
        deployment.wait_for_status(begun, "cooking")

        restartable_rabbitmq.kill()
        wait_until(lambda: is_degraded(deployment), seconds=30, doing="for health to tell")
        numbers = [begun, deployment.place_order(), deployment.place_order()]
        deployment.wait_for_status(begun, "ready")  # what cooks needs no broker to become ready
        restartable_rabbitmq.start()

        for number in numbers:
            deployment.wait_for_status(number, "ready")
            assert len(deployment.history(number)) == 3
        wait_until(lambda: printed(display) >= steps_of(numbers), seconds=60, doing="for updates")
        wait_until(lambda: health(deployment) == (200, "ok"), seconds=30, doing="for health")
        assert all(process.running for process in deployment.started)


def test_services_started_during_a_rabbitmq_outage_work_afterwards(
    dsn: str, amqp_url: str, restartable_rabbitmq: RabbitMQ
) -> None:
    """Services that start before RabbitMQ connect to it by themselves."""
    with deployments.running(dsn, amqp_url) as deployment:
        restartable_rabbitmq.kill()
        deployment.start_order_service()
        anna = deployment.start_worker("anna")
        deployment.wait_until_ready()
        number = deployment.place_order()
        anna.wait_for("rabbitmq_connection_failed")
        assert deployment.get_order(number)["status"] == "received"

        restartable_rabbitmq.start()

        deployment.wait_for_status(number, "ready")
        assert all(process.running for process in deployment.started)


def test_services_survive_an_outage_of_postgresql(
    own_postgres: Postgres, optional_amqp_url: str | None
) -> None:
    dsn = own_postgres.dsn(asyncio.run(own_postgres.create_database()))
    with deployments.running(dsn, optional_amqp_url) as deployment:
        deployment.start_order_service()
        deployment.start_tracking_service()
        deployment.start_worker("anna", scale=0.1)
        display = deployment.start_subscriber("display")
        deployment.wait_until_ready()
        begun = deployment.place_order()
        deployment.wait_for_status(begun, "cooking")

        own_postgres.stop()
        refused = deployment.post_order(make_order_body())
        unknown = deployment.tracking.get(f"/orders/{begun}/status")
        unhealthy = health(deployment)
        own_postgres.start()

        assert (refused.status_code, unknown.status_code) == (503, 503)
        assert int(refused.headers["Retry-After"]) > 0
        assert refused.headers["Content-Type"] == "application/problem+json"
        assert unhealthy == (503, "unavailable")
        wait_until(lambda: health(deployment) == (200, "ok"), seconds=60, doing="for health")
        numbers = [begun, deployment.place_order()]
        for number in numbers:
            deployment.wait_for_status(number, "ready")
            assert len(deployment.history(number)) == 3
        wait_until(lambda: printed(display) >= steps_of(numbers), seconds=60, doing="for updates")
        assert all(process.running for process in deployment.started)


def test_services_that_start_without_postgresql_wait_for_it(
    own_postgres: Postgres,
) -> None:
    dsn = own_postgres.dsn(asyncio.run(own_postgres.create_database()))
    with deployments.running(dsn) as deployment:
        own_postgres.stop()
        intake, anna = deployment.start_order_service(), deployment.start_worker("anna")
        intake.wait_for("db_connection_failed")
        anna.wait_for("db_connection_failed")

        own_postgres.start()
        deployment.wait_until_ready()

        deployment.wait_for_status(deployment.place_order(), "ready")


def test_subscriber_on_rabbitmq_needs_no_database(amqp_url: str) -> None:
    nowhere = "postgresql://postgres@127.0.0.1:1/nowhere"
    with deployments.running(nowhere, amqp_url) as deployment:
        display = deployment.start_subscriber("display")
        deployment.wait_until_ready()

        asyncio.run(publish(amqp_url, make_status_update("ORD_20241216_001")))

        wait_until(lambda: "\n" in display.stdout, seconds=30, doing="for an update")
        assert display.stdout == (
            "Notification for order ORD_20241216_001: "
            "Status changed from 'received' to 'cooking' by anna.\n"
        )
        assert deployment.stop_all() == [0]


def health(deployment: Deployment) -> tuple[int, str]:
    """Return the status code and the status of the order service's health."""
    response = deployment.orders.get("/health")
    return response.status_code, response.json()["status"]


def is_degraded(deployment: Deployment) -> bool:
    """Return whether health is degraded; its status code must be 200."""
    status_code, status = health(deployment)
    assert status_code == 200
    return status == "degraded"


def printed(subscriber: Process) -> set[str]:
    """Return the lines that a subscriber has printed, without repetitions."""
    return set(subscriber.stdout.splitlines())


def steps_of(numbers: list[str]) -> set[str]:
    """Return the expected notifications about orders that the worker anna cooks."""
    return {
        f"Notification for order {number}: Status changed from '{old}' to '{new}' by anna."
        for number in numbers
        for old, new in (("received", "cooking"), ("cooking", "ready"))
    }


def make_status_update(number: str) -> Message:
    """Make the status update that the worker anna has started an order."""
    update = StatusChanged(
        order_number=number,
        old_status=OrderStatus.RECEIVED,
        new_status=OrderStatus.COOKING,
        changed_by="anna",
        timestamp=datetime.now(UTC),
    )
    return Message(
        exchange=topology.NOTIFICATIONS_FANOUT.name,
        routing_key="",
        type=StatusChanged.TYPE,
        body=update.encode(),
        message_id=uuid.uuid4(),
        correlation_id="from-a-test",
        app_id="kitchen-worker",
        timestamp=update.timestamp,
    )


async def publish(amqp_url: str, message: Message) -> None:
    """Publish a message as a service would."""
    broker = RabbitMQBroker(RabbitMQSettings(url=amqp_url), QUICK_RETRIES.retry_delays)
    await broker.connect()
    await broker.publish([message])
    await broker.close()
