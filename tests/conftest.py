"""What every test may ask for. Servers live as long as the run; databases as long as one test."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import pytest

from restaurant_system.config import DatabaseSettings, DeliverySettings, RabbitMQSettings
from restaurant_system.database import migrations
from restaurant_system.database.connection import Database
from restaurant_system.messaging.broker import Broker
from restaurant_system.messaging.postgres import PostgresBroker
from restaurant_system.messaging.rabbitmq import RabbitMQBroker
from restaurant_system.messaging.retry_policy import RetryPolicy
from tests.support.broker_connections import (
    BrokerConnections,
    PostgresConnections,
    RabbitMQConnections,
)
from tests.support.management_api import ManagementApi
from tests.support.postgres_server import Postgres, running_postgres
from tests.support.rabbitmq_server import RabbitMQ, running_rabbitmq
from tests.support.tls_postgres import TlsPostgres

# Short enough for a test, long enough to tell apart.
QUICK_RETRIES = DeliverySettings(max_attempts=3, retry_delays=(0.2, 0.6))


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Postgres]:
    """Run a PostgreSQL."""
    with running_postgres() as server:
        yield server


@pytest.fixture(scope="session")
def rabbitmq_server() -> Iterator[RabbitMQ]:
    """Run a RabbitMQ."""
    with running_rabbitmq() as server:
        yield server


@pytest.fixture(scope="session")
def tls_postgres() -> Iterator[TlsPostgres]:
    """Run a PostgreSQL that takes encrypted lines only."""
    with contextlib.closing(TlsPostgres()) as server:
        yield server


@pytest.fixture(scope="session")
def template_database(postgres_server: Postgres) -> str:
    """Name a database with the whole schema and nothing in it, to be copied."""

    async def build() -> str:
        name = await postgres_server.create_database()
        async with open_database(postgres_server.dsn(name)) as database:
            await migrations.migrate(database)
        return name

    with ThreadPoolExecutor(1) as thread:  # a test's own loop may be running in this one
        return thread.submit(asyncio.run, build()).result()


@pytest.fixture
async def dsn(postgres_server: Postgres, template_database: str) -> AsyncIterator[str]:
    """Name an empty, migrated database of the test's own, which is gone afterwards."""
    name = await postgres_server.create_database(template_database)
    yield postgres_server.dsn(name)
    await postgres_server.drop_database(name)


@pytest.fixture
async def database(dsn: str) -> AsyncIterator[Database]:
    """Open the test's own database."""
    async with open_database(dsn) as database:
        yield database


@pytest.fixture
def amqp_url(rabbitmq_server: RabbitMQ) -> Iterator[str]:
    """Name an empty virtual host of the test's own, which is gone afterwards."""
    name = rabbitmq_server.create_vhost()
    yield rabbitmq_server.url(name)
    rabbitmq_server.delete_vhost(name)


@pytest.fixture
def delivery() -> DeliverySettings:
    """Return the settings of retries and dead letters; a test module may override them."""
    return QUICK_RETRIES


@pytest.fixture
def policy(delivery: DeliverySettings) -> RetryPolicy:
    """Return the retry policy of these settings."""
    return RetryPolicy(delivery)


@pytest.fixture
def postgres_broker(database: Database) -> PostgresBroker:
    """Open the broker in the test's own database."""
    return PostgresBroker(database)


@pytest.fixture
async def rabbitmq_broker(
    amqp_url: str, delivery: DeliverySettings
) -> AsyncIterator[RabbitMQBroker]:
    """Open RabbitMQ, on the test's own virtual host."""
    broker = make_rabbitmq_broker(amqp_url, delivery)
    await broker.connect()
    yield broker
    await broker.close()


@pytest.fixture(params=["postgres", "rabbitmq"])
def broker(request: pytest.FixtureRequest) -> Broker:
    """Open a broker: each test that asks for one runs with both."""
    broker: Broker = request.getfixturevalue(f"{request.param}_broker")
    return broker


@pytest.fixture
async def other_postgres_broker(dsn: str) -> AsyncIterator[PostgresBroker]:
    """Open a second line to the broker in the test's own database."""
    async with open_database(dsn) as database:
        yield PostgresBroker(database)


@pytest.fixture
async def other_rabbitmq_broker(
    amqp_url: str, delivery: DeliverySettings
) -> AsyncIterator[RabbitMQBroker]:
    """Open a second line to RabbitMQ."""
    broker = make_rabbitmq_broker(amqp_url, delivery)
    await broker.connect()
    yield broker
    await broker.close()


@pytest.fixture
def other_broker(request: pytest.FixtureRequest, broker: Broker) -> Broker:
    """Open a second line to the same broker, as another process would."""
    other: Broker = request.getfixturevalue(f"other_{broker.name}_broker")
    return other


@pytest.fixture
def broker_connections(request: pytest.FixtureRequest, broker: Broker) -> BrokerConnections:
    """Name the lines to the broker, which a test may cut."""
    if broker.name == "postgres":
        return PostgresConnections(request.getfixturevalue("dsn"))
    return RabbitMQConnections(request.getfixturevalue("rabbitmq_server"))


@pytest.fixture
def management_api(rabbitmq_server: RabbitMQ, amqp_url: str) -> Iterator[ManagementApi]:
    """Open RabbitMQ's management interface on the test's own virtual host."""
    with rabbitmq_server.api as api:
        yield ManagementApi(api, urlsplit(amqp_url).path.removeprefix("/"))


@contextlib.asynccontextmanager
async def open_database(dsn: str, *, read_only: bool = False) -> AsyncIterator[Database]:
    """Open a database for a while."""
    settings = DatabaseSettings(pool_max=20)
    database = Database(dsn, settings, application_name="test", read_only=read_only)
    await database.connect()
    try:
        yield database
    finally:
        await database.close()


def make_rabbitmq_broker(url: str, delivery: DeliverySettings) -> RabbitMQBroker:
    """Build a broker on a virtual host."""
    return RabbitMQBroker(RabbitMQSettings.model_validate({"url": url}), delivery.retry_delays)
