"""Measure live views: 2,000 clients of the board of one tracking service receive each update.

From the commit of the update until the last client has received it. Updates are committed at random
moments between two polls of the service, one after the other. The board is full.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator

from benchmarks.bench import Bench
from benchmarks.live_view_clients import room_for
from benchmarks.processes import Failed, lines_of
from benchmarks.results import ResultRow, line
from benchmarks.statistics import percentile
from benchmarks.system import Environment
from restaurant_system.services.tracking.live_views import POLL_INTERVAL

WATCHERS = 2_000
UPDATES = 30
OPEN = 150  # orders on the board
GOAL = 1_000.0  # ms
ARRIVAL_TIMEOUT = 60.0  # s until all are in, or all have seen an update

UPDATE = """
UPDATE orders SET status = 'cooking', processed_by = 'anna'
WHERE id = (SELECT min(id) FROM orders WHERE status = 'received')
"""


async def lines(bench: Bench) -> list[ResultRow]:
    """Measure the time until all clients receive an update."""
    took = sorted(await measure(bench))
    return [
        line("watchers, 2,000: until the last sees it, p50", percentile(took, 0.5), "ms"),
        line("watchers, 2,000: until the last sees it, worst", took[-1], "ms", goal=GOAL),
    ]


async def measure(bench: Bench) -> list[float]:
    """Return the ms of each update until the last client received it."""
    room_for(WATCHERS)  # the service has as many lines, and inherits the limit
    async with bench.system.environment() as environment:
        await environment.backlog(OPEN)
        _, port = await environment.tracking_service()
        async with lines_of("benchmarks.live_view_clients", str(port), str(WATCHERS)) as told:
            if await _next(told) != "watching":
                raise Failed("the watchers do not watch")
            return await _updates(environment, told)


async def _updates(environment: Environment, told: AsyncIterator[str]) -> list[float]:
    sql, took = await environment.sql(), []
    moments = random.Random(1)  # noqa: S311 - the same for every run, no secret
    for _ in range(UPDATES):
        await asyncio.sleep(moments.uniform(0, POLL_INTERVAL))
        await sql.execute(UPDATE)
        committed = time.monotonic()
        took.append((float(await _next(told)) - committed) * 1000)
    return took


async def _next(told: AsyncIterator[str]) -> str:
    """Return the next line of the clients' output; raise `Failed` after a timeout."""
    try:
        async with asyncio.timeout(ARRIVAL_TIMEOUT):
            return (await anext(told)).strip()
    except (TimeoutError, StopAsyncIteration):
        raise Failed(f"not all watchers have seen it after {ARRIVAL_TIMEOUT:g} s") from None
