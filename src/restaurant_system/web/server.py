"""Runs an application on a port until it is asked to stop."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Iterator
from typing import Any

import uvicorn
from starlette.types import Receive, Scope, Send

from restaurant_system.logger import get_logger
from restaurant_system.shutdown import Shutdown
from restaurant_system.web.api import Site
from restaurant_system.web.door import HandedLines, last_lines
from restaurant_system.web.line import ClientLine
from restaurant_system.web.middleware import SHUTDOWN
from restaurant_system.web.starting import STARTING

log = get_logger()

TICK = 0.1  # s, as uvicorn has it
KEPT_OPEN = 5  # s that a line may be idle after an answer
LAST_REQUESTS = 1.0  # s at a stop in which whoever has a line open may still ask
LONGEST_GOODBYE = 20  # s for requests under way after that


class _Server(uvicorn.Server):
    """A server that leaves signals to us: one process may run several services.

    And one that sends nobody away unheard: uvicorn closes a line on which nothing is under way at
    once, though a request may be on its way there. Where nobody is there any more, it ends at once.
    """

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._leaving = asyncio.Event()

    def leave(self) -> None:
        """Take no more requests."""
        self.should_exit = True
        self._leaving.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def main_loop(self) -> None:
        ticks = 0
        while not await self.on_tick(ticks):
            ticks += 1
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TICK):
                    await self._leaving.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await self._close_door(sockets or [])
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LAST_REQUESTS):
                while self.server_state.connections and not self.force_exit:  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
        if self.server_state.connections or self.server_state.tasks:
            await super().shutdown(sockets)

    async def _close_door(self, sockets: list[socket.socket]) -> None:
        """Let in who is at the door, and close it."""
        waiting = [line for listening in sockets for line in await last_lines(listening)]
        for server in self.servers:
            server.close()
        for line in waiting:
            await self._enter(line)

    async def _enter(self, line: socket.socket) -> None:
        with contextlib.suppress(OSError):  # hung up on the way
            await asyncio.get_running_loop().connect_accepted_socket(self._protocol, line)

    def _protocol(self) -> asyncio.Protocol:
        """Speak HTTP on a new line, as `uvicorn.Server.startup` has it."""
        return self.config.http_protocol_class(  # type: ignore[call-arg] # uvicorn's own arguments
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )


class _HandedServer(_Server):
    """A server whose lines are let in by a supervisor."""

    def __init__(self, config: uvicorn.Config, handed: HandedLines) -> None:
        super().__init__(config)
        self._handed = handed
        self._entering: set[asyncio.Task[None]] = set()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._handed.open(self._let_in)

    async def _close_door(self, sockets: list[socket.socket]) -> None:
        await self._handed.close()
        await asyncio.gather(*self._entering)
        await super()._close_door(sockets)

    def _let_in(self, line: socket.socket) -> None:
        entering = asyncio.create_task(self._enter(line))
        self._entering.add(entering)
        entering.add_done_callback(self._entering.discard)


class HttpServer:
    """Answers requests at a port: with 503 until it is given a site to `serve`."""

    def __init__(self, door: socket.socket | HandedLines, shutdown: Shutdown) -> None:
        self._door = door
        self._shutdown = shutdown
        self._site = STARTING
        config = uvicorn.Config(
            self._answer,
            interface="asgi3",
            http=self._protocol,  # type: ignore[arg-type] # makes one
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=KEPT_OPEN,
            timeout_graceful_shutdown=LONGEST_GOODBYE,
        )
        if isinstance(door, HandedLines):
            self._server: _Server = _HandedServer(config, door)
            self._sockets = list[socket.socket]()
        else:
            self._server, self._sockets = _Server(config), [door]
        self._running = asyncio.create_task(self._run())

    async def serve(self, site: Site) -> None:
        """Answer from `site` from now on; return after a stop, when all requests are answered."""
        self._site = site
        if isinstance(self._door, HandedLines):
            self._door.report_started()
        await asyncio.shield(self._running)

    async def close(self) -> None:
        """Accept no more connections, and return once all requests are answered."""
        self._server.leave()
        await self._running

    async def abort(self) -> None:
        """Close at once: what the site stands on has failed or never came."""
        self._server.force_exit = True
        await self.close()

    def _answer(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        scope[SHUTDOWN] = self._shutdown  # a response after a request to stop closes its connection
        return self._site.asgi(scope, receive, send)

    def _protocol(self, **uvicorns: Any) -> ClientLine:  # noqa: ANN401 - what uvicorn gives its own
        return ClientLine(self._site.hot, self._shutdown, **uvicorns)

    async def _run(self) -> None:
        """Run until `shutdown` or `close`; then answer the requests that have come."""
        serving = asyncio.create_task(self._server.serve(sockets=self._sockets))
        requested = asyncio.create_task(self._shutdown.requested.wait())
        forced = asyncio.create_task(self._shutdown.forced.wait())
        try:
            await asyncio.wait({serving, requested}, return_when=asyncio.FIRST_COMPLETED)
            if requested.done():
                log.info("graceful_shutdown", message="Taking no more requests.")
            self._server.leave()
            await asyncio.wait({serving, forced}, return_when=asyncio.FIRST_COMPLETED)
            self._server.force_exit = True
            await serving
        finally:
            for task in (serving, requested, forced):
                task.cancel()


@contextlib.asynccontextmanager
async def running(
    door: socket.socket | HandedLines, shutdown: Shutdown
) -> AsyncIterator[HttpServer]:
    """Answer at a port for as long as the block lasts."""
    server = HttpServer(door, shutdown)
    try:
        yield server
    except BaseException:
        await server.abort()
        raise
    else:
        await server.close()
