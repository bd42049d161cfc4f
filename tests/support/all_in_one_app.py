"""Run the all-in-one app (`up`) in a process that a test can kill and start again."""

import json
import tempfile
from typing import Any

import httpx

from tests.support.deployments import JSON, environment
from tests.support.orders import make_order_body
from tests.support.processes import Process, Processes, free_port
from tests.support.waiting import wait_until


class AllInOneApp:
    """The app on one port, on the test's PostgreSQL, without simulated cooks.

    `settings` are environment variables of the configuration.
    """

    def __init__(self, dsn: str, **settings: str) -> None:
        self.dsn = dsn
        self._folder = tempfile.TemporaryDirectory(prefix="restaurant-app-")
        self._processes = Processes(
            {
                "RESTAURANT_DATA_DIR": self._folder.name,  # one `up` each
                **environment(dsn, None),
                "RESTAURANT_KITCHEN_DISPLAY__HEARTBEAT_INTERVAL": "1",
                **settings,
            }
        )
        self._port = free_port()
        self.address = f"http://127.0.0.1:{self._port}"
        self.process: Process | None = None

    def open(self, *options: str) -> None:
        """Start the app, and wait until it answers."""
        self.process = self._processes.start(
            "up", "--no-worker", "--port", str(self._port), *options
        )
        wait_until(self._answers, seconds=60, doing="for the app to start")

    def kill(self) -> None:
        """Kill the app with SIGKILL."""
        assert self.process is not None
        self.process.kill()

    def close(self) -> None:
        """Kill the app, and delete its output and data."""
        self._processes.clear()
        self._folder.cleanup()

    async def order(self, **changes: object) -> str:
        """Place an order, and return its number."""
        number, _ = await self.order_with_link(**changes)
        return number

    async def order_with_link(self, **changes: object) -> tuple[str, str]:
        """Place an order, and return its number and the path of its tracking link."""
        answer = await self._post("/orders", content=make_order_body(**changes))
        assert answer.status_code == 201, answer.text
        return answer.json()["order_number"], answer.json()["tracking_url"]

    async def cancel(self, number: str, reason: str | None = None) -> None:
        """Cancel an order."""
        body = json.dumps({"reason": reason}).encode()
        answer = await self._post(f"/orders/{number}/cancel", content=body)
        assert answer.status_code == 200, answer.text

    async def complete(self, number: str) -> None:
        """Complete an order."""
        answer = await self._post(f"/orders/{number}/complete")
        assert answer.status_code == 200, answer.text

    async def hand_over(self, number: str) -> None:
        """Hand over an order that is ready."""
        answer = await self._post(f"/orders/{number}/hand-over")
        assert answer.status_code == 200, answer.text

    async def undo_hand_over(self, number: str) -> None:
        """Undo the hand-over of an order."""
        answer = await self._post(f"/orders/{number}/hand-over/undo")
        assert answer.status_code == 200, answer.text

    async def release(self, number: str) -> None:
        """Send a scheduled order to the kitchen."""
        answer = await self._post(f"/orders/{number}/release")
        assert answer.status_code == 200, answer.text

    async def get(self, path: str) -> Any:  # noqa: ANN401 - any JSON
        """Send a GET request, and return the JSON of its response."""
        async with self._client() as client:
            answer = await client.get(path)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def _post(self, path: str, content: bytes = b"") -> httpx.Response:
        async with self._client() as client:
            return await client.post(path, content=content, headers=JSON)

    def _client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=self.address, timeout=30, verify=False)  # noqa: S501 - no TLS

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.running, self.process.stdout + self.process.stderr
        try:
            return httpx.get(f"{self.address}/health", verify=False).status_code == 200  # noqa: S501 - no TLS
        except httpx.TransportError:
            return False
