"""Measure tracking: status look-ups per second over 64 HTTP connections, by one process and two.

In spells, and between them spells of bare look-ups on the same orders, for a machine that others
share is faster now and slower then.

Customers ask for 10,000 orders in turn: 98 in a hundred are over, one waits and one cooks. With a
long history nearly all that are asked for are strewn over it.
"""

import random
import statistics
from dataclasses import dataclass
from pathlib import Path

from benchmarks.bench import Bench
from benchmarks.driving import drive
from benchmarks.results import PROCESSES, ResultRow, line
from benchmarks.system import FINISH_ALL, Environment

CONNECTIONS = 64
WARM_UP = 1.0  # s
SPELLS = 5
ASKED = 10_000  # orders
GOAL = 1.0  # of one look-up a query

# Ones that are over where there is a history, else those that were placed for it.
COOK = """
UPDATE orders SET status = 'cooking', processed_by = 'anna',
                  estimated_completion = now() + interval '1 hour'
WHERE status = 'received' AND id % 100 <> 0
"""
FINISH = f"{FINISH_ALL} AND id % 100 <> 1"
STRAY = "SELECT number FROM orders WHERE id < $1 ORDER BY random() LIMIT $2"
RECENT = "SELECT number, status FROM orders WHERE id >= $1"


@dataclass(frozen=True, slots=True)
class Tracking:
    """Look-ups per second: by asyncpg alone, and over HTTP by number of processes."""

    bare: float
    rates: dict[int, float]


async def lines(bench: Bench) -> list[ResultRow]:
    """Measure one process and two, next to look-ups by asyncpg alone."""
    told = await of(bench)
    return [
        line(f"tracking, {PROCESSES[n]}", rate, "reads/s", floor=told.bare, goal=GOAL)
        for n, rate in told.rates.items()
    ]


async def of(bench: Bench) -> Tracking:
    """Measure tracking on a database without a history, once per run."""
    return await bench.once("tracking", lambda: measure(bench))


async def measure(bench: Bench, dsn: str | None = None, *, spells: int = SPELLS) -> Tracking:
    """Look up orders on an empty database or a given one."""
    bare, rates = list[float](), {processes: list[float]() for processes in PROCESSES}
    async with bench.system.environment(dsn) as environment:
        numbers, seconds = await asked_for(bench, environment), bench.seconds / spells
        ports = {
            processes: (await environment.tracking_service(processes))[1] for processes in PROCESSES
        }
        for _ in range(spells):
            bare.append(await bench.floors.reading(environment.dsn, numbers, seconds))
            for processes, port in ports.items():
                load = await drive("status", port, *spell(seconds), "--numbers", numbers)
                rates[processes].append(load.rate)
    medians = {processes: statistics.median(each) for processes, each in rates.items()}
    return Tracking(statistics.median(bare), medians)


def spell(seconds: float) -> tuple[object, ...]:
    """Return the arguments of the load generator."""
    return ("--connections", CONNECTIONS, "--seconds", seconds, "--warm-up", WARM_UP)


async def asked_for(bench: Bench, environment: Environment) -> Path:
    """Place orders and move them to several statuses; return the file of their numbers."""
    sql = await environment.sql()
    with_history = await sql.fetchval("SELECT EXISTS (SELECT FROM orders)")
    first = await environment.backlog(ASKED)
    await sql.execute(COOK)
    await sql.execute(FINISH)
    await sql.execute("VACUUM ANALYZE orders")
    numbers = [row["number"] for row in await sql.fetch(RECENT, first)]
    if with_history:
        unfinished = [r["number"] for r in await sql.fetch(RECENT, first) if r["status"] != "ready"]
        strays = await sql.fetch(STRAY, first, ASKED - len(unfinished))
        numbers = [*unfinished, *(row["number"] for row in strays)]
    random.Random(1).shuffle(numbers)  # noqa: S311 - the same for every run, no secret
    file = bench.folder / "numbers"
    file.write_text("\n".join(numbers))
    return file
