"""What commands share that are asked over HTTP: a door, an account of their health, pages."""

import contextlib
import socket
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any, Protocol

from restaurant_system.app.runtime import Runtime
from restaurant_system.config import HttpSettings, Settings
from restaurant_system.database import outbox
from restaurant_system.database.connection import Database
from restaurant_system.shutdown import Shutdown
from restaurant_system.web import door, health, server
from restaurant_system.web.api import Feature
from restaurant_system.web.door import HandedLines
from restaurant_system.web.health import Dependency
from restaurant_system.web.pages import Pages, RestaurantInfo
from restaurant_system.web.server import HttpServer

OUTBOX_DELAYED_AFTER = 10.0  # s; a relay that works publishes a message within 5 s of a crash


class Address(Protocol):
    """Where a service listens."""

    @property
    def host(self) -> str:
        """Its host, or that of an interface."""

    @property
    def port(self) -> int:
        """Its port; 0 takes any that is free."""


def bind(address: Address) -> socket.socket:
    """Take a port; raises `StartupError` when it is taken."""
    return door.bind(address.host, address.port)


@contextlib.asynccontextmanager
async def listening(
    address: Address,
    settings: HttpSettings,
    shutdown: Shutdown,
    handed: HandedLines | None = None,
) -> AsyncIterator[HttpServer]:
    """Answer at a port, with 503 until there is a site to serve.

    With `handed` a supervisor has the port and hands over our share of its connections.
    """
    with _entrance(address, shutdown, handed) as entrance:
        async with server.running(entrance, shutdown, settings) as running:
            yield running


@contextlib.contextmanager
def _entrance(
    address: Address, shutdown: Shutdown, handed: HandedLines | None
) -> Iterator[socket.socket | HandedLines]:
    if handed is None:
        with contextlib.closing(bind(address)) as bound:
            yield bound
    else:
        with handed.watched(shutdown):
            yield handed


def url(listening: socket.socket) -> str:
    """Return what to type into a browser."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def pages(settings: Settings, pages: Mapping[str, str]) -> Feature:
    """Return the routes of some screens, by address."""
    kitchen = settings.kitchen
    restaurant = RestaurantInfo(
        language=settings.language,
        timezone=settings.business_timezone,
        aging_seconds=kitchen.aging_seconds.model_dump(),
        late_seconds=kitchen.late_seconds.model_dump(),
    )
    return Pages(restaurant).feature(pages)


def health_feature(runtime: Runtime, database: Database) -> Feature:
    """Return the route on which each dependency's state is told."""

    async def check_database() -> Mapping[str, Any]:
        state: dict[str, Any] = {"latency_ms": round(await database.ping(), 2)}
        if database.refused_connections is not None:
            state |= {"status": "degraded", "reason": database.refused_connections.reason}
        return state

    async def check_broker() -> Mapping[str, Any]:
        return {"kind": runtime.broker.name, "latency_ms": round(await runtime.broker.ping(), 2)}

    async def check_outbox() -> Mapping[str, Any]:
        async with database.connection() as connection:
            backlog = await outbox.backlog(connection)
        state: dict[str, Any] = {
            "size": backlog.size,
            "oldest_seconds": round(backlog.oldest_seconds, 1),
        }
        if backlog.oldest_seconds > OUTBOX_DELAYED_AFTER:
            reason = f"The oldest message has waited for {backlog.oldest_seconds:.0f} s"
            state |= {"status": "degraded", "reason": reason}
        return state

    return Feature(
        health.routes(
            Dependency("database", check_database, essential=True),
            Dependency("broker", check_broker, essential=False),
            Dependency("outbox", check_outbox, essential=False),
        )
    )
