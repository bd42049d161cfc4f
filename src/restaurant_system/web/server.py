"""Runs an application on a port until it is asked to stop."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator

import uvicorn
from starlette.types import ASGIApp

from restaurant_system.errors import StartupError
from restaurant_system.logger import get_logger
from restaurant_system.shutdown import Shutdown

log = get_logger()

BACKLOG = 2048
LONGEST_GOODBYE = 20  # s for requests under way at a stop


class _Server(uvicorn.Server):
    """A server that leaves signals to us: one process may run several services."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def bind(host: str, port: int) -> socket.socket:
    """Take a port before anything is started for it; raises `StartupError` when it is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise StartupError(
            f"Cannot listen on {host}:{port} ({error.strerror}); stop what uses it, or choose"
            " another with --port."
        ) from error


async def serve(app: ASGIApp, listening: socket.socket, shutdown: Shutdown) -> None:
    """Serve until `shutdown`; then take no more requests and answer those under way."""
    config = uvicorn.Config(
        app,
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=LONGEST_GOODBYE,
    )
    server = _Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    asked = asyncio.create_task(shutdown.requested.wait())
    try:
        await asyncio.wait({serving, asked}, return_when=asyncio.FIRST_COMPLETED)
        log.info("graceful_shutdown", message="Taking no more requests.")
        server.should_exit = True
        forced = asyncio.create_task(shutdown.forced.wait())
        await asyncio.wait({serving, forced}, return_when=asyncio.FIRST_COMPLETED)
        server.force_exit = True
        forced.cancel()
        await serving
    finally:
        asked.cancel()
        serving.cancel()
