"""Watchers: 2,000 who look at the board of one tracking service, and see each update.

From the update's commit until the last of them has it. Updates come at any moment between two looks
of the service, and one after the other, so that each is told by itself. A busy evening's orders are
on the board.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator

from benchmarks.bench import Bench
from benchmarks.live_view_clients import room_for
from benchmarks.processes import Failed, lines_of
from benchmarks.results import Line, line
from benchmarks.statistics import percentile
from benchmarks.system import Environment
from restaurant_system.services.tracking.live_views import POLL_INTERVAL

WATCHERS = 2_000
UPDATES = 30
OPEN = 150  # orders on the board
GOAL = 1_000.0  # ms
PATIENCE = 60.0  # s until all are in, or all have seen an update

UPDATE = """
UPDATE orders SET status = 'cooking', processed_by = 'anna'
WHERE id = (SELECT min(id) FROM orders WHERE status = 'received')
"""


async def lines(bench: Bench) -> list[Line]:
    """Measure how soon everybody sees an update."""
    took = sorted(await measure(bench))
    return [
        line("watchers, 2,000: until the last sees it, p50", percentile(took, 0.5), "ms"),
        line("watchers, 2,000: until the last sees it, worst", took[-1], "ms", goal=GOAL),
    ]


async def measure(bench: Bench) -> list[float]:
    """Return the ms that each of some updates took until all had seen it."""
    room_for(WATCHERS)  # the service has as many lines, and inherits the limit
    async with bench.house.evening() as evening:
        await evening.backlog(OPEN)
        _, port = await evening.tracking_service()
        async with lines_of("benchmarks.live_view_clients", str(port), str(WATCHERS)) as told:
            if await _next(told) != "watching":
                raise Failed("the watchers do not watch")
            return await _updates(evening, told)


async def _updates(evening: Environment, told: AsyncIterator[str]) -> list[float]:
    sql, took = await evening.sql(), []
    moments = random.Random(1)  # noqa: S311 - the same for every run, no secret
    for _ in range(UPDATES):
        await asyncio.sleep(moments.uniform(0, POLL_INTERVAL))
        await sql.execute(UPDATE)
        committed = time.monotonic()
        took.append((float(await _next(told)) - committed) * 1000)
    return took


async def _next(told: AsyncIterator[str]) -> str:
    """Return what the watchers say next; raises `Failed` when they never do."""
    try:
        async with asyncio.timeout(PATIENCE):
            return (await anext(told)).strip()
    except (TimeoutError, StopAsyncIteration):
        raise Failed(f"not all watchers have seen it after {PATIENCE:g} s") from None
