"""Measure the kitchen: orders per second from `received` to `ready`, without cooking time.

A backlog waits in RabbitMQ before the first cook comes. Time runs from the first order that is
ready until all are and everyone has been told of it, confirmed. A cook's start is no part of it.
"""

from benchmarks.bench import Bench
from benchmarks.processes import Failed
from benchmarks.results import PROCESSES, ResultRow, line
from benchmarks.system import Environment, stop, until_false
from restaurant_system.database.connection_factory import UnpooledConnection as Sql

GOAL = 0.5  # of the floor, by one process
COOKS = {1: ("anna",), 2: ("anna", "bert")}

STILL_TO_DO = """
SELECT EXISTS (SELECT FROM orders WHERE status = 'received' AND id >= $1)
    OR EXISTS (SELECT FROM orders WHERE status = 'cooking' AND id >= $1)
    OR EXISTS (SELECT FROM outbox)
"""
TAKEN = """
SELECT count(*) AS orders, extract(epoch FROM clock_timestamp() - min(changed_at))::float AS seconds
FROM order_status_log WHERE order_id >= $1 AND status = 'ready'
"""


async def lines(bench: Bench) -> list[ResultRow]:
    """Measure one worker and two, next to the floor of one core."""
    floor = await bench.floors.kitchen(bench.seconds / 2)
    one, two = await measure(bench, 1), await measure(bench, 2)
    return [
        line(f"kitchen drain, {PROCESSES[1]}", one, "orders/s", floor=floor.orders, goal=GOAL),
        line(f"kitchen drain, {PROCESSES[2]}", two, "orders/s", floor=floor.orders),
        line("floor of kitchen: R, taken", floor.taken, "messages/s"),
        line("floor of kitchen: M, moved", floor.moved, "moves/s"),
        line("floor of kitchen: P, published", floor.published, "messages/s"),
    ]


async def measure(bench: Bench, cooks: int, dsn: str | None = None) -> float:
    """Cook a backlog on an empty database or a given one; raise `Failed` if an order is lost."""
    async with bench.system.environment(dsn) as environment:
        first = await environment.backlog(bench.backlog)
        sql = await environment.sql()
        workers = [await environment.kitchen_worker(name) for name in COOKS[cooks]]
        rate = await drained(sql, first, bench.backlog)
        await stop(workers)
        await _nothing_left(environment)
    return rate


async def drained(sql: Sql, first: int, orders: int) -> float:
    """Wait until all orders from `first` on are ready and published; return orders per second."""
    await until_false(sql, STILL_TO_DO, first)
    taken = await sql.fetchrow(TAKEN, first)
    assert taken is not None  # noqa: S101 - a count is always answered
    if taken["orders"] != orders:
        raise Failed(f"{taken['orders']} of {orders} orders are ready")
    return orders / float(taken["seconds"])


async def _nothing_left(environment: Environment) -> None:
    waiting = await environment.waiting_orders()
    if waiting:
        raise Failed(f"{waiting} orders wait in RabbitMQ though all are ready")
