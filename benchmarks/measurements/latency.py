"""Measure latency at a constant 200 orders per second, the peak of a thousand restaurants.

Open loop: the latency of an order counts from the time at which it was due. First the order service
alone, alternating with bare commits, because the speed of a shared machine varies; then with one
worker that cooks at once, and a subscriber that notes when it receives `cooking`.
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
from benchmarks.results import ResultRow, line
from benchmarks.statistics import percentile
from benchmarks.system import ARRIVAL_TIMEOUT, channel
from restaurant_system.messaging import topology

RATE = 200  # orders/s
LEAST_SECONDS = 20.0
SPELLS = 8
SPELL = 3.0  # s
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
        """The median latency in ms."""
        return percentile(self.orders, 0.5)


async def lines(bench: Bench) -> list[ResultRow]:
    """Measure the latency of responses, and the time until subscribers receive `cooking`."""
    taken = await alone(bench)
    p99 = percentile(taken.orders, 0.99)
    with_cook, until_cooking = await _with_cook(bench)
    return [
        line("latency, POST p50", taken.p50, "ms", floor=taken.commit, goal=P50_GOAL),
        line("latency, POST p99 over its p50", p99, "ms", floor=taken.p50, goal=P99_GOAL),
        line("latency, POST p99.9", percentile(taken.orders, 0.999), "ms"),
        line("latency, POST p50 with a cook", with_cook.p50, "ms"),
        line("latency, POST p99 with a cook", with_cook.p99, "ms"),
        line("latency, POST to cooking p50", percentile(until_cooking, 0.5), "ms"),
        line("latency, POST to cooking p99", percentile(until_cooking, 0.99), "ms"),
    ]


async def alone(bench: Bench, dsn: str | None = None, *, spells: int = SPELLS) -> Latency:
    """Measure bare commits and orders in turns, on a given database or a new one."""
    file = bench.folder / "latencies.json"
    commits, orders = [], list[float]()
    schedule = ("--rate", RATE, "--seconds", SPELL, "--warm-up", WARM_UP, "--latencies", file)
    async with bench.system.environment(dsn) as environment:
        _, port = await environment.order_service()
        for _ in range(spells):
            commits.append(await bench.floors.committing(environment.dsn, SPELL))
            await drive("place", port, *schedule)
            orders += json.loads(file.read_text())
        await environment.outbox_empty(await environment.sql())
    return Latency(statistics.median(commits), sorted(seconds * 1000 for seconds in orders))


async def _with_cook(bench: Bench) -> tuple[Load, list[float]]:
    """Place orders while a worker runs; also return the ms until each `cooking` update."""
    placed = bench.folder / "placed.json"
    async with bench.system.environment() as environment:
        _, port = await environment.order_service()
        await environment.kitchen_worker("anna")
        async with _hearing_of_cooking(environment.amqp) as heard:
            load = await drive("place", port, *spell(bench), "--placed", placed)
            due: dict[str, float] = json.loads(placed.read_text())
            await _until_all_are_in(due, heard)
    return load, sorted((heard[number] - due[number]) * 1000 for number in due)


def spell(bench: Bench) -> tuple[object, ...]:
    """Return the arguments of the load generator."""
    seconds = max(bench.seconds, LEAST_SECONDS)
    return ("--rate", RATE, "--seconds", seconds, "--warm-up", WARM_UP)


@contextlib.asynccontextmanager
async def _hearing_of_cooking(amqp: str) -> AsyncIterator[dict[str, float]]:
    """Subscribe for the block; yield the time of the first `cooking` update of each order."""
    heard: dict[str, float] = {}

    async def listen(message: DeliveredMessage) -> None:
        update = json.loads(message.body)
        if update["new_status"] == "cooking":
            heard.setdefault(update["order_number"], time.monotonic())

    async with channel(amqp) as line_in:
        queue = (await line_in.queue_declare(exclusive=True)).queue
        assert queue is not None  # noqa: S101 - RabbitMQ has named it
        await line_in.queue_bind(queue, topology.NOTIFICATIONS_FANOUT.name)
        await line_in.basic_consume(queue, listen, no_ack=True)
        yield heard


async def _until_all_are_in(placed: dict[str, float], heard: dict[str, float]) -> None:
    try:
        async with asyncio.timeout(ARRIVAL_TIMEOUT):
            while not placed.keys() <= heard.keys():  # noqa: ASYNC110 - a look costs nothing
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise Failed(f"{len(placed.keys() - heard.keys())} orders never cooked") from None
