"""Latency at a steady 200 orders a second: more than a thousand restaurants at their peak.

An open loop: an order's time counts from when it was due. First the order service by itself, held
against a bare commit, which has the machine to itself too; then beside one cook, who cooks at once,
and a subscriber of our own, who notes when it hears that an order is cooking.
"""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

from aiormq.abc import DeliveredMessage

from benchmarks.bench import Bench
from benchmarks.driving import Load, drive
from benchmarks.figures import percentile
from benchmarks.house import PATIENCE, Evening, channel
from benchmarks.processes import Failed
from benchmarks.results import Line, line
from restaurant_system.messaging import topology

RATE = 200  # orders/s
LEAST_SECONDS = 20.0
WARM_UP = 3.0  # s
P50_GOAL = 2.5  # bare commits
P99_GOAL = 10.0  # of p50


@dataclass(frozen=True, slots=True)
class Latency:
    """The load without a cook and with one; the ms from each order to hearing that it cooks."""

    load: Load
    beside_cook: Load
    until_cooking: list[float]


async def lines(bench: Bench) -> list[Line]:
    """Measure how long a guest waits, and until everyone knows that an order is cooking."""
    commit = await bench.floors.committing()
    taken = await of(bench)
    load = taken.load
    return [
        line("latency, POST p50", load.p50, "ms", floor=commit, goal=P50_GOAL),
        line("latency, POST p99 over its p50", load.p99, "ms", floor=load.p50, goal=P99_GOAL),
        line("latency, POST p99.9", load.p999, "ms"),
        line("latency, POST p50 beside a cook", taken.beside_cook.p50, "ms"),
        line("latency, POST p99 beside a cook", taken.beside_cook.p99, "ms"),
        line("latency, POST to cooking p50", percentile(taken.until_cooking, 0.5), "ms"),
        line("latency, POST to cooking p99", percentile(taken.until_cooking, 0.99), "ms"),
    ]


async def of(bench: Bench) -> Latency:
    """Measure latency on an empty database, once in a run."""
    return await bench.once("latency", lambda: measure(bench))


async def measure(bench: Bench, dsn: str | None = None) -> Latency:
    """Place orders on schedule, on an empty database or a given one."""
    placed = bench.folder / "placed.json"
    async with bench.house.evening(dsn) as evening:
        _, port = await evening.order_service()
        alone = await drive("place", port, *spell(bench))
        await evening.kitchen_worker("anna")
        await _until_all_are_cooked(evening)
        async with _hearing_of_cooking(evening.amqp) as heard:
            load = await drive("place", port, *spell(bench), "--placed", placed)
            due: dict[str, float] = json.loads(placed.read_text())
            await _until_all_are_in(due, heard)
    return Latency(alone, load, sorted((heard[number] - due[number]) * 1000 for number in due))


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


async def _until_all_are_cooked(evening: Evening) -> None:
    sql = await evening.sql()
    while await sql.fetchval(  # noqa: ASYNC110 - a look costs nothing
        "SELECT EXISTS (SELECT FROM orders WHERE status IN ('received', 'cooking'))"
    ):
        await asyncio.sleep(0.1)


async def _until_all_are_in(placed: dict[str, float], heard: dict[str, float]) -> None:
    try:
        async with asyncio.timeout(PATIENCE):
            while not placed.keys() <= heard.keys():  # noqa: ASYNC110 - a look costs nothing
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise Failed(f"{len(placed.keys() - heard.keys())} orders never cooked") from None
