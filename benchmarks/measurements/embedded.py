"""Measure `up`: one process on one port, with the embedded PostgreSQL and broker.

The cook cooks at once and has a thousand orders in hand, in the process that takes the orders: so
intake and kitchen share one core's time, and there is no floor that is honest for either. Look-ups
are of orders that are ready, and are held against bare ones on our other PostgreSQL.
"""

import asyncpg

from benchmarks.bench import Bench
from benchmarks.driving import Load, drive
from benchmarks.measurements import intake, kitchen, latency, tracking
from benchmarks.measurements.startup import up
from benchmarks.processes import Command, Failed
from benchmarks.results import ResultRow, line
from benchmarks.system import PREFETCH
from restaurant_system.database import data_directory
from restaurant_system.database.connection_factory import UnpooledConnection as Sql
from tests.support.processes import free_port

OPTIONS = ("--cooking-time-scale", "0")
ENVIRONMENT = {"RESTAURANT_KITCHEN__PREFETCH": str(PREFETCH)}
NUMBERS = "SELECT number FROM orders ORDER BY id LIMIT $1"


async def lines(bench: Bench) -> list[ResultRow]:
    """Measure latency, intake with the kitchen, and tracking, on one run of `up`."""
    data, port = bench.folder / "embedded", free_port()
    async with up(data, port, *OPTIONS, environment=ENVIRONMENT) as everything:
        await everything.serves(port)
        sql = await asyncpg.connect(
            host=str(data / "postgres"),
            user=data_directory.SUPERUSER,
            database=data_directory.SUPERUSER,
        )
        at_rest = everything.memory()
        steady = await drive("place", port, *latency.spell(bench))
        await kitchen.drained(sql, 1, steady.total)
        taken = await _taken_and_cooked(bench, sql, port)
        read = await _read(bench, sql, port)
        told = [
            *_latency(steady),
            *taken,
            *await _tracking(bench, read),
            *_memory(everything, at_rest),
        ]
        await sql.close()
    return told


async def _taken_and_cooked(bench: Bench, sql: Sql, port: int) -> list[ResultRow]:
    """Load the app, and wait until all orders are ready; raise `Failed` if one is lost."""
    before: int = await sql.fetchval("SELECT count(*) FROM orders")
    first: int = await sql.fetchval("SELECT max(id) + 1 FROM orders")
    load = await drive("place", port, *intake.spell(bench))
    stored = await sql.fetchval("SELECT count(*) FROM orders") - before
    if stored != load.total:
        raise Failed(f"{load.total} orders accepted, {stored} stored")
    cooked = await kitchen.drained(sql, first, load.total)
    sizes = await intake.sizes(sql)
    return [
        line("embedded, intake while cooking", load.rate, "orders/s"),
        line("embedded, intake while cooking: p50", load.p50, "ms"),
        line("embedded, intake while cooking: p99", load.p99, "ms"),
        line("embedded, from first to last ready", cooked, "orders/s"),
        *(line(f"embedded, size of {name}", sizes[name], "MB") for name in intake.QUEUE_TABLES),
    ]


async def _read(bench: Bench, sql: Sql, port: int) -> Load:
    file = bench.folder / "embedded_numbers"
    numbers = await sql.fetch(NUMBERS, tracking.ASKED)
    file.write_text("\n".join(row["number"] for row in numbers))
    return await drive("status", port, *tracking.spell(bench.seconds), "--numbers", file)


def _latency(load: Load) -> list[ResultRow]:
    return [
        line("embedded, POST p50 at 200 orders/s", load.p50, "ms"),
        line("embedded, POST p99 at 200 orders/s", load.p99, "ms"),
    ]


async def _tracking(bench: Bench, load: Load) -> list[ResultRow]:
    floor = (await tracking.of(bench)).bare
    return [line("embedded, tracking", load.rate, "reads/s", floor=floor)]


def _memory(everything: Command, at_rest: float) -> list[ResultRow]:
    return [
        line("embedded, memory at rest", at_rest, "MB"),
        line("embedded, memory under load", everything.peak_memory(), "MB"),
    ]
