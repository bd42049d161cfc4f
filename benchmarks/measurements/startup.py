"""Measure the time until `up` accepts its first order, and the time of `--help`."""

import asyncio
import contextlib
import statistics
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

from benchmarks.bench import Bench
from benchmarks.clients import POST, read_response
from benchmarks.processes import Command, output_of, running
from benchmarks.results import ResultRow, result_row
from restaurant_system.database import embedded
from tests.support.processes import free_port

HELP_RUNS = 5
RETRY_INTERVAL = 0.01  # s between two attempts to place an order
ARRIVAL_TIMEOUT = 60.0  # s


async def rows(bench: Bench) -> list[ResultRow]:
    """Measure a start on a new data directory, one on the same directory, and `--help`."""
    data = bench.folder / "startup"
    first, second = await _first_order(data), await _first_order(data)
    return [
        result_row("time, up to first order, new data", first, "s"),
        result_row("time, up to first order, old data", second, "s"),
        result_row("time, --help", await _help(), "s"),
    ]


@contextlib.asynccontextmanager
async def up(
    data: Path, port: int, *options: str, environment: Mapping[str, str] | None = None
) -> AsyncIterator[Command]:
    """Run `up` on a data directory for the block."""
    command = ("up", "--port", str(port), "--data-dir", str(data), *options)
    try:
        async with running(
            "restaurant_system", *command, folder=data.parent, environment=environment or {}
        ) as started:
            yield started
            await started.stop()
    finally:
        with contextlib.suppress(Exception):  # PostgreSQL has stopped, unless `up` was killed
            embedded.stop(data / "postgres")


async def _first_order(data: Path) -> float:
    """Return the seconds from the start of the command to the first accepted order."""
    port, start = free_port(), time.perf_counter()
    async with up(data, port), asyncio.timeout(ARRIVAL_TIMEOUT):
        while not await _accepted(port):  # noqa: ASYNC110 - the other process has no event for it
            await asyncio.sleep(RETRY_INTERVAL)
        return time.perf_counter() - start


async def _accepted(port: int) -> bool:
    """Try to place an order; return whether it was accepted."""
    with contextlib.suppress(OSError):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with contextlib.closing(writer):
            writer.write(POST)
            received = b""
            while part := await reader.read(65536):
                received += part
                response = read_response(received)
                if response is not None:
                    return response.status == b"201"
    return False


async def _help() -> float:
    """Return the median seconds of `--help`."""
    took = []
    for _ in range(HELP_RUNS):
        start = time.perf_counter()
        await output_of("restaurant_system", "--help")
        took.append(time.perf_counter() - start)
    return statistics.median(took)
