"""Measure latency at a constant 200 orders per second, the peak of a thousand restaurants.

Open loop: the latency of an order counts from the time at which it was due. First the order service
alone, alternating with bare commits, because the speed of a shared machine varies; then with one
worker that cooks at once, and a subscriber that records when it receives `cooking`.
"""

import asyncio
import contextlib
import json
import statistics
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

from aiormq.abc import DeliveredMessage

from benchmarks.bench import Bench
from benchmarks.driving import Load, drive
from benchmarks.processes import Failed
from benchmarks.results import ResultRow, result_row
from benchmarks.statistics import percentile
from benchmarks.system import ARRIVAL_TIMEOUT, channel
from restaurant_system.messaging import topology

RATE = 200  # orders/s
MIN_SECONDS = 20.0
TURNS = 8
TURN_SECONDS = 3.0
WARM_UP = 1.0  # s
P50_GOAL = 2.5  # bare commits
P99_GOAL = 10.0  # of p50


@dataclass(frozen=True, slots=True)
class Latency:
    """The latencies in ms of bare commits and of orders without a kitchen, sorted."""

    commit: float
    orders: list[float]

    @property
    def p50(self) -> float:
        """The median latency of orders in ms."""
        return percentile(self.orders, 0.5)


async def rows(bench: Bench) -> list[ResultRow]:
    """Measure the latency of responses, and the time until subscribers receive `cooking`."""
    taken = await measure_without_worker(bench)
    p99 = percentile(taken.orders, 0.99)
    with_cook, until_cooking = await _measure_with_worker(bench)
    return [
        result_row("latency, POST p50", taken.p50, "ms", floor=taken.commit, goal=P50_GOAL),
        result_row("latency, POST p99 over its p50", p99, "ms", floor=taken.p50, goal=P99_GOAL),
        result_row("latency, POST p99.9", percentile(taken.orders, 0.999), "ms"),
        result_row("latency, POST p50 with a cook", with_cook.p50, "ms"),
        result_row("latency, POST p99 with a cook", with_cook.p99, "ms"),
        result_row("latency, POST to cooking p50", percentile(until_cooking, 0.5), "ms"),
        result_row("latency, POST to cooking p99", percentile(until_cooking, 0.99), "ms"),
    ]


async def measure_without_worker(
    bench: Bench, dsn: str | None = None, *, turns: int = TURNS
) -> Latency:
    """Measure bare commits and orders in turns, on a given database or a new one."""
    file = bench.folder / "latencies.json"
    commits, orders = [], list[float]()
    schedule = (
        "--rate",
        RATE,
        "--seconds",
        TURN_SECONDS,
        "--warm-up",
        WARM_UP,
        "--latencies",
        file,
    )
    async with bench.system.environment(dsn) as environment:
        _, port = await environment.order_service()
        for _ in range(turns):
            commits.append(await bench.floors.committing(environment.dsn, TURN_SECONDS))
            await drive("place", port, *schedule)
            orders += json.loads(file.read_text())
        await environment.wait_until_outbox_empty(await environment.sql())
    return Latency(statistics.median(commits), sorted(seconds * 1000 for seconds in orders))


async def _measure_with_worker(bench: Bench) -> tuple[Load, list[float]]:
    """Place orders while a worker runs; also return the ms until each `cooking` update."""
    placed = bench.folder / "placed.json"
    async with bench.system.environment() as environment:
        _, port = await environment.order_service()
        await environment.kitchen_worker("anna")
        async with _cooking_times(environment.amqp) as received_at:
            load = await drive("place", port, *load_options(bench), "--placed", placed)
            due: dict[str, float] = json.loads(placed.read_text())
            await _wait_for_all(due, received_at)
    return load, sorted((received_at[number] - due[number]) * 1000 for number in due)


def load_options(bench: Bench) -> tuple[object, ...]:
    """Return the options of the load generator for orders at a constant rate."""
    seconds = max(bench.seconds, MIN_SECONDS)
    return ("--rate", RATE, "--seconds", seconds, "--warm-up", WARM_UP)


@contextlib.asynccontextmanager
async def _cooking_times(amqp: str) -> AsyncIterator[dict[str, float]]:
    """Subscribe for the block; yield the time of the first `cooking` update of each order."""
    received_at: dict[str, float] = {}

    async def on_message(message: DeliveredMessage) -> None:
        update = json.loads(message.body)
        if update["new_status"] == "cooking":
            received_at.setdefault(update["order_number"], time.monotonic())

    async with channel(amqp) as notifications:
        queue = (await notifications.queue_declare(exclusive=True)).queue
        assert queue is not None  # noqa: S101 - RabbitMQ names it
        await notifications.queue_bind(queue, topology.NOTIFICATIONS_FANOUT.name)
        await notifications.basic_consume(queue, on_message, no_ack=True)
        yield received_at


async def _wait_for_all(placed: dict[str, float], received_at: dict[str, float]) -> None:
    try:
        async with asyncio.timeout(ARRIVAL_TIMEOUT):
            while not placed.keys() <= received_at.keys():  # noqa: ASYNC110 - a set has no event
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise Failed(
            f"{len(placed.keys() - received_at.keys())} orders have no `cooking` update"
        ) from None
