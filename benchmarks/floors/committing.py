"""A bare commit: one row inserted by one connection, two hundred times a second.

The milliseconds at its p50: what no order can be answered faster than. `committing.py DSN SECONDS`
prints it.
"""

import asyncio
import sys
import time

import asyncpg
import uvloop

from benchmarks.figures import percentile
from benchmarks.floors.pace import tell

RATE = 200  # commits a second

CREATE = "CREATE TABLE bare_commits (id bigint GENERATED ALWAYS AS IDENTITY, at timestamptz)"
INSERT = "INSERT INTO bare_commits (at) VALUES (now())"


async def committing(dsn: str, seconds: float) -> float:
    """Commit for a while; return the p50 of a commit in ms."""
    connection = await asyncpg.connect(dsn)
    await connection.execute(CREATE)
    insert = await connection.prepare(INSERT)
    took, start = [], time.perf_counter()
    for beat in range(int(seconds * RATE)):
        await asyncio.sleep(start + beat / RATE - time.perf_counter())
        begun = time.perf_counter()
        await insert.fetch()
        took.append(time.perf_counter() - begun)
    await connection.execute("DROP TABLE bare_commits")
    await connection.close()
    return percentile(sorted(took), 0.5) * 1000


if __name__ == "__main__":
    tell(uvloop.run(committing(sys.argv[1], float(sys.argv[2]))))
