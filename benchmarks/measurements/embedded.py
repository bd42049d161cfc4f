"""Measure `up`: one process on one port, with the embedded PostgreSQL and broker.

The simulated cook has no cooking time and a prefetch of 1,000, and runs in the process that accepts
orders. Intake and kitchen share one core, so neither has a floor. Look-ups are of orders that are
ready; their floor is look-ups by asyncpg alone on the other PostgreSQL of the benchmark.
"""

import asyncpg

from benchmarks.bench import Bench
from benchmarks.driving import Load, drive
from benchmarks.measurements import intake, kitchen, latency, tracking
from benchmarks.measurements.startup import up
from benchmarks.processes import Command, Failed
from benchmarks.results import ResultRow, result_row
from benchmarks.system import PREFETCH
from restaurant_system.database import data_directory
from restaurant_system.database.connection_factory import UnpooledConnection as Sql
from tests.support.processes import free_port

OPTIONS = ("--cooking-time-scale", "0")
ENVIRONMENT = {"RESTAURANT_KITCHEN__PREFETCH": str(PREFETCH)}
NUMBERS = "SELECT number FROM orders ORDER BY id LIMIT $1"


async def rows(bench: Bench) -> list[ResultRow]:
    """Measure latency, intake with the kitchen, and tracking, on one run of `up`."""
    data, port = bench.folder / "embedded", free_port()
    async with up(data, port, *OPTIONS, environment=ENVIRONMENT) as app:
        await app.wait_until_serving(port)
        sql = await asyncpg.connect(
            host=str(data / "postgres"),
            user=data_directory.SUPERUSER,
            database=data_directory.SUPERUSER,
        )
        idle = app.memory()
        constant_rate = await drive("place", port, *latency.load_options(bench))
        await kitchen.drained(sql, 1, constant_rate.total)
        taken = await _intake_while_cooking(bench, sql, port)
        read = await _read(bench, sql, port)
        result = [
            *_latency(constant_rate),
            *taken,
            *await _tracking(bench, read),
            *_memory(app, idle),
        ]
        await sql.close()
    return result


async def _intake_while_cooking(bench: Bench, sql: Sql, port: int) -> list[ResultRow]:
    """Load the app, and wait until all orders are ready; raise `Failed` if one is lost."""
    before: int = await sql.fetchval("SELECT count(*) FROM orders")
    first: int = await sql.fetchval("SELECT max(id) + 1 FROM orders")
    load = await drive("place", port, *intake.load_options(bench))
    stored = await sql.fetchval("SELECT count(*) FROM orders") - before
    if stored != load.total:
        raise Failed(f"{load.total} orders accepted, {stored} stored")
    cooked = await kitchen.drained(sql, first, load.total)
    sizes = await intake.sizes(sql)
    return [
        result_row("embedded, intake while cooking", load.rate, "orders/s"),
        result_row("embedded, intake while cooking: p50", load.p50, "ms"),
        result_row("embedded, intake while cooking: p99", load.p99, "ms"),
        result_row("embedded, from first to last ready", cooked, "orders/s"),
        *(
            result_row(f"embedded, size of {name}", sizes[name], "MB")
            for name in intake.QUEUE_TABLES
        ),
    ]


async def _read(bench: Bench, sql: Sql, port: int) -> Load:
    file = bench.folder / "embedded_numbers"
    numbers = await sql.fetch(NUMBERS, tracking.LOOKED_UP)
    file.write_text("\n".join(row["number"] for row in numbers))
    return await drive("status", port, *tracking.load_options(bench.seconds), "--numbers", file)


def _latency(load: Load) -> list[ResultRow]:
    return [
        result_row("embedded, POST p50 at 200 orders/s", load.p50, "ms"),
        result_row("embedded, POST p99 at 200 orders/s", load.p99, "ms"),
    ]


async def _tracking(bench: Bench, load: Load) -> list[ResultRow]:
    floor = (await tracking.measure_once(bench)).bare
    return [result_row("embedded, tracking", load.rate, "reads/s", floor=floor)]


def _memory(app: Command, idle: float) -> list[ResultRow]:
    return [
        result_row("embedded, memory, idle", idle, "MB"),
        result_row("embedded, memory under load", app.peak_memory(), "MB"),
    ]
