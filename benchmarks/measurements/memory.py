"""Measure the resident memory of each service with its children: idle, and its peak under load.

All services are loaded at the same time: 64 connections place orders, a worker without cooking time
and with a prefetch of 1,000 cooks them, a subscriber prints every update, and 64 other connections
look up orders.
"""

import asyncio

from benchmarks.bench import Bench
from benchmarks.driving import drive
from benchmarks.measurements import intake, tracking
from benchmarks.processes import Command
from benchmarks.results import ResultRow, result_row
from benchmarks.system import Environment

IDLE_DELAY = 2.0  # s until a started process is idle


async def rows(bench: Bench) -> list[ResultRow]:
    """Measure all four services under load."""
    async with bench.system.environment() as environment:
        orders, order_port = await environment.order_service()
        track, track_port = await environment.tracking_service()
        subscriber = await environment.start("notification-subscriber")
        await subscriber.wait_for_log("service_started")
        services = [orders, await environment.kitchen_worker("anna"), track, subscriber]
        await asyncio.sleep(IDLE_DELAY)
        idle = {each.name: each.memory() for each in services}
        await _load_all_services(bench, environment, order_port, track_port)
        return _rows(idle, services)


async def _load_all_services(
    bench: Bench, environment: Environment, order_port: int, track_port: int
) -> None:
    sql = await environment.sql()
    await drive("place", order_port, "--connections", 64, "--count", 500)
    file = bench.folder / "placed_numbers"
    numbers = await sql.fetch("SELECT number FROM orders")
    file.write_text("\n".join(row["number"] for row in numbers))
    await asyncio.gather(
        drive("place", order_port, *intake.load_options(bench)),
        drive("status", track_port, *tracking.load_options(bench.seconds), "--numbers", file),
    )


def _rows(idle: dict[str, float], services: list[Command]) -> list[ResultRow]:
    result = []
    for each in services:
        result.append(result_row(f"memory, {each.name}, idle", idle[each.name], "MB"))
        result.append(result_row(f"memory, {each.name}, under load", each.peak_memory(), "MB"))
    return result
