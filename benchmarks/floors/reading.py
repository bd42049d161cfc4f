"""T: look-ups of an order's status a second by asyncpg alone, one look-up a query.

Tracking's own query, asked for one number. Sixty-four look-ups want to be done at once; they are
done by as many connections as are best at it, which is found out first: each connection goes from
one to the next without a pause, so that what a pool would cost is left out. `reading.py DSN SECONDS
NUMBERS` prints it.
"""

import asyncio
import sys
import time
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path

import asyncpg
import uvloop

from benchmarks.floors.pace import tell
from restaurant_system.database.connection import Line
from restaurant_system.database.tracking import STATUSES

STATUS = STATUSES.replace("= ANY($1)", "= $1")  # of one order
CONNECTIONS = (2, 4, 8, 16, 64)
TRIAL = 0.2  # of the seconds, to find the best of them


async def reading(dsn: str, seconds: float, numbers: list[str]) -> float:
    """Look up for a while; return the rate of the best number of connections."""
    lines = [await asyncpg.connect(dsn) for _ in range(max(CONNECTIONS))]
    asked = cycle(numbers)
    trials = {n: await _rate(lines[:n], asked, seconds * TRIAL) for n in CONNECTIONS}
    best = max(trials, key=lambda n: trials[n])
    rate = await _rate(lines[:best], asked, seconds)
    for line in lines:
        await line.close()
    return rate


async def _rate(lines: list[Line], numbers: Iterator[str], seconds: float) -> float:
    start = time.perf_counter()
    found = await asyncio.gather(*(_look_up(line, numbers, start + seconds) for line in lines))
    return sum(found) / (time.perf_counter() - start)


async def _look_up(line: Line, numbers: Iterator[str], until: float) -> int:
    query, done = await line.prepare(STATUS), 0
    while time.perf_counter() < until:
        assert await query.fetchrow(next(numbers)) is not None  # noqa: S101 - all are there
        done += 1
    return done


if __name__ == "__main__":
    numbers = Path(sys.argv[3]).read_text().split()
    tell(uvloop.run(reading(sys.argv[1], float(sys.argv[2]), numbers)))
