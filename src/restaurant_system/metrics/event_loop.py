"""Measure for how long the event loop is busy."""

import asyncio

from restaurant_system.metrics.definitions import event_loop_lag_seconds

INTERVAL = 0.25  # s between two timers


async def observe_lag() -> None:
    """Observe the delay of a timer, at intervals until cancelled."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + INTERVAL
        await asyncio.sleep(INTERVAL)
        event_loop_lag_seconds.observe(max(0.0, loop.time() - due))
