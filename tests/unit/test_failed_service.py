"""A part of a running HTTP service fails: no request meets what the service has closed since."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import httpx
import pytest

from restaurant_system.app import http_service
from restaurant_system.app.runtime import background_task
from restaurant_system.config import Settings
from restaurant_system.shutdown import Shutdown
from restaurant_system.web import api
from restaurant_system.web.api import Feature, Site
from restaurant_system.web.guarded_router import GuardedRouter
from tests.support.logs import capture_logs
from tests.support.processes import free_port

CLOSING = 0.3  # s that the service takes to close what its responses need


class FragileService:
    """A service of which a background task fails once `fail` is set."""

    def __init__(self) -> None:
        self.fail = asyncio.Event()
        self.answer = asyncio.Event()
        self._is_closed = False

    @contextlib.asynccontextmanager
    async def __call__(self, shutdown: Shutdown) -> AsyncIterator[Site]:
        """Run the service."""
        del shutdown
        router = GuardedRouter()
        router.add_api_route("/", self._state, methods=["GET"], requires=None)
        try:
            async with background_task(self._run()):
                yield api.build("Test", [Feature(router)])
        finally:
            self._is_closed = True
            await asyncio.sleep(CLOSING)

    async def _run(self) -> None:
        await self.fail.wait()
        raise ValueError("broken")

    async def _state(self) -> bool:
        """Return whether the service is closed once the response is to be sent."""
        await self.answer.wait()
        return self._is_closed


async def test_requests_are_answered_before_a_failed_service_closes() -> None:
    service, settings = FragileService(), Settings()
    address = settings.order_service.model_copy(update={"host": "127.0.0.1", "port": free_port()})
    url = f"http://127.0.0.1:{address.port}/"
    async with httpx.AsyncClient(timeout=5, verify=False) as client:  # noqa: S501 - no TLS
        with capture_logs() as logs:
            running = asyncio.create_task(
                http_service.serve(service, address, settings, Shutdown())
            )
            service.answer.set()
            await _until_available(client, url)
            service.answer.clear()
            pending = asyncio.create_task(client.get(url))
            await asyncio.sleep(0.1)
            service.fail.set()
            await asyncio.sleep(0.1)
            service.answer.set()
            assert (await pending).json() is False
            with contextlib.suppress(httpx.TransportError):  # it stops accepting connections
                while True:
                    assert (await client.get(url)).json() is False
            with pytest.raises(ExceptionGroup, match="unhandled errors"):
                await running

    assert "service_failed" in [each["event"] for each in logs]


async def _until_available(client: httpx.AsyncClient, url: str) -> None:
    while True:
        with contextlib.suppress(httpx.TransportError):
            if (await client.get(url)).is_success:
                return
        await asyncio.sleep(0.02)
