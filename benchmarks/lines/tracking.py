"""Tracking: status look-ups a second over HTTP, 64 connections, by one process and by two.

Guests ask for 10,000 orders in turn: 98 in a hundred are over, one waits and one cooks. With a long
history nearly all that are asked for are strewn over it.
"""

import random
from pathlib import Path

from benchmarks.bench import Bench
from benchmarks.driving import drive
from benchmarks.house import Evening
from benchmarks.results import Line, line
from restaurant_system.database.connection import Line as Sql

CONNECTIONS = 64
WARM_UP = 2.0  # s
ASKED = 10_000  # orders
GOAL = 1.0  # of one look-up a query
WORDS = {1: "one process", 2: "two processes"}

# Ones that are over where there is a history, else those that were placed for it.
COOK = """
UPDATE orders SET status = 'cooking', processed_by = 'anna',
                  estimated_completion = now() + interval '1 hour'
WHERE status = 'received' AND id % 100 <> 0
"""
FINISH = """
UPDATE orders SET status = 'ready', completed_at = now(), estimated_completion = NULL
WHERE status = 'cooking' AND ($1 OR id % 100 <> 1)
"""
BEGIN_THE_REST = (
    "UPDATE orders SET status = 'cooking', processed_by = 'anna' WHERE status = 'received'"
)
STRAY = "SELECT number FROM orders WHERE id < $1 ORDER BY random() LIMIT $2"
RECENT = "SELECT number, status FROM orders WHERE id >= $1"


async def lines(bench: Bench) -> list[Line]:
    """Measure both, and hold them against bare look-ups on the same orders."""
    floor = await floor_of(bench)
    return [
        line(f"tracking, {words}", await of(bench, processes), "reads/s", floor=floor, goal=GOAL)
        for processes, words in WORDS.items()
    ]


async def of(bench: Bench, processes: int) -> float:
    """Measure tracking on a database with nothing else in it, once in a run."""
    return await bench.once(f"tracking {processes}", lambda: measure(bench, processes))


async def floor_of(bench: Bench) -> float:
    """Measure bare look-ups on a database with nothing else in it, once in a run."""

    async def measured() -> float:
        async with bench.house.evening() as evening:
            numbers = await asked_for(bench, evening)
            return await bench.floors.reading(evening.dsn, numbers)

    return await bench.once("tracking floor", measured)


async def measure(bench: Bench, processes: int, dsn: str | None = None) -> float:
    """Ask for orders, of an empty database or a given one; return answers a second."""
    async with bench.house.evening(dsn) as evening:
        numbers = await asked_for(bench, evening)
        _, port = await evening.tracking_service(processes)
        load = await drive("status", port, *spell(bench), "--numbers", numbers)
        await finish_all(await evening.sql())
    return load.rate


def spell(bench: Bench) -> tuple[object, ...]:
    """Say to the load generator how, and for how long."""
    return ("--connections", CONNECTIONS, "--seconds", bench.seconds, "--warm-up", WARM_UP)


async def asked_for(bench: Bench, evening: Evening) -> Path:
    """Place orders and bring them to where they stand; return the file with all to ask for."""
    sql = await evening.sql()
    with_history = await sql.fetchval("SELECT EXISTS (SELECT FROM orders)")
    first = await evening.backlog(ASKED)
    await sql.execute(COOK)
    await sql.execute(FINISH, False)  # noqa: FBT003 - a parameter of the query
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


async def finish_all(sql: Sql) -> None:
    """Leave no order unfinished: its message is gone with the evening."""
    await sql.execute(BEGIN_THE_REST)
    await sql.execute(FINISH, True)  # noqa: FBT003 - a parameter of the query
