"""A bare commit: one row inserted by one connection, two hundred times a second.

The milliseconds at its p50: what no order can be answered faster than. Like an order's they count
from when it was due, by the same metronome. `committing.py DSN SECONDS` prints it.
"""

import asyncio
import sys
import time

import asyncpg
import uvloop

from benchmarks.floors.pace import tell
from benchmarks.loops import metronome
from benchmarks.statistics import percentile

RATE = 200  # commits a second

CREATE = "CREATE TABLE bare_commits (id bigint GENERATED ALWAYS AS IDENTITY, at timestamptz)"
INSERT = "INSERT INTO bare_commits (at) VALUES (now())"


async def committing(dsn: str, seconds: float) -> float:
    """Commit for some seconds; return the p50 in ms."""
    connection = await asyncpg.connect(dsn)
    await connection.execute(CREATE)
    insert = await connection.prepare(INSERT)
    beats: asyncio.Queue[float] = asyncio.Queue()
    took = []
    async with metronome(RATE, beats.put_nowait):
        for _ in range(int(seconds * RATE)):
            due = await beats.get()
            await insert.fetch()
            took.append(time.monotonic() - due)
    await connection.execute("DROP TABLE bare_commits")
    await connection.close()
    return percentile(sorted(took), 0.5) * 1000


if __name__ == "__main__":
    tell(uvloop.run(committing(sys.argv[1], float(sys.argv[2]))))
