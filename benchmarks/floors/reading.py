"""T: status look-ups per second by asyncpg alone, one per query.

The query of the tracking service for one number, on 64 connections, each of which sends its next
query after the result of the previous one: as many as the load on the service has.
`reading.py DSN SECONDS NUMBERS` prints it.
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

from benchmarks.floors.pace import print_result
from restaurant_system.database.order_months import numbers_and_ids
from restaurant_system.database.tracking_queries import STATUSES

CONNECTIONS = 64
WARM_UP = 1.0  # s, as with the service

Query: TypeAlias = "asyncpg.prepared_stmt.PreparedStatement[asyncpg.Record]"
Parameters: TypeAlias = tuple[list[str], list[int]]  # of one order


async def reading(dsn: str, seconds: float, numbers: list[str]) -> float:
    """Look up orders for some seconds; return look-ups per second."""
    connections = [await asyncpg.connect(dsn) for _ in range(CONNECTIONS)]
    queries = [await each.prepare(STATUSES) for each in connections]
    endless = cycle([numbers_and_ids([number]) for number in numbers])
    await _look_up_all(queries, endless, WARM_UP)
    start = time.perf_counter()
    rate = await _look_up_all(queries, endless, seconds) / (time.perf_counter() - start)
    for each in connections:
        await each.close()
    return rate


async def _look_up_all(queries: list[Query], wanted: Iterator[Parameters], seconds: float) -> int:
    until = time.perf_counter() + seconds
    return sum(await asyncio.gather(*(_look_up(query, wanted, until) for query in queries)))


async def _look_up(query: Query, wanted: Iterator[Parameters], until: float) -> int:
    done = 0
    while time.perf_counter() < until:
        assert await query.fetchrow(*next(wanted)) is not None  # noqa: S101 - all exist
        done += 1
    return done


if __name__ == "__main__":
    numbers = Path(sys.argv[3]).read_text().split()
    print_result(uvloop.run(reading(sys.argv[1], float(sys.argv[2]), numbers)))
