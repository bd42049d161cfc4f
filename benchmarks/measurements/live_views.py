"""Measure live views: 2,000 clients of the board of one tracking service receive each update.

Time counts from the commit of the update until the last client has received it. Updates are
committed one after the other, at random times between two polls. The board is full.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator

from benchmarks.bench import Bench
from benchmarks.live_view_clients import raise_descriptor_limit
from benchmarks.processes import Failed, output_lines
from benchmarks.results import ResultRow, result_row
from benchmarks.statistics import percentile
from benchmarks.system import Environment
from restaurant_system.services.tracking.live_views import POLL_INTERVAL

CLIENTS = 2_000
UPDATES = 30
ORDERS = 150  # on the board
GOAL = 1_000.0  # ms
ARRIVAL_TIMEOUT = 60.0  # s until all clients have received the board, or an update

UPDATE = """
UPDATE orders SET status = 'cooking', processed_by = 'anna'
WHERE id = (SELECT min(id) FROM orders WHERE status = 'received')
"""


async def rows(bench: Bench) -> list[ResultRow]:
    """Measure the time until all clients receive an update."""
    took = sorted(await measure(bench))
    return [
        result_row(
            "live views, 2,000 clients, p50",
            percentile(took, 0.5),
            "ms",
        ),
        result_row(
            "live views, 2,000 clients, worst",
            took[-1],
            "ms",
            goal=GOAL,
        ),
    ]


async def measure(bench: Bench) -> list[float]:
    """Return the ms of each update until the last client received it."""
    raise_descriptor_limit(CLIENTS)  # the service has as many connections, and inherits the limit
    async with bench.system.environment() as environment:
        await environment.backlog(ORDERS)
        _, port = await environment.tracking_service()
        async with output_lines("benchmarks.live_view_clients", str(port), str(CLIENTS)) as output:
            if await _next(output) != "connected":
                raise Failed("not all clients have received the board")
            return await _updates(environment, output)


async def _updates(environment: Environment, output: AsyncIterator[str]) -> list[float]:
    sql, took = await environment.sql(), []
    moments = random.Random(1)  # noqa: S311 - the same for every run, not a secret
    for _ in range(UPDATES):
        await asyncio.sleep(moments.uniform(0, POLL_INTERVAL))
        await sql.execute(UPDATE)
        committed = time.monotonic()
        took.append((float(await _next(output)) - committed) * 1000)
    return took


async def _next(output: AsyncIterator[str]) -> str:
    """Return the next line of the clients' output; raise `Failed` after a timeout."""
    try:
        async with asyncio.timeout(ARRIVAL_TIMEOUT):
            return (await anext(output)).strip()
    except (TimeoutError, StopAsyncIteration):
        raise Failed(
            f"not all clients have received the update after {ARRIVAL_TIMEOUT:g} s"
        ) from None
