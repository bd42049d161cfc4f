"""Send requests in a closed or an open loop, for the load generator.

In the closed loop each connection sends its next request after the response to the previous one. In
the open loop requests have a scheduled time, from which their latency counts, so that a server that
stalls cannot hide the requests that wait meanwhile (Gil Tene calls that coordinated omission).
"""

import asyncio
import contextlib
import sys
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

from benchmarks.clients import Client, ClientPool, WrongResponse
from benchmarks.statistics import percentile


@dataclass(frozen=True, slots=True)
class Plan:
    """The parameters of a load: duration or number of requests, connections, rate."""

    port: int
    connections: int
    seconds: float
    warm_up: float
    count: int | None
    rate: float | None


async def run(pool: ClientPool, plan: Plan) -> dict[str, float]:
    """Send the requests of a plan; return seconds, numbers of responses, and percentiles in ms."""
    asyncio.get_running_loop().set_exception_handler(lambda _, context: pool.fail(_error(context)))
    clients = [await _connect(pool, plan.port) for _ in range(plan.connections)]
    loop = _closed_loop if plan.rate is None else _open_loop
    seconds = await loop(pool, clients, plan)
    await pool.until_all_answered()
    pool.ignore_errors()
    for client in clients:
        client.close()
    latencies = sorted(pool.latencies)
    return {
        "seconds": seconds,
        "answered": len(latencies),
        "total": pool.total,
        "size": pool.size,
        "p50": percentile(latencies, 0.5) * 1000,
        "p99": percentile(latencies, 0.99) * 1000,
        "p999": percentile(latencies, 0.999) * 1000,
    }


def _error(context: dict[str, Any]) -> Exception:
    """Return the error of a callback, which asyncio would only print."""
    error = context.get("exception")
    return error if isinstance(error, Exception) else WrongResponse(str(context["message"]))


async def _connect(pool: ClientPool, port: int) -> Client:
    loop = asyncio.get_running_loop()
    _, client = await loop.create_connection(lambda: Client(pool), "127.0.0.1", port)
    return client


async def _closed_loop(pool: ClientPool, clients: list[Client], plan: Plan) -> float:
    """Send the next request on each connection after each response; return the measured seconds."""
    left = plan.count
    finished = asyncio.Event()

    def send_next(client: Client) -> None:
        nonlocal left
        if left is not None:
            left -= 1
            if left < 0:
                finished.set()
                return
        if not finished.is_set():
            pool.send(client, time.monotonic())

    pool.on_response = send_next
    for client in clients:
        send_next(client)
    await pool.sleep(plan.warm_up)
    start = _begin(pool)
    if plan.count is None:
        await pool.sleep(plan.seconds)
    else:
        while not finished.is_set():
            await pool.sleep(0.002)
        await pool.until_all_answered()
    seconds = _end(pool, start)
    finished.set()
    return seconds


async def _open_loop(pool: ClientPool, clients: list[Client], plan: Plan) -> float:
    """Send at a constant rate, however slow the responses; return the measured seconds."""
    assert plan.rate is not None  # noqa: S101 - the open loop has a rate
    idle, overdue = deque(clients), deque[float]()

    def send_overdue(client: Client) -> None:
        if overdue:
            pool.send(client, overdue.popleft())
        else:
            idle.append(client)

    def due(at: float) -> None:
        if idle:
            pool.send(idle.popleft(), at)
        else:
            overdue.append(at)

    pool.on_response = send_overdue
    async with constant_rate(plan.rate, due):
        await pool.sleep(plan.warm_up)
        start = _begin(pool)
        await pool.sleep(plan.seconds)
    await pool.sleep(0)
    while overdue:
        await pool.sleep(0.01)
    await pool.until_all_answered()  # slow responses count too
    return _end(pool, start)


@contextlib.asynccontextmanager
async def constant_rate(rate: float, due: Callable[[float], object]) -> AsyncIterator[None]:
    """Call `due` in this event loop at a constant rate, with the scheduled time (`time.monotonic`).

    A thread's sleep is exact to some 0.1 ms, a timer of the loop to 1 ms.
    """
    loop, stopped = asyncio.get_running_loop(), threading.Event()
    thread = threading.Thread(
        target=lambda: _call_at_rate(rate, stopped, lambda at: loop.call_soon_threadsafe(due, at)),
        daemon=True,
    )
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        await asyncio.to_thread(thread.join)


def _call_at_rate(rate: float, stopped: threading.Event, call: Callable[[float], object]) -> None:
    start, calls = time.monotonic(), 0
    while not stopped.is_set():
        at = start + calls / rate
        time.sleep(max(0.0, at - time.monotonic()))
        call(at)
        calls += 1


def _begin(pool: ClientPool) -> float:
    pool.counting = True
    print_line("began")
    return time.monotonic()


def _end(pool: ClientPool, start: float) -> float:
    pool.counting = False
    seconds = time.monotonic() - start
    print_line("ended")
    return seconds


def print_line(text: str) -> None:
    """Print a line to standard output and flush it."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
