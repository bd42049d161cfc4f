"""Serve a service over HTTP, and build the routes that HTTP services share, such as health."""

import contextlib
import socket
from typing import Protocol

from restaurant_system.app import health_checks
from restaurant_system.app.runtime import Runtime
from restaurant_system.config import Settings
from restaurant_system.database.connection import Database
from restaurant_system.database.replicas import Replicas
from restaurant_system.metrics.exposition import Exposer
from restaurant_system.shutdown import Shutdown
from restaurant_system.web import health, metrics, server
from restaurant_system.web.access_checks import AccessChecks
from restaurant_system.web.access_control import AccessControl
from restaurant_system.web.api import Feature
from restaurant_system.web.health import Dependency
from restaurant_system.web.pages import starting_page
from restaurant_system.web.server import Service


class Address(Protocol):
    """The host and port at which a service listens, and its number of processes."""

    @property
    def host(self) -> str:
        """The host name or IP address of an interface."""

    @property
    def port(self) -> int:
        """The port; 0 means any free one."""


async def serve(service: Service, address: Address, settings: Settings, shutdown: Shutdown) -> None:
    """Serve in this process until a stop is requested; answer 503 until the service has started.

    Raises `StartupError` when the port is taken, and what the service raises.
    """
    with contextlib.closing(server.listen(address.host, address.port)) as listener:
        async with (
            server.running(
                listener,
                shutdown,
                settings.http,
                access_checks(settings, address),
                starting_page(settings.language),
            ) as http_server,
            service(shutdown) as site,
        ):
            await http_server.serve(site)


def access_checks(
    settings: Settings, address: Address, control: AccessControl | None = None
) -> AccessChecks:
    """Return the checks of the requests to a service, with the control of its callers, if any.

    The service also answers for the host to which the links of customers lead.
    """
    security, public_host = settings.security, settings.tracking_service.public_host
    if public_host is not None:
        served = (*security.allowed_hosts, public_host)
        security = security.model_copy(update={"allowed_hosts": served})
    return AccessChecks(settings.http, security, bound_to=address.host, control=control)


def url(listener: socket.socket) -> str:
    """Return the address to type into a browser."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def metrics_feature(runtime: Runtime, exposer: Exposer) -> Feature:
    """Return the route that serves metrics to Prometheus."""
    return Feature(metrics.routes(exposer, is_public=runtime.settings.metrics.public))


def health_feature(
    runtime: Runtime, database: Database | Replicas, reader: Database | Replicas | None = None
) -> Feature:
    """Return the route that reports the state of each dependency.

    `reader` is the database for reading only, if the service has another than `database`.
    """
    dependencies = [
        Dependency("database", health_checks.of_database(database), essential=True),
        Dependency("broker", health_checks.of_broker(runtime.broker), essential=False),
        Dependency("outbox", health_checks.of_outbox(database), essential=False),
    ]
    replicas = reader or database
    if isinstance(replicas, Replicas):
        check = health_checks.of_replicas(replicas)
        dependencies.append(Dependency("replicas", check, essential=False))
    return Feature(health.routes(runtime.shutdown, *dependencies))
