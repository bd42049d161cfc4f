"""Access the broker from a synchronous test."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from pydantic import SecretStr

from restaurant_system.config import DatabaseSettings, DeliverySettings, RabbitMQSettings
from restaurant_system.database.connection import Database
from restaurant_system.messaging.broker import Broker
from restaurant_system.messaging.postgres import PostgresBroker
from restaurant_system.messaging.rabbitmq import RabbitMQBroker
from restaurant_system.models.message import Message


class BrokerClient:
    """Publishes messages, and counts those in a queue."""

    def __init__(self, dsn: str, amqp_url: str | None = None) -> None:
        self._dsn = dsn
        self._amqp_url = amqp_url

    def put(self, *messages: Message) -> None:
        """Publish messages; fail if any is refused."""

        async def put() -> None:
            async with self._broker() as broker:
                assert await broker.publish(messages) == []

        asyncio.run(put())

    def depth(self, queue: str) -> int:
        """Count the messages in a queue."""

        async def count() -> int:
            async with self._broker() as broker:
                return (await broker.depths())[queue]

        return asyncio.run(count())

    @contextlib.asynccontextmanager
    async def _broker(self) -> AsyncIterator[Broker]:
        database = Database(self._dsn, DatabaseSettings(), application_name="test")
        broker: Broker = PostgresBroker(database)
        if self._amqp_url is None:
            await database.connect()
        else:
            settings = RabbitMQSettings(url=SecretStr(self._amqp_url))
            broker = RabbitMQBroker(settings, DeliverySettings().retry_delays)
        try:
            yield broker
        finally:
            await broker.close()
            await database.close()
