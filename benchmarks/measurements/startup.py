"""Measure the time until `up` accepts its first order, and the time of `--help`."""

import asyncio
import contextlib
import statistics
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

from benchmarks.bench import Bench
from benchmarks.clients import POST, read_response
from benchmarks.processes import Command, printed_by, running
from benchmarks.results import ResultRow, line
from restaurant_system.database import embedded
from tests.support.processes import free_port

HELP_RUNS = 5
PAUSE = 0.01  # s between two tries to order
ARRIVAL_TIMEOUT = 60.0  # s


async def lines(bench: Bench) -> list[ResultRow]:
    """Measure a start on a new data directory, one on the same directory, and `--help`."""
    data = bench.folder / "startup"
    first, second = await _first_order(data), await _first_order(data)
    return [
        line("time, up to first order, new data", first, "s"),
        line("time, up to first order, old data", second, "s"),
        line("time, --help", await _help(), "s"),
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
        with contextlib.suppress(Exception):  # it has stopped already, unless `up` was killed
            embedded.stop(data / "postgres")


async def _first_order(data: Path) -> float:
    """Return the seconds from the start of the command to the first accepted order."""
    port, start = free_port(), time.perf_counter()
    async with up(data, port), asyncio.timeout(ARRIVAL_TIMEOUT):
        while not await _accepted(port):  # noqa: ASYNC110 - it cannot tell us
            await asyncio.sleep(PAUSE)
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
                answer = read_response(received)
                if answer is not None:
                    return answer.status == b"201"
    return False


async def _help() -> float:
    """Return the median seconds of `--help`."""
    took = []
    for _ in range(HELP_RUNS):
        start = time.perf_counter()
        await printed_by("restaurant_system", "--help")
        took.append(time.perf_counter() - start)
    return statistics.median(took)
