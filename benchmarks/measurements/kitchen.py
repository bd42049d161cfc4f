"""Measure the kitchen: orders per second from `received` to `ready`, without cooking time.

A backlog waits in RabbitMQ before the first worker starts. Time counts from the first order that is
ready until all are, and RabbitMQ has confirmed every update. The start of a worker does not count.
"""

import asyncio

from benchmarks.bench import Bench
from benchmarks.processes import Failed
from benchmarks.results import PROCESSES, ResultRow, result_row
from benchmarks.system import Environment, stop, until_false
from restaurant_system.database.connection_factory import UnpooledConnection as Sql

GOAL = 0.5  # of the floor, by one process
COOKS = {1: ("anna",), 2: ("anna", "bert")}

UNFINISHED = """
SELECT EXISTS (SELECT FROM orders WHERE status = 'received' AND id >= $1)
    OR EXISTS (SELECT FROM orders WHERE status = 'cooking' AND id >= $1)
    OR EXISTS (SELECT FROM outbox)
"""
READY = """
SELECT count(*) AS orders, extract(epoch FROM clock_timestamp() - min(changed_at))::float AS seconds
FROM order_status_log WHERE order_id >= $1 AND status = 'ready'
"""


async def rows(bench: Bench) -> list[ResultRow]:
    """Measure one worker and two, next to the floor of one core."""
    floor = await bench.floors.kitchen(bench.seconds / 2)
    one, two = await measure(bench, 1), await measure(bench, 2)
    return [
        result_row(
            f"kitchen drain, {PROCESSES[1]}", one, "orders/s", floor=floor.orders, goal=GOAL
        ),
        result_row(f"kitchen drain, {PROCESSES[2]}", two, "orders/s", floor=floor.orders),
        result_row("floor of kitchen: R, consumed", floor.consumed, "messages/s"),
        result_row("floor of kitchen: M, moved", floor.moved, "moves/s"),
        result_row("floor of kitchen: P, published", floor.published, "messages/s"),
    ]


async def measure(bench: Bench, cooks: int, dsn: str | None = None) -> float:
    """Cook a backlog on an empty database or a given one; raise `Failed` if an order is lost."""
    async with bench.system.environment(dsn) as environment:
        first = await environment.backlog(bench.backlog)
        sql = await environment.sql()
        workers = [await environment.kitchen_worker(name) for name in COOKS[cooks]]
        rate = await drained(sql, first, bench.backlog)
        await _check_queues_empty(environment)
        await stop(workers)
    return rate


async def drained(sql: Sql, first: int, orders: int) -> float:
    """Wait until all orders from `first` on are ready and published; return orders per second."""
    await until_false(sql, UNFINISHED, first)
    ready = await sql.fetchrow(READY, first)
    assert ready is not None  # noqa: S101 - a count always has a row
    if ready["orders"] != orders:
        raise Failed(f"{ready['orders']} of {orders} orders are ready")
    return orders / float(ready["seconds"])


async def _check_queues_empty(environment: Environment) -> None:
    """Wait until no message is left: an order may be finished before its message is received."""
    for _ in range(100):
        waiting = await environment.waiting_orders()
        if not waiting:
            return
        await asyncio.sleep(0.1)
    raise Failed(f"{waiting} orders wait in RabbitMQ though all are ready")
