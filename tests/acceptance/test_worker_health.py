"""What probes and systemd's watchdog find out about a worker and a subscriber."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.deployments import environment
from tests.support.processes import Process, Processes, free_port, processes
from tests.support.tcp_proxy import proxy
from tests.support.waiting import eventually

COMMANDS = (
    ("kitchen-worker", "--worker-name", "mario"),
    ("notification-subscriber", "--name", "till"),
)
HELD = "No consumer is open, so no message is received"


@pytest.fixture
def watchdog(tmp_path: Path) -> Iterator[socket.socket]:
    """Return the socket at which systemd would receive the reports of processes."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(tmp_path / "notify"))
        receiver.settimeout(10)
        yield receiver


def discard_reports(receiver: socket.socket) -> None:
    """Discard the reports that have arrived so far."""
    receiver.settimeout(0)
    with contextlib.suppress(BlockingIOError):
        while receiver.recv(100):
            pass
    receiver.settimeout(10)


class Probes:
    """A process with a metrics port, and a client of that port."""

    def __init__(self, started: Processes, *command: str, **variables: str) -> None:
        port = str(free_port())
        self.process: Process = started.start(*command, "--metrics-port", port, **variables)
        self.client = httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=5)

    async def is_live(self) -> bool:
        """Return whether the liveness probe succeeds."""
        return (await self.client.get("/health/live")).status_code == 200

    async def states(self) -> tuple[int, dict[str, Any]]:
        """Return the status code of `/health`, and the dependencies that are not up."""
        try:
            response = await self.client.get("/health")
        except httpx.TransportError:
            return 0, {}
        dependencies = response.json()["dependencies"].items()
        return response.status_code, {n: each for n, each in dependencies if each["status"] != "up"}

    async def wait_for(self, code: int) -> dict[str, Any]:
        """Wait until `/health` has a status code; return the dependencies that are not up."""

        async def has_code() -> bool:
            return (await self.states())[0] == code

        await eventually(has_code, seconds=30, doing=f"for /health to answer {code}")
        return (await self.states())[1]


async def test_worker_without_broker_is_live_and_not_ready(
    dsn: str, amqp_url: str, watchdog: socket.socket
) -> None:
    """Its broker goes away and comes back; systemd gets reports all the time."""
    port = httpx.URL(amqp_url).port
    assert port is not None
    reports = {"NOTIFY_SOCKET": watchdog.getsockname(), "WATCHDOG_USEC": "300000"}
    async with proxy(port) as broker:
        url = amqp_url.replace(f":{port}/", f":{broker.port}/")
        with processes(environment(dsn, url)) as started:
            both = [Probes(started, *command, **reports) for command in COMMANDS]
            for each in both:
                assert await each.wait_for(200) == {}

            await broker.refuse()

            for each in both:
                down = await each.wait_for(503)
                assert down["consumer"] == {"status": "down", "reason": HELD}
                assert down.keys() == {"consumer", "broker"}
                assert await each.is_live()
                assert (await each.client.get("/metrics")).status_code == 200
            discard_reports(watchdog)
            assert {watchdog.recv(100) for _ in range(3)} == {b"WATCHDOG=1"}

            await broker.listen()
            for each in both:
                assert await each.wait_for(200) == {}
                assert await asyncio.to_thread(each.process.stop) == 0
                await each.client.aclose()


async def test_worker_that_waits_for_its_database_is_live_and_not_ready(
    commands: Processes,
) -> None:
    worker = Probes(
        commands, *COMMANDS[0], RESTAURANT_DATABASE__URL="postgresql://postgres@127.0.0.1:1/none"
    )

    assert await worker.wait_for(503) == {}

    assert await worker.is_live()
    assert worker.process.stop() == 0
    await worker.client.aclose()
