"""Serve a site with uvicorn, in this process, until a stop is requested.

Until there is a site, every request but `/health/live` is answered with 503, `/health` included, if
it passes the same checks as later.
"""

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from http import HTTPStatus
from typing import Any, cast

import uvicorn
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from restaurant_system.config import HttpSettings
from restaurant_system.error_texts import ErrorText
from restaurant_system.errors import StartupError
from restaurant_system.logger import get_logger
from restaurant_system.shutdown import Shutdown
from restaurant_system.web import file_descriptors
from restaurant_system.web.access_checks import AccessChecks, checked
from restaurant_system.web.api import Site
from restaurant_system.web.connections import Connections
from restaurant_system.web.error_pages import ErrorPages, ErrorTemplates
from restaurant_system.web.health import LIVE_PATH, READY_PATH, live_response, not_ready_response
from restaurant_system.web.http_protocol import HttpProtocol
from restaurant_system.web.middleware import SHUTDOWN, RequestContext
from restaurant_system.web.problem import RETRY_AFTER_SECONDS, Refusal, response_for

log = get_logger()

BACKLOG = 2048  # connections that the kernel holds until they are accepted
KEEP_ALIVE_TIMEOUT = 5  # s that a connection may be idle after a response
DRAIN_TIMEOUT = 20  # s that a stop waits for requests in progress
FAILURE_TIMEOUT = 5  # s that a service of which a part has failed waits for them
BODY_TIMEOUT = 0.5  # s to read the body of a request that is refused; a stop waits for it
NOT_READY = ErrorText(
    "The service is starting: it waits for its database. Try again in a moment.", "starting"
)
DEFAULT_HTTP = HttpSettings()

# Opens what an HTTP service needs and yields its site; closes it at the end of the block.
Service = Callable[[Shutdown], AbstractAsyncContextManager[Site]]


