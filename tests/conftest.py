"""Fixtures for all tests: servers for the whole run, and a database and broker for each test."""

import asyncio
import contextlib
import gc
import os
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import pytest

from restaurant_system import cancellation
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

QUORUM = "quorum"
# `make test-brokers` also runs all tests of brokers with quorum queues.
DEFAULT_QUEUE_TYPE = os.environ.get("RABBITMQ_QUEUE_TYPE", "classic")
with_every_queue_type = pytest.mark.parametrize(
    "broker", ["postgres", "rabbitmq", QUORUM], indirect=True
)
needs_priorities = pytest.mark.skipif(
    DEFAULT_QUEUE_TYPE == QUORUM, reason="quorum queues have no places by priority before 4.3"
)

# Short delays that a test can still distinguish.
QUICK_RETRIES = DeliverySettings(max_attempts=3, retry_delays=(0.2, 0.6))


def pytest_collection_finish() -> None:
    """Exclude the collected tests from garbage collection, which would traverse them each time."""
    gc.freeze()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Postgres]:
    """Run a PostgreSQL server."""
    with running_postgres() as server:
        yield server


@pytest.fixture(scope="session")
def rabbitmq_server() -> Iterator[RabbitMQ]:
    """Run a RabbitMQ node."""
    with running_rabbitmq() as server:
        yield server


@pytest.fixture(scope="session")
def tls_postgres() -> Iterator[TlsPostgres]:
    """Run a PostgreSQL server that accepts TLS connections only."""
    with contextlib.closing(TlsPostgres()) as server:
        yield server


@pytest.fixture(scope="session")
def template_database(postgres_server: Postgres) -> str:
    """Return the name of a migrated, empty database to copy."""

    async def build() -> str:
        name = await postgres_server.create_database()
        async with open_database(postgres_server.dsn(name)) as database:
            await migrations.migrate(database)
        return name

    with ThreadPoolExecutor(1) as thread:  # this thread may run an event loop
        return thread.submit(asyncio.run, build()).result()


@pytest.fixture(scope="session")
def rolled_back_dsn(postgres_server: Postgres, template_database: str) -> str:
    """Return the URL of an empty, migrated database in which all changes are rolled back.

    In the template itself, autovacuum would then learn that tables are empty, and copies would have
    plans for that.
    """
    with ThreadPoolExecutor(1) as thread:
        copying = postgres_server.create_database(template_database)
        return postgres_server.dsn(thread.submit(asyncio.run, copying).result())


@pytest.fixture
async def dsn(postgres_server: Postgres, template_database: str) -> AsyncIterator[str]:
    """Return the URL of an empty, migrated database, and drop it after the test."""
    name = await postgres_server.create_database(template_database)
    yield postgres_server.dsn(name)
    await postgres_server.drop_database(name)


@pytest.fixture
async def database(dsn: str) -> AsyncIterator[Database]:
    """Connect to the test's database."""
    async with open_database(dsn) as database:
        yield database


@pytest.fixture
def amqp_url(rabbitmq_server: RabbitMQ) -> Iterator[str]:
    """Return the URL of an empty virtual host, and delete it after the test."""
    name = rabbitmq_server.create_vhost()
    yield rabbitmq_server.url(name)
    rabbitmq_server.delete_vhost(name)


@pytest.fixture
def quick_cancellation(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cancel a task that has lost its cancellation again soon."""
    monkeypatch.setattr(cancellation, "CANCELLATION_INTERVAL", 0.05)


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
    """Return the broker in the test's database."""
    return PostgresBroker(database)


@pytest.fixture
def queue_type(request: pytest.FixtureRequest) -> str:
    """Return the type of RabbitMQ's queues."""
    callspec = getattr(request.node, "callspec", None)
    is_quorum = callspec is not None and callspec.params.get("broker") == QUORUM
    return QUORUM if is_quorum else DEFAULT_QUEUE_TYPE


@pytest.fixture
async def rabbitmq_broker(
    amqp_url: str, delivery: DeliverySettings, queue_type: str
) -> AsyncIterator[RabbitMQBroker]:
    """Connect to the test's virtual host of RabbitMQ."""
    broker = make_rabbitmq_broker(amqp_url, delivery, queue_type)
    await broker.connect()
    yield broker
    await broker.close()


@pytest.fixture(params=["postgres", "rabbitmq"])
def broker(request: pytest.FixtureRequest) -> Broker:
    """Return the broker; a test that uses this fixture runs with both brokers.

    With `with_every_queue_type` it also runs with RabbitMQ and quorum queues.
    """
    name = "postgres" if request.param == "postgres" else "rabbitmq"
    broker: Broker = request.getfixturevalue(f"{name}_broker")
    return broker


@pytest.fixture
async def other_postgres_broker(dsn: str) -> AsyncIterator[PostgresBroker]:
    """Return a second connection to the broker in the test's database."""
    async with open_database(dsn) as database:
        yield PostgresBroker(database)


@pytest.fixture
async def other_rabbitmq_broker(
    amqp_url: str, delivery: DeliverySettings, queue_type: str
) -> AsyncIterator[RabbitMQBroker]:
    """Return a second connection to RabbitMQ."""
    broker = make_rabbitmq_broker(amqp_url, delivery, queue_type)
    await broker.connect()
    yield broker
    await broker.close()


@pytest.fixture
def other_broker(request: pytest.FixtureRequest, broker: Broker) -> Broker:
    """Return a second connection to the same broker, like that of another process."""
    other: Broker = request.getfixturevalue(f"other_{broker.name}_broker")
    return other


@pytest.fixture
def broker_connections(request: pytest.FixtureRequest, broker: Broker) -> BrokerConnections:
    """Return the connections to the broker, which a test may close."""
    if broker.name == "postgres":
        return PostgresConnections(request.getfixturevalue("dsn"))
    return RabbitMQConnections(request.getfixturevalue("rabbitmq_server"))


@pytest.fixture
def management_api(rabbitmq_server: RabbitMQ, amqp_url: str) -> Iterator[ManagementApi]:
    """Return the management API for the test's virtual host."""
    with rabbitmq_server.api as api:
        yield ManagementApi(api, urlsplit(amqp_url).path.removeprefix("/"))


@contextlib.asynccontextmanager
async def open_database(dsn: str, *, read_only: bool = False) -> AsyncIterator[Database]:
    """Connect to a database for the block."""
    settings = DatabaseSettings(pool_max=20)
    database = Database(dsn, settings, application_name="test", read_only=read_only)
    await database.connect()
    try:
        yield database
    finally:
        await database.close()


def make_rabbitmq_broker(
    url: str, delivery: DeliverySettings, queue_type: str = "classic"
) -> RabbitMQBroker:
    """Make a broker on a virtual host."""
    settings = RabbitMQSettings.model_validate({"url": url, "queue_type": queue_type})
    return RabbitMQBroker(settings, delivery.retry_delays)
