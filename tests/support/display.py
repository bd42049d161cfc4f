"""A kitchen display in the process of the test, and clients that receive its live views."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from restaurant_system.app.kitchen_display import stations
from restaurant_system.app.runtime import Runtime
from restaurant_system.config import KitchenDisplaySettings, KitchenSettings, Settings
from restaurant_system.database.connection import Database
from restaurant_system.messaging.broker import Broker
from restaurant_system.messaging.relay import Relay
from restaurant_system.messaging.retry_policy import RetryPolicy
from restaurant_system.shutdown import Shutdown
from restaurant_system.web import api
from tests.support.deployments import JSON
from tests.support.services import serve_site
from tests.support.waiting import eventually

STATION = "grill"


@dataclass
class Screen:
    """The live view of a station as a client has received it: its entries by key."""

    entries: dict[str, Any] = field(default_factory=dict)
    beats: int = 0

    @property
    def tickets(self) -> dict[str, str]:
        """The orders on the screen, each with its status."""
        return {key: entry["status"] for key, entry in self.entries.items() if key != "station"}

    async def shows(self, *numbers: str, **statuses: str) -> None:
        """Wait until the screen shows exactly these orders, by default as `received`."""
        expected = dict.fromkeys(numbers, "received") | statuses
        await self.wait_until(
            lambda: self.tickets == expected, doing=f"for a screen to show {expected}"
        )

    async def wait_until(self, condition: Callable[[], bool], *, doing: str) -> None:
        """Wait until a condition is true."""

        async def is_true() -> bool:
            return condition()

        try:
            await eventually(is_true, doing=doing)
        except AssertionError as error:
            error.add_note(f"It showed {self.entries}")
            raise

    def apply(self, event: str, data: dict[str, Any]) -> None:
        """Apply a server-sent event to the entries of the screen."""
        match event:
            case "snapshot":
                self.entries = dict(data["entries"])
            case "change":
                self.entries |= data["set"]
                for key in data["unset"]:
                    del self.entries[key]
            case "heartbeat":
                self.beats += 1


@dataclass(frozen=True)
class Display:
    """The kitchen display over HTTP."""

    client: httpx.AsyncClient
    shutdown: Shutdown

    @contextlib.asynccontextmanager
    async def screen(self, station: str = STATION, **query: object) -> AsyncIterator[Screen]:
        """Open a station and receive its live view for as long as the block lasts."""
        screen = Screen()
        watching = asyncio.create_task(self._watch(screen, station, query))
        try:
            await screen.wait_until(
                lambda: "station" in screen.entries, doing="for a station to open"
            )
            yield screen
        finally:
            watching.cancel()
            await asyncio.wait({watching})

    async def tap(
        self,
        number: str,
        action: str,
        expected: str,
        *,
        station: str = STATION,
        as_of: str | None = None,
        **headers: str,
    ) -> httpx.Response:
        """Tap on a ticket."""
        return await self.client.post(
            f"/kitchen/stations/{station}/tickets/{number}/{action}",
            content=json.dumps({"expected": expected, "as_of": as_of}),
            headers=JSON | headers,
        )

    async def tap_item(
        self, number: str, action: str, expected: str, item: int, *, station: str = STATION
    ) -> httpx.Response:
        """Tap on an item of a ticket."""
        return await self.client.post(
            f"/kitchen/stations/{station}/tickets/{number}/{action}",
            json={"expected": expected, "item": item},
        )

    async def perform(
        self, number: str, action: str, expected: str, *, as_of: str | None = None, **headers: str
    ) -> None:
        """Tap on a ticket; the tap must succeed."""
        answer = await self.tap(number, action, expected, as_of=as_of, **headers)
        assert answer.status_code == 200, answer.text

    async def open(self, station: str = STATION, **body: object) -> None:
        """Open a station."""
        answer = await self.client.post(f"/kitchen/stations/{station}", json=body)
        assert answer.status_code == 200, answer.text

    async def bumped(self, station: str = STATION) -> dict[str, str]:
        """Return the tickets that a station can recall, with their `updated_at`."""
        answer = await self.client.get(f"/kitchen/stations/{station}/bumped")
        return {each["order_number"]: each["updated_at"] for each in answer.json()}

    async def _watch(self, screen: Screen, station: str, query: dict[str, object]) -> None:
        await self.open(station, **query)
        async with self.client.stream("GET", f"/kitchen/stations/{station}/live") as answer:
            answer.raise_for_status()
            event = ""
            async for line in answer.aiter_lines():
                name, _, data = line.partition(": ")
                if name == "event":
                    event = data
                elif name == "data":
                    screen.apply(event, json.loads(data))


@contextlib.asynccontextmanager
async def running_display(
    database: Database,
    broker: Broker,
    relay: Relay,
    *,
    kitchen: KitchenSettings | None = None,
    **display: float,
) -> AsyncIterator[Display]:
    """Run a kitchen display whose stations send a heartbeat every second."""
    settings = Settings(
        data_dir=Path(),
        kitchen=kitchen or KitchenSettings(),
        kitchen_display=KitchenDisplaySettings.model_validate({"heartbeat_interval": 1} | display),
    )
    shutdown = Shutdown()
    policy = RetryPolicy(settings.delivery)
    runtime = Runtime("test", settings, database, broker, policy, shutdown)
    async with stations(runtime, relay) as features:
        site = api.build("Test", features)
        async with (
            serve_site(site, shutdown) as address,
            httpx.AsyncClient(base_url=address, timeout=30, verify=False) as client,  # noqa: S501 - no TLS
        ):
            yield Display(client, shutdown)
