"""The two loops of the load generator.

In the closed loop each connection sends its next request when it has its answer. In the open loop
requests have a scheduled time, from which their latency counts, so that a server that stalls cannot
hide what waits meanwhile (Gil Tene calls that coordinated omission).
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
    """The parameters of a load."""

    port: int
    connections: int
    seconds: float
    warm_up: float
    count: int | None
    rate: float | None


async def run(pool: ClientPool, plan: Plan) -> dict[str, float]:
    """Run a load; return seconds, numbers of requests, and percentiles in ms."""
    asyncio.get_running_loop().set_exception_handler(lambda _, context: pool.fail(_error(context)))
    clients = [await _enter(pool, plan.port) for _ in range(plan.connections)]
    loop = _closed_loop if plan.rate is None else _open_loop
    seconds = await loop(pool, clients, plan)
    await pool.until_quiet()
    pool.dismiss()
    for client in clients:
        client.leave()
    latencies = sorted(pool.latencies)
    return {
        "seconds": seconds,
        "answered": len(latencies),
        "total": pool.total,
        "p50": percentile(latencies, 0.5) * 1000,
        "p99": percentile(latencies, 0.99) * 1000,
        "p999": percentile(latencies, 0.999) * 1000,
    }


def _error(context: dict[str, Any]) -> Exception:
    """Return the error of a callback, which asyncio would only print."""
    error = context.get("exception")
    return error if isinstance(error, Exception) else WrongResponse(str(context["message"]))


async def _enter(pool: ClientPool, port: int) -> Client:
    loop = asyncio.get_running_loop()
    _, client = await loop.create_connection(lambda: Client(pool), "127.0.0.1", port)
    return client


async def _closed_loop(pool: ClientPool, clients: list[Client], plan: Plan) -> float:
    """Keep every connection busy; return the measured seconds."""
    left = plan.count
    enough = asyncio.Event()

    def go_on(client: Client) -> None:
        nonlocal left
        if left is not None:
            left -= 1
            if left < 0:
                enough.set()
                return
        if not enough.is_set():
            pool.send(client, time.monotonic())

    pool.after = go_on
    for client in clients:
        go_on(client)
    await pool.sleep(plan.warm_up)
    start = _begin(pool)
    if plan.count is None:
        await pool.sleep(plan.seconds)
    else:
        while not enough.is_set():
            await pool.sleep(0.002)
        await pool.until_quiet()
    seconds = _end(pool, start)
    enough.set()
    return seconds


async def _open_loop(pool: ClientPool, clients: list[Client], plan: Plan) -> float:
    """Send at a constant rate whatever the responses; return the measured seconds."""
    assert plan.rate is not None  # noqa: S101 - that is what makes the loop open
    idle, late = deque(clients), deque[float]()

    def free(client: Client) -> None:
        if late:
            pool.send(client, late.popleft())
        else:
            idle.append(client)

    def due(at: float) -> None:
        if idle:
            pool.send(idle.popleft(), at)
        else:
            late.append(at)

    pool.after = free
    async with metronome(plan.rate, due):
        await pool.sleep(plan.warm_up)
        start = _begin(pool)
        await pool.sleep(plan.seconds)
    await pool.sleep(0)
    while late:
        await pool.sleep(0.01)
    await pool.until_quiet()  # the slow responses count too
    return _end(pool, start)


@contextlib.asynccontextmanager
async def metronome(rate: float, due: Callable[[float], object]) -> AsyncIterator[None]:
    """Call `due` in this loop at a constant rate, with the scheduled time (`time.monotonic`).

    A thread's sleep is exact to some 0.1 ms, a timer of the loop to 1 ms.
    """
    loop, over = asyncio.get_running_loop(), threading.Event()
    thread = threading.Thread(
        target=lambda: _beat(rate, over, lambda at: loop.call_soon_threadsafe(due, at)), daemon=True
    )
    thread.start()
    try:
        yield
    finally:
        over.set()
        await asyncio.to_thread(thread.join)


def _beat(rate: float, over: threading.Event, beat: Callable[[float], object]) -> None:
    start, beats = time.monotonic(), 0
    while not over.is_set():
        at = start + beats / rate
        time.sleep(max(0.0, at - time.monotonic()))
        beat(at)
        beats += 1


def _begin(pool: ClientPool) -> float:
    pool.counting = True
    say("began")
    return time.monotonic()


def _end(pool: ClientPool, start: float) -> float:
    pool.counting = False
    seconds = time.monotonic() - start
    say("ended")
    return seconds


def say(word: str) -> None:
    """Print a line and flush it."""
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()
