"""Measure the resident memory of each service with its children: idle, and its peak under load.

The load is everything at once: 64 customers order as fast as they can while a cook cooks at once
and takes a thousand at a time, a subscriber prints every move, and 64 others look up what was
placed.
"""

import asyncio

from benchmarks.bench import Bench
from benchmarks.driving import drive
from benchmarks.measurements import intake, tracking
from benchmarks.processes import Command
from benchmarks.results import ResultRow, line
from benchmarks.system import Environment

REST = 2.0  # s in which a process comes to rest


async def lines(bench: Bench) -> list[ResultRow]:
    """Measure all four services under load."""
    async with bench.system.environment() as environment:
        orders, order_port = await environment.order_service()
        track, track_port = await environment.tracking_service()
        subscriber = await environment.start("notification-subscriber")
        await subscriber.logs("service_started")
        services = [orders, await environment.kitchen_worker("anna"), track, subscriber]
        await asyncio.sleep(REST)
        at_rest = {each.name: each.memory() for each in services}
        await _everything_at_once(bench, environment, order_port, track_port)
        return _told(at_rest, services)


async def _everything_at_once(
    bench: Bench, environment: Environment, order_port: int, track_port: int
) -> None:
    sql = await environment.sql()
    await drive("place", order_port, "--connections", 64, "--count", 500)
    file = bench.folder / "placed_numbers"
    numbers = await sql.fetch("SELECT number FROM orders")
    file.write_text("\n".join(row["number"] for row in numbers))
    await asyncio.gather(
        drive("place", order_port, *intake.spell(bench)),
        drive("status", track_port, *tracking.spell(bench.seconds), "--numbers", file),
    )


def _told(at_rest: dict[str, float], services: list[Command]) -> list[ResultRow]:
    told = []
    for each in services:
        told.append(line(f"memory, {each.name}, at rest", at_rest[each.name], "MB"))
        told.append(line(f"memory, {each.name}, under load", each.peak_memory(), "MB"))
    return told
