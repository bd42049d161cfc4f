"""A bare commit: one row inserted by one connection, 200 times per second.

The result is its p50 in ms: no order can be answered faster. As with orders, the time counts from
the scheduled time of the commit. `committing.py DSN SECONDS` prints it.
"""

import asyncio
import sys
import time

import asyncpg
import uvloop

from benchmarks.floors.pace import print_result
from benchmarks.loops import constant_rate
from benchmarks.statistics import percentile

RATE = 200  # commits a second

CREATE = "CREATE TABLE bare_commits (id bigint GENERATED ALWAYS AS IDENTITY, at timestamptz)"
INSERT = "INSERT INTO bare_commits (at) VALUES (now())"


async def committing(dsn: str, seconds: float) -> float:
    """Commit a row at a constant rate for some seconds; return the p50 in ms."""
    connection = await asyncpg.connect(dsn)
    await connection.execute(CREATE)
    insert = await connection.prepare(INSERT)
    schedule: asyncio.Queue[float] = asyncio.Queue()
    took = []
    async with constant_rate(RATE, schedule.put_nowait):
        for _ in range(int(seconds * RATE)):
            due = await schedule.get()
            await insert.fetch()
            took.append(time.monotonic() - due)
    await connection.execute("DROP TABLE bare_commits")
    await connection.close()
    return percentile(sorted(took), 0.5) * 1000


if __name__ == "__main__":
    print_result(uvloop.run(committing(sys.argv[1], float(sys.argv[2]))))