async def _refuse(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a request with 503, because the service is starting, and close the connection.

    `/health/live` gets 200: a process that waits for its database need not be restarted.

    No client stays connected to a process that is not ready while others of its port are.
    """
    # A client that is still sending its body may lose a response that closes the connection. When
    # the service ends meanwhile, it cancels this.
    with contextlib.suppress(TimeoutError, asyncio.CancelledError):
        async with asyncio.timeout(BODY_TIMEOUT):
            while (await receive()).get("more_body"):
                pass
    response = _response_of_start(scope)
    response.headers["Connection"] = "close"
    await response(scope, receive, send)


def _response_of_start(scope: Scope) -> Response:
    if scope["path"] == LIVE_PATH:
        return live_response()
    unavailable = HTTPStatus.SERVICE_UNAVAILABLE
    response: Response
    if scope["path"] == READY_PATH:
        response = not_ready_response(NOT_READY)
    elif scope["path"] == "/health":
        content = {"status": "unavailable", "reason": NOT_READY, "dependencies": {}}
        response = JSONResponse(content, unavailable)
    else:
        response = response_for(Refusal(unavailable, NOT_READY), scope["request_id"])
    response.headers["Retry-After"] = RETRY_AFTER_SECONDS
    return response


class Application:
    """The ASGI application of one process: it answers from `site`, with 503 until that is set."""

    def __init__(
        self,
        shutdown: Shutdown,
        settings: HttpSettings,
        checks: AccessChecks,
        error_pages: ErrorTemplates,
    ) -> None:
        self.shutdown = shutdown
        self.connections = Connections(settings, checks.addresses)
        self.site = Site(ErrorPages(RequestContext(checked(_refuse, checks)), error_pages))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer an HTTP request; once a stop was requested, the response closes the connection."""
        scope[SHUTDOWN] = self.shutdown
        await self.site.asgi(scope, receive, send)


def uvicorn_config(
    application: Application | Callable[[], Application],
    **options: Any,  # noqa: ANN401 - uvicorn's own
) -> uvicorn.Config:
    """Return uvicorn's configuration for an application, with additional options."""
    return uvicorn.Config(
        application,
        interface="asgi3",
        http=_create_protocol,  # type: ignore[arg-type] # called like a class
        ws="none",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_TIMEOUT,
        timeout_graceful_shutdown=DRAIN_TIMEOUT,
        **options,
    )


def _create_protocol(config: uvicorn.Config, **arguments: Any) -> HttpProtocol:  # noqa: ANN401 - uvicorn's own
    application = cast("Application", config.loaded_app)
    return application.site.protocol(
        application.connections, application.shutdown, config=config, **arguments
    )


class _Server(uvicorn.Server):
    """A uvicorn server that leaves signals to the command, which may run more than a server."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class HttpServer:
    """A running HTTP server: it answers 503 to every request until `serve` is called."""

    def __init__(
        self,
        listener: socket.socket,
        shutdown: Shutdown,
        settings: HttpSettings,
        checks: AccessChecks,
        error_pages: ErrorTemplates,
    ) -> None:
        self._listener = listener
        self._shutdown = shutdown
        self._application = Application(shutdown, settings, checks, error_pages)
        self._drain_seconds = settings.drain_seconds
        self._server = _Server(uvicorn_config(self._application, lifespan="off"))
        self._running = asyncio.create_task(self._run())

    async def serve(self, site: Site) -> None:
        """Answer from `site`; return after a stop, once all requests are answered.

        From now on a stop request is followed by `drain_seconds` in which requests are answered.

        If it is cancelled, because a part of the service has failed, no more requests are accepted,
        and those in progress are answered within `FAILURE_TIMEOUT` before the service closes.
        """
        self._application.site = site
        self._shutdown.drain_for(self._drain_seconds)
        try:
            await asyncio.shield(self._running)
        except asyncio.CancelledError:
            self._shutdown.stop_because_of_failure()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(FAILURE_TIMEOUT):
                    await asyncio.shield(self._running)
            raise

    async def close(self) -> None:
        """Stop accepting connections, and return once all requests are answered."""
        self._server.should_exit = True
        await self._running

    async def abort(self) -> None:
        """Stop without waiting for requests in progress."""
        self._server.force_exit = True
        await self.close()

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(self._application.connections.enforce_deadlines()),
                group.create_task(self._stop_on_request()),
            ]
            await self._server.serve([self._listener])
            for task in tasks:
                task.cancel()

    async def _stop_on_request(self) -> None:
        await self._shutdown.requested.wait()
        log.info("graceful_shutdown", message="HTTP server stopping: no more connections.")
        self._server.should_exit = True
        # Now, and not up to 0.1 s later as uvicorn does: responses close their connections from now
        # on, and clients would connect again to a listener that is about to close.
        if self._server.started:
            for listener in self._server.servers:
                listener.close()
        await self._shutdown.forced.wait()
        self._server.force_exit = True


@contextlib.asynccontextmanager
async def running(
    listener: socket.socket,
    shutdown: Shutdown,
    settings: HttpSettings = DEFAULT_HTTP,
    checks: AccessChecks | None = None,
    error_pages: ErrorTemplates | None = None,
) -> AsyncIterator[HttpServer]:
    """Run an HTTP server for the duration of the block.

    Until it serves a site, requests pass these checks before they are answered with 503; without
    `checks` those of `api.build`. People see this as a page, if there are `error_pages`.
    """
    file_descriptors.raise_limit()
    server = HttpServer(
        listener, shutdown, settings, checks or AccessChecks(settings), error_pages or {}
    )
    try:
        yield server
    except BaseException:
        await server.abort()
        raise
    else:
        await server.close()


def listen(host: str, port: int, *, option: str = "--port") -> socket.socket:
    """Open a listening socket; raises `StartupError`, naming `option`, if the port is taken."""
    try:
        with contextlib.ExitStack() as stack:
            listener = stack.enter_context(bind(host, port))
            listener.listen(BACKLOG)
            stack.pop_all()
    except OSError as error:
        raise StartupError(
            f"Cannot listen on {host}:{port} ({error.strerror}); stop what uses it, or choose"
            f" another with {option}."
        ) from error
    return listener


def bind(host: str, port: int, *, is_shared: bool = False) -> socket.socket:
    """Bind a socket that is to listen; raises `OSError`.

    Other sockets of this user can be bound to the port if all of them are shared.
    """
    bound = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        if os.name != "nt":  # where it would allow two programs to listen at one port
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if is_shared:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if bound.family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        # Accepted connections inherit it: a response that the kernel delays would be lost when the
        # connection is closed before all that the client has sent is read.
        bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        bound.bind((host, port))
    except OSError:
        bound.close()
        raise
    return bound
