"""Run `make bench`: measure throughput, latency and memory, each next to its floor."""

import asyncio
import logging
import shutil
import signal
import sys
import tempfile
from collections.abc import Awaitable, Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
import uvloop
from rich.console import Console

from benchmarks import picture, results
from benchmarks.bench import Bench
from benchmarks.measurements import (
    access_control,
    embedded,
    growth,
    intake,
    kitchen,
    latency,
    live_views,
    memory,
    partitions,
    startup,
    tracking,
    waiting,
)
from benchmarks.processes import Failed
from benchmarks.results import ResultRow
from benchmarks.system import SystemUnderTest
from restaurant_system import logger
from tests.support.progress import Progress

WIDTH = 110  # characters


class Group(StrEnum):
    """A group of measurements, the value of `--only`."""

    INTAKE = "intake"
    PLAIN = "plain"
    LATENCY = "latency"
    KITCHEN = "kitchen"
    TRACKING = "tracking"
    WAITING = "waiting"
    ACCESS_CONTROL = "access-control"
    LIVE_VIEWS = "live-views"
    GROWTH = "growth"
    MEMORY = "memory"
    TIME = "time"
    EMBEDDED = "embedded"
    PARTITIONS = "partitions"


MEASURES: dict[Group, Callable[[Bench], Awaitable[list[ResultRow]]]] = {
    Group.INTAKE: intake.rows,
    Group.PLAIN: intake.plain_rows,
    Group.LATENCY: latency.rows,
    Group.KITCHEN: kitchen.rows,
    Group.TRACKING: tracking.rows,
    Group.WAITING: waiting.rows,
    Group.ACCESS_CONTROL: access_control.rows,
    Group.LIVE_VIEWS: live_views.rows,
    Group.GROWTH: growth.rows,
    Group.MEMORY: memory.rows,
    Group.TIME: startup.rows,
    Group.EMBEDDED: embedded.rows,
    Group.PARTITIONS: partitions.rows,
}


def main(
    *,
    only: Annotated[
        list[Group] | None,
        typer.Option(
            metavar="NAME",
            help=f"Measure only this group, and write no results; repeatable: {', '.join(Group)}.",
        ),
    ] = None,
    seconds: Annotated[
        float, typer.Option(min=1, help="Seconds for which each rate is measured.")
    ] = 10,
    history: Annotated[
        int, typer.Option(min=1, help="Finished orders in the database for the group growth.")
    ] = 1_000_000,
    backlog: Annotated[
        int, typer.Option(min=1, help="Waiting orders for the group kitchen.")
    ] = 20_000,
) -> None:
    """Measure the product; write the results as JSON and as a picture."""
    logger.configure(service="bench", level="ERROR", style="auto", stream=sys.stderr)
    logging.getLogger("aiormq").setLevel(logging.CRITICAL)  # closed connections are expected
    signal.signal(signal.SIGTERM, _as_ctrl_c)  # stops the servers too
    console = Console()
    console.width = max(console.width, WIDTH)  # so that no row is wrapped
    chosen = only or list(Group)
    try:
        rows = _measured(chosen, console, seconds=seconds, history=history, backlog=backlog)
    except Failed as error:
        sys.exit(f"make bench: {error}")
    results.show(rows, console)
    if only is None:
        results.write(rows)
        picture.draw()
        console.print(f"Written to {results.JSON} and {results.PICTURE.name} next to it.")


def _as_ctrl_c(*_: object) -> None:
    signal.raise_signal(signal.SIGINT)


def _measured(
    chosen: list[Group], console: Console, *, seconds: float, history: int, backlog: int
) -> list[ResultRow]:
    """Measure on private servers, which are stopped afterwards in any case."""
    folder = Path(tempfile.mkdtemp(prefix="restaurant-bench-"))
    try:
        system = SystemUnderTest(folder)
        try:
            bench = Bench(system, folder, seconds=seconds, history=history, backlog=backlog)
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                return runner.run(_all(chosen, bench, console))
        finally:
            system.close()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def _all(chosen: list[Group], bench: Bench, console: Console) -> list[ResultRow]:
    progress = Progress(console, stages=len(chosen))
    rows: list[ResultRow] = []
    for group in chosen:
        progress.start(f"measure {group}")
        rows += await MEASURES[group](bench)
    return rows


if __name__ == "__main__":
    cli = typer.Typer(pretty_exceptions_enable=False, add_completion=False)
    cli.command()(main)
    cli()
