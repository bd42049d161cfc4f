from collections.abc import AsyncIterator

import httpx
import pytest

from restaurant_system.app.http_service import health_feature
from restaurant_system.app.runtime import Runtime
from restaurant_system.config import DeliverySettings, RabbitMQSettings, Settings
from restaurant_system.database.connection import Database
from restaurant_system.messaging.rabbitmq import RabbitMQBroker
from restaurant_system.messaging.retry_policy import RetryPolicy
from restaurant_system.services.order.service import OrderService
from restaurant_system.shutdown import Shutdown
from tests.support.management_api import ManagementApi
from tests.support.orders import make_order
from tests.support.processes import free_port
from tests.support.services import http_client, make_broker


@pytest.fixture
async def shutdown() -> Shutdown:
    """Return the stop requests of the service."""
    return Shutdown()


@pytest.fixture
async def client(database: Database, shutdown: Shutdown) -> AsyncIterator[httpx.AsyncClient]:
    """Return a client of a service with the broker in PostgreSQL."""
    runtime = Runtime(
        "test",
        Settings(),
        database,
        make_broker(database),
        RetryPolicy(DeliverySettings()),
        shutdown,
    )
    async with http_client(health_feature(runtime, database)) as client:
        yield client


async def test_health_is_ok_while_all_dependencies_are_up(client: httpx.AsyncClient) -> None:
    response = await client.get("/health")

    assert response.status_code == 200
    assert response.headers["X-Request-ID"]
    body = response.json()
    assert body["status"] == "ok"
    assert set(body["dependencies"]) == {"database", "broker", "outbox"}
    assert {part["status"] for part in body["dependencies"].values()} == {"up"}
    assert body["dependencies"]["database"]["latency_ms"] >= 0
    assert body["dependencies"]["broker"]["kind"] == "postgres"


async def test_health_is_degraded_by_an_outbox_that_is_not_published(
    client: httpx.AsyncClient, intake: OrderService, database: Database
) -> None:
    for _ in range(3):
        await intake.place(make_order(), request_id="request-1", key=None)
    async with database.connection() as connection:
        await connection.execute("UPDATE outbox SET created_at = now() - interval '90 s'")

    health = (await client.get("/health")).json()
    outbox = health["dependencies"]["outbox"]

    assert health["status"] == "degraded"
    assert outbox["reason"].startswith("The oldest message has waited for 9")
    assert outbox["size"] == 3
    assert 90 <= outbox["oldest_seconds"] < 120


async def test_health_is_degraded_without_the_broker(database: Database) -> None:
    broker = RabbitMQBroker(
        RabbitMQSettings(host="127.0.0.1", port=free_port()), DeliverySettings().retry_delays
    )
    runtime = Runtime(
        "test", Settings(), database, broker, RetryPolicy(DeliverySettings()), Shutdown()
    )
    async with http_client(health_feature(runtime, database)) as client:
        response = await client.get("/health")
        ready = await client.get("/health/ready")

    assert (response.status_code, ready.status_code) == (200, 200)
    body = response.json()
    assert body["status"] == "degraded"
    assert body["dependencies"]["broker"]["status"] == "down"
    assert body["dependencies"]["database"]["status"] == "up"


async def test_health_is_unavailable_without_the_database(
    client: httpx.AsyncClient, database: Database
) -> None:
    await database.close()

    response = await client.get("/health")

    assert response.status_code == 503
    assert int(response.headers["Retry-After"]) > 0
    body = response.json()
    assert body["status"] == "unavailable"
    assert body["dependencies"]["database"]["status"] == "down"


async def test_process_without_the_database_is_live(
    client: httpx.AsyncClient, database: Database
) -> None:
    """An orchestrator that restarts what is not live would restart everything in an outage."""
    await database.close()

    response = await client.get("/health/live")

    assert response.status_code == 200
    assert response.json() == {"status": "ok"}


async def test_process_without_the_database_is_not_ready(
    client: httpx.AsyncClient, database: Database
) -> None:
    before = await client.get("/health/ready")
    await database.close()
    after = await client.get("/health/ready")

    assert (before.status_code, before.json()) == (200, {"status": "ready"})
    assert after.status_code == 503
    assert after.json() == {"status": "not ready", "reason": "Down: database."}


async def test_draining_process_answers_and_is_not_ready(
    client: httpx.AsyncClient, shutdown: Shutdown
) -> None:
    shutdown.drain_for(60)
    shutdown.request_stop()

    ready = await client.get("/health/ready")

    assert (ready.status_code, ready.json()["reason"]) == (503, "The service is stopping.")
    assert (await client.get("/health")).status_code == 200


async def test_queue_with_other_arguments_degrades_health_until_it_is_deleted(
    database: Database, amqp_url: str, management_api: ManagementApi
) -> None:
    """Orders are accepted while health is degraded; its response has the reason."""
    broker = RabbitMQBroker(
        RabbitMQSettings.model_validate({"url": amqp_url}), DeliverySettings().retry_delays
    )
    await broker.connect()
    runtime = Runtime(
        "test", Settings(), database, broker, RetryPolicy(DeliverySettings()), Shutdown()
    )
    async with http_client(health_feature(runtime, database)) as client:
        management_api.delete_queue("kitchen_takeout_queue")
        management_api.declare_queue("kitchen_takeout_queue", {"x-max-priority": 3})
        wrong = (await client.get("/health")).json()
        management_api.delete_queue("kitchen_takeout_queue")
        right = (await client.get("/health")).json()
    await broker.close()

    assert wrong["status"] == "degraded"
    assert wrong["dependencies"]["broker"]["status"] == "down"
    assert "kitchen_takeout_queue exists" in wrong["dependencies"]["broker"]["reason"]
    assert right["status"] == "ok"
