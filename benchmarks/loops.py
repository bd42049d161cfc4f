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
    """What is asked of the guests."""

    port: int
    connections: int
    seconds: float
    warm_up: float
    count: int | None
    rate: float | None


async def run(crowd: ClientPool, plan: Plan) -> dict[str, float]:
    """Carry out a plan; return what was measured: seconds, requests, and ms at percentiles."""
    asyncio.get_running_loop().set_exception_handler(lambda _, context: crowd.fail(_error(context)))
    guests = [await _enter(crowd, plan.port) for _ in range(plan.connections)]
    loop = _closed_loop if plan.rate is None else _open_loop
    seconds = await loop(crowd, guests, plan)
    await crowd.until_quiet()
    crowd.dismiss()
    for guest in guests:
        guest.leave()
    latencies = sorted(crowd.latencies)
    return {
        "seconds": seconds,
        "answered": len(latencies),
        "total": crowd.total,
        "p50": percentile(latencies, 0.5) * 1000,
        "p99": percentile(latencies, 0.99) * 1000,
        "p999": percentile(latencies, 0.999) * 1000,
    }


def _error(context: dict[str, Any]) -> Exception:
    """Return what went wrong in a callback, where it would only be printed."""
    error = context.get("exception")
    return error if isinstance(error, Exception) else WrongResponse(str(context["message"]))


async def _enter(crowd: ClientPool, port: int) -> Client:
    loop = asyncio.get_running_loop()
    _, guest = await loop.create_connection(lambda: Client(crowd), "127.0.0.1", port)
    return guest


async def _closed_loop(crowd: ClientPool, guests: list[Client], plan: Plan) -> float:
    """Keep every connection busy; return how many seconds were counted."""
    left = plan.count
    enough = asyncio.Event()

    def go_on(guest: Client) -> None:
        nonlocal left
        if left is not None:
            left -= 1
            if left < 0:
                enough.set()
                return
        if not enough.is_set():
            crowd.send(guest, time.monotonic())

    crowd.after = go_on
    for guest in guests:
        go_on(guest)
    await crowd.sleep(plan.warm_up)
    start = _begin(crowd)
    if plan.count is None:
        await crowd.sleep(plan.seconds)
    else:
        while not enough.is_set():
            await crowd.sleep(0.002)
        await crowd.until_quiet()
    seconds = _end(crowd, start)
    enough.set()
    return seconds


async def _open_loop(crowd: ClientPool, guests: list[Client], plan: Plan) -> float:
    """Send at a steady rate, whatever becomes of it; return how many seconds were counted."""
    assert plan.rate is not None  # noqa: S101 - that is what makes the loop open
    idle, late = deque(guests), deque[float]()

    def free(guest: Client) -> None:
        if late:
            crowd.send(guest, late.popleft())
        else:
            idle.append(guest)

    def due(at: float) -> None:
        if idle:
            crowd.send(idle.popleft(), at)
        else:
            late.append(at)

    crowd.after = free
    async with metronome(plan.rate, due):
        await crowd.sleep(plan.warm_up)
        start = _begin(crowd)
        await crowd.sleep(plan.seconds)
    await crowd.sleep(0)
    while late:
        await crowd.sleep(0.01)
    await crowd.until_quiet()  # the slow ones too: they are what the percentiles are about
    return _end(crowd, start)


@contextlib.asynccontextmanager
async def metronome(rate: float, due: Callable[[float], object]) -> AsyncIterator[None]:
    """Call `due` in this loop at a steady rate, with the time (`time.monotonic`) of each beat.

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


def _begin(crowd: ClientPool) -> float:
    crowd.counting = True
    say("began")
    return time.monotonic()


def _end(crowd: ClientPool, start: float) -> float:
    crowd.counting = False
    seconds = time.monotonic() - start
    say("ended")
    return seconds


def say(word: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()
