"""Latency at a steady 200 orders a second: more than a thousand restaurants at their peak.

An open loop: an order's time counts from when it was due. First the order service by itself, in
spells between spells of bare commits, for a machine that others share is faster now and slower
then; then beside one cook, who cooks at once, and a subscriber of our own, who notes when it hears
that an order is cooking.
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
from benchmarks.results import Line, line
from benchmarks.statistics import percentile
from benchmarks.system import PATIENCE, channel
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
    """The ms of a bare commit, and of orders by themselves, in order."""

    commit: float
    orders: list[float]

    @property
    def p50(self) -> float:
        """Half of all orders were answered within so many ms."""
        return percentile(self.orders, 0.5)


async def lines(bench: Bench) -> list[Line]:
    """Measure how long a guest waits, and until everyone knows that an order is cooking."""
    taken = await alone(bench)
    p99 = percentile(taken.orders, 0.99)
    beside_cook, until_cooking = await _with_cook(bench)
    return [
        line("latency, POST p50", taken.p50, "ms", floor=taken.commit, goal=P50_GOAL),
        line("latency, POST p99 over its p50", p99, "ms", floor=taken.p50, goal=P99_GOAL),
        line("latency, POST p99.9", percentile(taken.orders, 0.999), "ms"),
        line("latency, POST p50 beside a cook", beside_cook.p50, "ms"),
        line("latency, POST p99 beside a cook", beside_cook.p99, "ms"),
        line("latency, POST to cooking p50", percentile(until_cooking, 0.5), "ms"),
        line("latency, POST to cooking p99", percentile(until_cooking, 0.99), "ms"),
    ]


async def alone(bench: Bench, dsn: str | None = None, *, spells: int = SPELLS) -> Latency:
    """Commit for a spell, place orders for a spell, and so on, on a given database or a new one."""
    file = bench.folder / "latencies.json"
    commits, orders = [], list[float]()
    schedule = ("--rate", RATE, "--seconds", SPELL, "--warm-up", WARM_UP, "--latencies", file)
    async with bench.house.evening(dsn) as evening:
        _, port = await evening.order_service()
        for _ in range(spells):
            commits.append(await bench.floors.committing(evening.dsn, SPELL))
            await drive("place", port, *schedule)
            orders += json.loads(file.read_text())
        await evening.outbox_empty(await evening.sql())
    return Latency(statistics.median(commits), sorted(seconds * 1000 for seconds in orders))


async def _with_cook(bench: Bench) -> tuple[Load, list[float]]:
    """Place orders beside a cook; return also the ms until each was heard to be cooking."""
    placed = bench.folder / "placed.json"
    async with bench.house.evening() as evening:
        _, port = await evening.order_service()
        await evening.kitchen_worker("anna")
        async with _hearing_of_cooking(evening.amqp) as heard:
            load = await drive("place", port, *spell(bench), "--placed", placed)
            due: dict[str, float] = json.loads(placed.read_text())
            await _until_all_are_in(due, heard)
    return load, sorted((heard[number] - due[number]) * 1000 for number in due)


def spell(bench: Bench) -> tuple[object, ...]:
    """Say to the load generator how, and for how long."""
    seconds = max(bench.seconds, LEAST_SECONDS)
    return ("--rate", RATE, "--seconds", seconds, "--warm-up", WARM_UP)


@contextlib.asynccontextmanager
async def _hearing_of_cooking(amqp: str) -> AsyncIterator[dict[str, float]]:
    """Subscribe for a while; yields when each order was first heard to be cooking."""
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
        async with asyncio.timeout(PATIENCE):
            while not placed.keys() <= heard.keys():  # noqa: ASYNC110 - a look costs nothing
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise Failed(f"{len(placed.keys() - heard.keys())} orders never cooked") from None
