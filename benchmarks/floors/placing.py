"""D: orders per second that are placed, 64 per statement, one statement at a time.

The product's own statement, on one connection that does nothing else: counter, orders, items, log
and outbox in one transaction, on disk before the next begins. `placing.py DSN SECONDS` prints it.
"""

import sys
from datetime import UTC, datetime, timedelta
from typing import cast
from uuid import uuid4

import asyncpg
import jiter
import uvloop

from benchmarks.clients import ORDER
from benchmarks.floors.pace import print_result, rate_of
from restaurant_system.config import KitchenSettings
from restaurant_system.database.connection import Connection
from restaurant_system.database.order_placement import PlaceOrder, StoredOrder, place
from restaurant_system.messaging import topology
from restaurant_system.models.message import OrderReceived
from restaurant_system.models.order import DEFAULT_THRESHOLDS, NewOrder

BATCH = 64
KITCHEN = KitchenSettings()
KEY_LIFETIME = timedelta(hours=24)


def new_command() -> PlaceOrder:
    """Return the parameters that store an order of the load generator."""
    order = NewOrder.model_validate(jiter.from_json(ORDER, float_mode="decimal"))
    priority = DEFAULT_THRESHOLDS.priority_of(order.items_total)
    return PlaceOrder(
        order=order,
        priority=priority,
        unnumbered_body=OrderReceived.encode_without_number(order, priority),
        routing_key=topology.routing_key(order.order_type, priority),
        request_id=str(uuid4()),
    )


async def place_batch(connection: Connection, batch: list[PlaceOrder]) -> list[StoredOrder]:
    """Place a batch of orders, and wait for its commit."""
    now = datetime.now(UTC)
    placed = await place(
        connection,
        batch,
        exchange=topology.ORDERS_TOPIC.name,
        placed_by="order-service",
        at=now,
        business_date=now.date(),
        next_day=now + timedelta(days=1),
        key_lifetime=KEY_LIFETIME,
        promise_times=KITCHEN.promise_times,
        priority_times=KITCHEN.priority_times,
        lead_times={},
    )
    return [each for each in placed if each is not None]


async def placing(dsn: str, seconds: float) -> float:
    """Place orders for some seconds; return orders per second."""
    raw_connection = await asyncpg.connect(dsn)
    connection = cast("Connection", raw_connection)
    batch = [new_command() for _ in range(BATCH)]

    async def step() -> int:
        return len(await place_batch(connection, batch))

    rate = await rate_of(step, seconds)
    await raw_connection.close()
    return rate


if __name__ == "__main__":
    print_result(uvloop.run(placing(sys.argv[1], float(sys.argv[2]))))
