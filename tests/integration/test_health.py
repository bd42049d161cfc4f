from collections.abc import AsyncIterator

import httpx
import pytest

from restaurant_system.app.http_service import health_feature
from restaurant_system.app.runtime import Runtime
from restaurant_system.config import DeliverySettings, RabbitMQSettings, Settings
from restaurant_system.database.connection import Database
from restaurant_system.messaging.rabbitmq import RabbitMQBroker
from restaurant_system.services.order.service import OrderService
from restaurant_system.shutdown import Shutdown
from tests.support.management_api import ManagementApi
from tests.support.orders import make_order
from tests.support.processes import free_port
from tests.support.services import http_client, make_broker


@pytest.fixture
async def client(database: Database) -> AsyncIterator[httpx.AsyncClient]:
    """Talk to a service whose broker is the one in PostgreSQL."""
    runtime = Runtime("test", Settings(), database, make_broker(database), Shutdown())
    async with http_client(health_feature(runtime, database)) as client:
        yield client


async def test_inhealth_of(client: httpx.AsyncClient) -> None:
    """With everything there the service is well, and tells how each part does."""
    response = await client.get("/health")

    assert response.status_code == 200
    assert response.headers["X-Request-ID"]
    answer = response.json()
    assert answer["status"] == "ok"
    assert set(answer["dependencies"]) == {"database", "broker", "outbox"}
    assert {part["status"] for part in answer["dependencies"].values()} == {"up"}
    assert answer["dependencies"]["database"]["latency_ms"] >= 0
    assert answer["dependencies"]["broker"]["kind"] == "postgres"


async def test_what_is_owed(
    client: httpx.AsyncClient, intake: OrderService, database: Database
) -> None:
    """Health shows how many messages are owed to the broker, and for how long."""
    for _ in range(3):
        await intake.place(make_order(), request_id="request-1", key=None)
    async with database.connection() as connection:
        await connection.execute("UPDATE outbox SET created_at = now() - interval '90 s'")

    outbox = (await client.get("/health")).json()["dependencies"]["outbox"]

    assert outbox["size"] == 3
    assert 90 <= outbox["oldest_seconds"] < 120


async def test_without_a_broker(database: Database) -> None:
    """With the broker away the service is degraded, and still works."""
    broker = RabbitMQBroker(
        RabbitMQSettings(host="127.0.0.1", port=free_port()), DeliverySettings()
    )
    runtime = Runtime("test", Settings(), database, broker, Shutdown())
    async with http_client(health_feature(runtime, database)) as client:
        response = await client.get("/health")

    assert response.status_code == 200
    answer = response.json()
    assert answer["status"] == "degraded"
    assert answer["dependencies"]["broker"]["status"] == "down"
    assert answer["dependencies"]["database"]["status"] == "up"


async def test_without_a_database(client: httpx.AsyncClient, database: Database) -> None:
    """With the database away the service is not available."""
    await database.close()

    response = await client.get("/health")

    assert response.status_code == 503
    assert int(response.headers["Retry-After"]) > 0
    answer = response.json()
    assert answer["status"] == "unavailable"
    assert answer["dependencies"]["database"]["status"] == "down"


async def test_queue_with_other_arguments_degrades_health_until_it_is_gone(
    database: Database, amqp_url: str, management_api: ManagementApi
) -> None:
    """Orders are accepted meanwhile, and the reason is told."""
    broker = RabbitMQBroker(RabbitMQSettings.model_validate({"url": amqp_url}), DeliverySettings())
    await broker.connect()
    runtime = Runtime("test", Settings(), database, broker, Shutdown())
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
