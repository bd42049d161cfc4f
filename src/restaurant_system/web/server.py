"""Runs an application on a port until it is asked to stop."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Iterator
from typing import Any

import uvicorn
from starlette.types import Receive, Scope, Send

from restaurant_system.config import HttpSettings
from restaurant_system.logger import get_logger
from restaurant_system.shutdown import Shutdown
from restaurant_system.web import file_descriptors
from restaurant_system.web.api import Site
from restaurant_system.web.connections import Connections
from restaurant_system.web.door import HandedLines, last_lines
from restaurant_system.web.http_protocol import HttpProtocol
from restaurant_system.web.middleware import SHUTDOWN
from restaurant_system.web.starting import STARTING

log = get_logger()

TICK = 0.1  # s, as uvicorn has it
SWEEP = 1.0  # s between two looks at the deadlines, at the most
AT_ONCE = 16  # connections accepted before other things get their turn
NO_DESCRIPTOR = 0.1  # s until connections are accepted again
KEPT_OPEN = 5  # s that a line may be idle after an answer
LAST_REQUESTS = 1.0  # s at a stop in which whoever has a line open may still ask
DEFAULTS = HttpSettings()
LONGEST_GOODBYE = 20  # s for requests under way after that


class _Server(uvicorn.Server):
    """A server that leaves signals to us: one process may run several services.

    And one that sends nobody away unheard: uvicorn closes a line on which nothing is under way at
    once, though a request may be on its way there. Where nobody is there any more, it ends at once.
    """

    def __init__(self, config: uvicorn.Config, connections: Connections) -> None:
        super().__init__(config)
        self._connections = connections
        self._entering: set[asyncio.Task[None]] = set()
        self._leaving = asyncio.Event()

    def leave(self) -> None:
        """Take no more requests."""
        self.should_exit = True
        self._leaving.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def main_loop(self) -> None:
        async with asyncio.TaskGroup() as group:
            sweeping = group.create_task(self._check_deadlines())
            ticks = 0
            while not await self.on_tick(ticks):
                ticks += 1
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(TICK):
                        await self._leaving.wait()
            sweeping.cancel()

    async def _check_deadlines(self) -> None:
        """Look at all connections at once: a timer for each request would cost more."""
        settings = self._connections.settings
        pause = min(SWEEP, settings.head_timeout / 4, settings.body_timeout / 4)
        while True:
            await asyncio.sleep(pause)
            self._connections.check_deadlines(asyncio.get_running_loop().time())

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await self._stop_accepting()
        await asyncio.gather(*self._entering)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LAST_REQUESTS):
                while self.server_state.connections and not self.force_exit:  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
        if self.server_state.connections or self.server_state.tasks:
            await super().shutdown(sockets)

    async def _stop_accepting(self) -> None:
        """Accept the connections that wait, and no more."""
        raise NotImplementedError

    def _let_in(self, accepted: socket.socket) -> None:
        """Serve a connection; where descriptors are scarce, others are closed for it."""
        missing = file_descriptors.missing(accepted.fileno())
        if missing and not self._close_idle(missing):
            accepted.close()  # rather than use up what is kept for files and servers
            return
        entering = asyncio.create_task(self._enter(accepted))
        self._entering.add(entering)
        entering.add_done_callback(self._entering.discard)

    def _close_idle(self, number: int) -> bool:
        file_descriptors.exhausted.warn()
        return self._connections.close_longest_idle(number)

    async def _enter(self, line: socket.socket) -> None:
        with contextlib.suppress(OSError):  # hung up on the way
            await asyncio.get_running_loop().connect_accepted_socket(self._protocol, line)

    def _protocol(self) -> asyncio.Protocol:
        """Speak HTTP on a new line, as `uvicorn.Server.startup` has it."""
        return self.config.http_protocol_class(  # type: ignore[call-arg] # uvicorn's own arguments
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )


class _ListeningServer(_Server):
    """A server that accepts its connections at a port.

    uvicorn would have libuv accept them, which closes new ones unheard when descriptors run out.
    """

    def __init__(
        self, config: uvicorn.Config, connections: Connections, listening: socket.socket
    ) -> None:
        super().__init__(config, connections)
        self._listening = listening
        self._listening.setblocking(False)  # noqa: FBT003 - the standard library's own

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._resume()

    async def _stop_accepting(self) -> None:
        asyncio.get_running_loop().remove_reader(self._listening)
        for accepted in await last_lines(self._listening):
            self._let_in(accepted)
        self._listening.close()

    def _resume(self) -> None:
        if not self.should_exit:
            asyncio.get_running_loop().add_reader(self._listening, self._accept)

    def _accept(self) -> None:
        for _ in range(AT_ONCE):
            try:
                self._let_in(self._listening.accept()[0])
            except BlockingIOError:
                return
            except ConnectionError:  # closed by the client before it was accepted
                continue
            except OSError:  # no descriptor is left
                self._close_idle(AT_ONCE)
                loop = asyncio.get_running_loop()
                loop.remove_reader(self._listening)
                loop.call_later(NO_DESCRIPTOR, self._resume)
                return


class _HandedServer(_Server):
    """A server whose connections are accepted by a supervisor."""

    def __init__(
        self, config: uvicorn.Config, connections: Connections, handed: HandedLines
    ) -> None:
        super().__init__(config, connections)
        self._handed = handed

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._handed.open(self._let_in)

    async def _stop_accepting(self) -> None:
        await self._handed.close()


class HttpServer:
    """Answers requests at a port: with 503 until it is given a site to `serve`."""

    def __init__(
        self, door: socket.socket | HandedLines, shutdown: Shutdown, settings: HttpSettings
    ) -> None:
        self._door = door
        self._connections = Connections(settings)
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
        self._server: _Server = (
            _HandedServer(config, self._connections, door)
            if isinstance(door, HandedLines)
            else _ListeningServer(config, self._connections, door)
        )
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

    def _protocol(self, **uvicorn_arguments: Any) -> HttpProtocol:  # noqa: ANN401 - passed through
        return self._site.protocol(self._connections, self._shutdown, **uvicorn_arguments)

    async def _run(self) -> None:
        """Run until `shutdown` or `close`; then answer the requests that have come."""
        serving = asyncio.create_task(self._server.serve(sockets=[]))
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
    door: socket.socket | HandedLines, shutdown: Shutdown, settings: HttpSettings = DEFAULTS
) -> AsyncIterator[HttpServer]:
    """Answer at a port for as long as the block lasts."""
    file_descriptors.raise_limit()
    server = HttpServer(door, shutdown, settings)
    try:
        yield server
    except BaseException:
        await server.abort()
        raise
    else:
        await server.close()
