"""Measure tracking: status look-ups per second over 64 HTTP connections, by one process and two.

Measured in turns that alternate with look-ups by asyncpg alone on the same orders, because the
speed of a shared machine varies.

10,000 orders are looked up in random order: 98 % are finished, 1 % wait and 1 % cook. They are the
newest ones, or nearly all of them are random orders of the last month of a history.
"""

import random
import statistics
from dataclasses import dataclass
from pathlib import Path

from benchmarks.bench import Bench
from benchmarks.driving import drive
from benchmarks.results import PROCESSES, ResultRow, result_row
from benchmarks.system import FINISH_ALL, Environment

CONNECTIONS = 64
WARM_UP = 1.0  # s
TURNS = 5
LOOKED_UP = 10_000  # orders
GOAL = 1.0  # times the rate of asyncpg alone

COOK = """
UPDATE orders SET status = 'cooking', processed_by = 'anna',
                  estimated_completion = now() + interval '1 hour'
WHERE status = 'received' AND id % 100 <> 0
"""
FINISH = f"{FINISH_ALL} AND id % 100 <> 1"
RANDOM_FINISHED = """
SELECT number FROM orders WHERE id >= first_order_id(current_date - 27) AND id < $1
ORDER BY random() LIMIT $2
"""
RECENT = "SELECT number, status FROM orders WHERE id >= $1"


@dataclass(frozen=True, slots=True)
class Tracking:
    """Look-ups per second: by asyncpg alone, and over HTTP by number of processes."""

    bare: float
    rates: dict[int, float]


async def rows(bench: Bench) -> list[ResultRow]:
    """Measure one process and two, next to look-ups by asyncpg alone."""
    measured = await measure_once(bench)
    return [
        result_row(f"tracking, {PROCESSES[n]}", rate, "reads/s", floor=measured.bare, goal=GOAL)
        for n, rate in measured.rates.items()
    ]


async def measure_once(bench: Bench) -> Tracking:
    """Measure tracking on a database without a history; do so once per benchmark run."""
    return await bench.once("tracking", lambda: measure(bench))


async def measure(
    bench: Bench, dsn: str | None = None, *, turns: int = TURNS, of_last_month: bool = False
) -> Tracking:
    """Look up the newest orders or those of the last month, in a new database or a given one."""
    bare, rates = list[float](), {processes: list[float]() for processes in PROCESSES}
    async with bench.system.environment(dsn) as environment:
        numbers = await place_orders(bench, environment, of_last_month=of_last_month)
        seconds = bench.seconds / turns
        ports = {
            processes: (await environment.tracking_service(processes))[1] for processes in PROCESSES
        }
        for _ in range(turns):
            bare.append(await bench.floors.reading(environment.dsn, numbers, seconds))
            for processes, port in ports.items():
                load = await drive("status", port, *load_options(seconds), "--numbers", numbers)
                rates[processes].append(load.rate)
    medians = {processes: statistics.median(each) for processes, each in rates.items()}
    return Tracking(statistics.median(bare), medians)


def load_options(seconds: float) -> tuple[object, ...]:
    """Return the options of the load generator for as many look-ups as possible."""
    return ("--connections", CONNECTIONS, "--seconds", seconds, "--warm-up", WARM_UP)


async def place_orders(
    bench: Bench, environment: Environment, *, of_last_month: bool = False
) -> Path:
    """Place orders and move them to several statuses; return a file of order numbers to look up."""
    sql = await environment.sql()
    first = await environment.backlog(LOOKED_UP)
    await sql.execute(COOK)
    await sql.execute(FINISH)
    await sql.execute("VACUUM ANALYZE orders")
    numbers = [row["number"] for row in await sql.fetch(RECENT, first)]
    if of_last_month:
        unfinished = [r["number"] for r in await sql.fetch(RECENT, first) if r["status"] != "ready"]
        finished = await sql.fetch(RANDOM_FINISHED, first, LOOKED_UP - len(unfinished))
        numbers = [*unfinished, *(row["number"] for row in finished)]
    random.Random(1).shuffle(numbers)  # noqa: S311 - the same for every run, not a secret
    file = bench.folder / "numbers"
    file.write_text("\n".join(numbers))
    return file
