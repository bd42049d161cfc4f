"""M: status moves per second, 64 per statement, one statement at a time.

The product's own statement, on one connection: orders, log, outbox and the worker's number of
orders in one transaction, on disk before the next begins. Orders are placed between the batches;
their time does not count. `moving.py DSN SECONDS` prints it.
"""

import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import cast
from uuid import uuid4

import asyncpg
import uvloop

from benchmarks.floors.pace import print_result
from benchmarks.floors.placing import BATCH, new_command, place_batch
from restaurant_system.database import orders
from restaurant_system.database.connection import Connection
from restaurant_system.messaging.order_messages import Sender, move_with_update
from restaurant_system.models.status import OrderStatus

COOK = "floor"
INSERT_WORKER = """
INSERT INTO workers (name, type, heartbeat_interval, session)
VALUES ($1, 'dine_in,takeout,delivery', interval '30 seconds', $2)
"""
STEPS = ((OrderStatus.RECEIVED, OrderStatus.COOKING), (OrderStatus.COOKING, OrderStatus.READY))


async def moving(dsn: str, seconds: float) -> float:
    """Move orders for some seconds; return moves per second."""
    raw_connection = await asyncpg.connect(dsn)
    connection = cast("Connection", raw_connection)
    await raw_connection.execute(INSERT_WORKER, COOK, uuid4())
    batch = [new_command() for _ in range(BATCH)]
    moved, took = 0, 0.0
    while took < seconds:
        numbers = [each.number for each in await place_batch(connection, batch)]
        start = time.perf_counter()
        for origin, target in STEPS:
            moved += await _move(connection, numbers, origin, target)
        took += time.perf_counter() - start
    await raw_connection.close()
    return moved / took


async def _move(
    connection: Connection, numbers: Sequence[str], origin: OrderStatus, target: OrderStatus
) -> int:
    now, sender = datetime.now(UTC), Sender("kitchen-worker", str(uuid4()))
    moves = [
        move_with_update(each, origin=origin, target=target, at=now, by=COOK, sender=sender)
        for each in numbers
    ]
    return sum(each is not None for each in await orders.move(connection, moves))


if __name__ == "__main__":
    print_result(uvloop.run(moving(sys.argv[1], float(sys.argv[2]))))
