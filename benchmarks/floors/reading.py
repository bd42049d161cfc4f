"""T: status look-ups per second by asyncpg alone, one per query.

Tracking's own query, asked for one number, on sixty-four connections, each of which goes from one
look-up to the next without a pause: as many are under way as customers of the service ask at a
time. `reading.py DSN SECONDS NUMBERS` prints it.
"""

import asyncio
import sys
import time
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path
from typing import TypeAlias

import asyncpg
import uvloop

from benchmarks.floors.pace import tell
from restaurant_system.database.tracking_queries import STATUSES

STATUS = STATUSES.replace("= ANY($1)", "= $1")  # of one order
CONNECTIONS = 64
WARM_UP = 1.0  # s, as the service has it

Query: TypeAlias = "asyncpg.prepared_stmt.PreparedStatement[asyncpg.Record]"


async def reading(dsn: str, seconds: float, numbers: list[str]) -> float:
    """Look up for some seconds; return look-ups per second."""
    lines = [await asyncpg.connect(dsn) for _ in range(CONNECTIONS)]
    queries, asked = [await line.prepare(STATUS) for line in lines], cycle(numbers)
    await _found(queries, asked, WARM_UP)
    start = time.perf_counter()
    rate = await _found(queries, asked, seconds) / (time.perf_counter() - start)
    for line in lines:
        await line.close()
    return rate


async def _found(queries: list[Query], numbers: Iterator[str], seconds: float) -> int:
    until = time.perf_counter() + seconds
    return sum(await asyncio.gather(*(_look_up(query, numbers, until) for query in queries)))


async def _look_up(query: Query, numbers: Iterator[str], until: float) -> int:
    done = 0
    while time.perf_counter() < until:
        assert await query.fetchrow(next(numbers)) is not None  # noqa: S101 - all are there
        done += 1
    return done


if __name__ == "__main__":
    numbers = Path(sys.argv[3]).read_text().split()
    tell(uvloop.run(reading(sys.argv[1], float(sys.argv[2]), numbers)))
