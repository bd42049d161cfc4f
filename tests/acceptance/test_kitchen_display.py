"""The kitchen display as a process of its own, killed in the middle of the evening, and again."""

import asyncio
from collections.abc import Awaitable, Callable

import httpx

from restaurant_system.shutdown import Shutdown
from tests.support.deployments import Deployment
from tests.support.display import STATION, Display
from tests.support.processes import Process, free_port

ONCE = {"Idempotency-Key": "once"}


async def start_the_first(display: Display, first: str, second: str) -> None:
    """Open a station with two orders on its screen, and start one."""
    async with display.screen() as screen:
        await screen.shows(first, second)
        await display.done(first, "start", "received", **ONCE)


async def finish_the_first(display: Display, first: str, second: str) -> None:
    """Open it again, tap once more as after a lost answer, finish one order and start the other."""
    async with display.screen() as screen:
        await screen.shows(second, **{first: "cooking"})
        await display.done(first, "start", "received", **ONCE)
        await display.done(first, "bump", "cooking")
        await display.done(second, "start", "received")


def test_a_display_is_killed_and_comes_back_and_is_killed_for_good(deployment: Deployment) -> None:
    """What was on its screen is there again; once it is gone, others finish what it began."""
    port = free_port()
    deployment.take_orders()
    display = running_display(deployment, port)
    first, second = deployment.order(), deployment.order()

    evening_at(port, start_the_first, first, second)
    display.kill()
    display = running_display(deployment, port)
    evening_at(port, finish_the_first, first, second)
    display.kill()
    deployment.cook("mario")
    deployment.ready()
    deployment.wait_for(second, "ready")

    assert deployment.history(first) == [
        ("received", "order-service"),
        ("cooking", STATION),
        ("ready", STATION),
    ]
    assert deployment.history(second) == [
        ("received", "order-service"),
        ("cooking", STATION),
        ("ready", "mario"),
    ]


def test_a_display_that_is_stopped_sends_its_screens_away(deployment: Deployment) -> None:
    """SIGTERM with a screen open ends it soon, and well: its tickets are given back at once."""
    port = free_port()
    deployment.take_orders()
    display = running_display(deployment, port)
    number = deployment.order()

    async def stop_it(open_display: Display) -> None:
        async with open_display.screen() as screen:
            await screen.shows(number)
            assert await asyncio.to_thread(display.stop, 10) == 0

    evening_at(port, stop_it)

    assert deployment.presence(STATION) == "offline"
    deployment.cook("mario")
    deployment.wait_for(number, "ready")


def running_display(deployment: Deployment, port: int) -> Process:
    """Start a display whose stations are heard of twice a second, and wait for it."""
    display = deployment.start(
        *("kitchen-display", "--port", str(port)),
        until=lambda process: process.logged("service_started"),
        RESTAURANT_KITCHEN_DISPLAY__HOST="127.0.0.1",
        RESTAURANT_KITCHEN_DISPLAY__HEARTBEAT_INTERVAL="0.5",
    )
    deployment.ready()
    return display


def evening_at(port: int, do: Callable[..., Awaitable[None]], *numbers: str) -> None:
    """Do something at a display."""

    async def talk() -> None:
        address = f"http://127.0.0.1:{port}"
        async with httpx.AsyncClient(base_url=address, timeout=30, verify=False) as client:  # noqa: S501 - no TLS
            await do(Display(client, Shutdown()), *numbers)

    asyncio.run(talk())
