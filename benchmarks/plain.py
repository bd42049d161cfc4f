"""The order service without batches: one transaction and one awaited message per order.

The HTTP handler is the product's. Each request inserts the counter, the order, its items and the
first log row in one transaction, then publishes the message, and waits for the confirmation before
it responds. There is no outbox: a crash between commit and publishing loses the order for the
kitchen, so it guarantees less than the product. `plain.py PORT DSN AMQP` serves until stopped.
"""

import sys
from datetime import UTC, date, datetime
from uuid import uuid4

import asyncpg
from aiormq.abc import AbstractChannel

from benchmarks.floors.answering import serve
from benchmarks.floors.publishing import properties_of
from benchmarks.system import channel as channel_to
from restaurant_system import logger
from restaurant_system.cli.running import run
from restaurant_system.config import DeliverySettings
from restaurant_system.database.connection import Connection
from restaurant_system.messaging import topology
from restaurant_system.messaging.rabbitmq.declaration import Declarations
from restaurant_system.models.access import Caller
from restaurant_system.models.audit import Actor
from restaurant_system.models.message import Message, OrderReceived
from restaurant_system.models.order import DEFAULT_THRESHOLDS, NewOrder, order_number
from restaurant_system.services.order.service import PlacedOrder
from restaurant_system.shutdown import Shutdown

POOL = 10  # connections, as many as the product has

COUNT = """
INSERT INTO order_counters (business_date, last_number) VALUES ($1, 1)
ON CONFLICT (business_date) DO UPDATE SET last_number = order_counters.last_number + 1
RETURNING last_number
"""
INSERT_ORDER = """
INSERT INTO orders (number, business_date, customer_name, type, table_number, delivery_address,
                    notes, total_amount, priority)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) RETURNING id
"""
INSERT_ITEM = """
INSERT INTO order_items (order_id, name, quantity, price, notes) VALUES ($1, $2, $3, $4, $5)
"""
INSERT_LOG = """
INSERT INTO order_status_log (order_id, status, changed_by) VALUES ($1, 'received', 'plain')
"""


class PlainOrderService:
    """Places each order in its own transaction, with its own confirmation."""

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]", channel: AbstractChannel) -> None:
        self._pool = pool
        self._channel = channel

    async def place(
        self,
        order: NewOrder,
        *,
        request_id: str,
        key: str | None,  # noqa: ARG002
        by: Actor | None,  # noqa: ARG002
        caller: Caller | None,  # noqa: ARG002
    ) -> PlacedOrder:
        """Store an order, publish it, and return the response after the confirmation."""
        now = datetime.now(UTC)
        async with self._pool.acquire() as connection, connection.transaction():
            number = await _store(connection, order, now.date())
        await self._publish(order, number, request_id, now)
        return PlacedOrder(number, order.total_amount, tracking_url=None)

    async def _publish(self, order: NewOrder, number: str, request_id: str, now: datetime) -> None:
        priority = DEFAULT_THRESHOLDS.priority_of(order.items_total)
        message = Message(
            exchange=topology.ORDERS_TOPIC.name,
            routing_key=topology.routing_key(order.order_type, priority),
            type=OrderReceived.TYPE,
            body=OrderReceived.from_order(order, number).encode(),
            message_id=uuid4(),
            correlation_id=request_id,
            app_id="plain",
            timestamp=now,
            priority=priority,
        )
        await self._channel.basic_publish(
            message.body,
            exchange=message.exchange,
            routing_key=message.routing_key,
            properties=properties_of(message),
            mandatory=True,
        )


async def _store(connection: Connection, order: NewOrder, today: date) -> str:
    number = order_number(today, await connection.fetchval(COUNT, today))
    order_id = await connection.fetchval(
        INSERT_ORDER,
        number,
        today,
        order.customer_name,
        order.order_type,
        order.table_number,
        order.delivery_address,
        order.notes,
        order.total_amount,
        DEFAULT_THRESHOLDS.priority_of(order.items_total),
    )
    for item in order.items:
        await connection.execute(
            INSERT_ITEM, order_id, item.name, item.quantity, item.price, item.notes
        )
    await connection.execute(INSERT_LOG, order_id)
    return number


async def _run(port: int, dsn: str, amqp: str, shutdown: Shutdown) -> None:
    async with (
        asyncpg.create_pool(dsn, min_size=POOL, max_size=POOL) as pool,
        channel_to(amqp) as channel,
    ):
        await Declarations("classic", DeliverySettings().retry_delays).declare(channel)
        await serve(port, PlainOrderService(pool, channel), shutdown)


if __name__ == "__main__":
    logger.configure(service="plain", level="INFO", style="json", stream=sys.stdout)
    run(lambda shutdown: _run(int(sys.argv[1]), sys.argv[2], sys.argv[3], shutdown))
