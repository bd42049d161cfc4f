import asyncio
from collections.abc import Awaitable, Callable

import httpx

from restaurant_system.shutdown import Shutdown
from tests.support.deployments import Deployment
from tests.support.display import STATION, Display
from tests.support.processes import Process, free_port

ONCE = {"Idempotency-Key": "once-and-for-all"}


async def start_first(display: Display, first: str, second: str) -> None:
    """Open a station with two orders on its screen, and start the first."""
    async with display.screen() as screen:
        await screen.shows(first, second)
        await display.perform(first, "start", "received", **ONCE)


async def finish_first(display: Display, first: str, second: str) -> None:
    """Open the station again, repeat the last tap, finish the first order and start the second."""
    async with display.screen() as screen:
        await screen.shows(second, **{first: "cooking"})
        await display.perform(first, "start", "received", **ONCE)
        await display.perform(first, "bump", "cooking")
        await display.perform(second, "start", "received")


def test_killed_display_shows_its_tickets_again_and_its_orders_are_taken_over(
    deployment: Deployment,
) -> None:
    port = free_port()
    deployment.start_order_service()
    display = start_display(deployment, port)
    first, second = deployment.place_order(), deployment.place_order()

    run_at(port, start_first, first, second)
    display.kill()
    display = start_display(deployment, port)
    run_at(port, finish_first, first, second)
    display.kill()
    deployment.start_worker("mario")
    deployment.wait_until_ready()
    deployment.wait_for_status(second, "ready")

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


def test_stopped_display_closes_its_screens_and_releases_its_orders(deployment: Deployment) -> None:
    port = free_port()
    deployment.start_order_service()
    display = start_display(deployment, port)
    number = deployment.place_order()

    async def stop_display(open_display: Display) -> None:
        async with open_display.screen() as screen:
            await screen.shows(number)
            assert await asyncio.to_thread(display.stop, 10) == 0

    run_at(port, stop_display)

    assert deployment.worker_status(STATION) == "offline"
    deployment.start_worker("mario")
    deployment.wait_for_status(number, "ready")


def start_display(deployment: Deployment, port: int) -> Process:
    """Start a display whose stations send two heartbeats a second; wait until it is ready."""
    display = deployment.start(
        *("kitchen-display", "--port", str(port)),
        until=lambda process: process.logged("service_started"),
        RESTAURANT_KITCHEN_DISPLAY__HOST="127.0.0.1",
        RESTAURANT_KITCHEN_DISPLAY__HEARTBEAT_INTERVAL="0.5",
    )
    deployment.wait_until_ready()
    return display


def run_at(port: int, do: Callable[..., Awaitable[None]], *numbers: str) -> None:
    """Run a coroutine function against the display on this port."""

    async def run() -> None:
        address = f"http://127.0.0.1:{port}"
        async with httpx.AsyncClient(base_url=address, timeout=30, verify=False) as client:  # noqa: S501 - no TLS
            await do(Display(client, Shutdown()), *numbers)

    asyncio.run(run())
