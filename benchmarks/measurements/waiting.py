"""Measure the look-up of orders that wait in a long queue, next to that of orders that are ready.

25,000 orders wait for four cooks. Both kinds are looked up in turns over 64 connections to one
process, because the speed of a shared machine varies.
"""

import random
import statistics
from pathlib import Path

from benchmarks.bench import Bench
from benchmarks.driving import drive
from benchmarks.measurements.tracking import load_options
from benchmarks.results import ResultRow, result_row
from benchmarks.system import COOK_ALL, FINISH_ALL
from restaurant_system.database.connection_factory import UnpooledConnection

WAITING = 25_000  # orders
READY = 5_000  # orders
LOOKED_UP = 5_000  # of each kind
TURNS = 5
GOAL = 0.6  # times the rate of ready orders

ADD_COOKS = """
INSERT INTO workers (name, type, status, last_seen, heartbeat_interval, session)
SELECT 'cook_' || n, 'dine_in,takeout,delivery', 'online', now(), interval '1 day',
       gen_random_uuid()
FROM generate_series(1, 4) AS n
"""
NUMBERS = "SELECT number FROM orders WHERE status = $1"


async def rows(bench: Bench) -> list[ResultRow]:
    """Measure look-ups of waiting orders and of ready ones in turns."""
    rates: dict[str, list[float]] = {"received": [], "ready": []}
    async with bench.system.environment() as environment:
        sql = await environment.sql()
        await environment.backlog(READY)
        await sql.execute(COOK_ALL)
        await sql.execute(FINISH_ALL)
        await environment.backlog(WAITING)
        await sql.execute(ADD_COOKS)
        await sql.execute("VACUUM ANALYZE orders")
        files = {status: await _numbers(bench.folder, sql, status) for status in rates}
        _, port = await environment.tracking_service()
        options = load_options(bench.seconds / TURNS / len(rates))
        for _ in range(TURNS):
            for status, measured in rates.items():
                load = await drive("status", port, *options, "--numbers", files[status])
                measured.append(load.rate)
    waiting, ready = (statistics.median(each) for each in rates.values())
    name = f"tracking, waiting orders, {WAITING:,} in the queue"
    return [result_row(name, waiting, "reads/s", floor=ready, goal=GOAL)]


async def _numbers(folder: Path, sql: UnpooledConnection, status: str) -> Path:
    """Return a file of order numbers in random order."""
    numbers = [row["number"] for row in await sql.fetch(NUMBERS, status)]
    random.Random(1).shuffle(numbers)  # noqa: S311 - the same for every run, not a secret
    file = folder / f"{status}-numbers"
    file.write_text("\n".join(numbers[:LOOKED_UP]))
    return file
