"""What happens around every request: its id, its size, its last-resort answer, its log line."""

import inspect
import logging
import time
from http import HTTPStatus

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.typing import FilteringBoundLogger

from restaurant_system.logger import get_logger, request_id
from restaurant_system.web.headers import (
    CODING,
    CONNECTION_CLOSE,
    ID,
    LENGTH,
    MAX_BODY_SIZE,
    Headers,
    declares_oversized_body,
    first,
    offers_upgrade,
    request_id_in,
)
from restaurant_system.web.problem import Refusal, response_for

log = get_logger()

# Where a server puts its `Shutdown` in a scope: who is answered after the wish to stop is told that
# it was the last time.
SHUTDOWN = "restaurant.shutdown"


class RequestContext:
    """Pure ASGI, outermost: nothing inside it can answer without a request id."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._log = log.bind()  # the name at the top of the module would look it up at every call

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection, as the ASGI specification has it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope["request_id"] = identity = request_id_in(scope["headers"])
        with request_id(identity):
            await _Exchange(scope, receive, send, self._log).run(self._app)


class _Exchange:
    """One request and its answer."""

    __slots__ = ("_answered", "_log", "_receive", "_received", "_scope", "_send", "_status")

    def __init__(
        self, scope: Scope, receive: Receive, send: Send, log: FilteringBoundLogger
    ) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        self._log = log
        self._status: int | None = None
        self._answered = False
        self._received = 0

    async def run(self, app: ASGIApp) -> None:
        start = time.perf_counter()
        try:
            _refuse_announced(self._scope["headers"])
            await app(self._scope, self._receive_limited, self._send_with_id)
        except Exception as error:
            if self._status is None:
                sent = self._scope["headers"]
                response = response_for(error, self._scope["request_id"], sent)
                await response(self._scope, self._receive, self._send_with_id)
            elif not self._answered:  # it is half out: break it off, audibly
                self._log.exception("request_failed", message="An answer broke off.")
                raise
        if self._log.is_enabled_for(logging.DEBUG):
            asked = f"{self._scope['method']} {_template(self._scope)}"
            log_request(self._log, asked, self._status, start)

    async def _receive_limited(self) -> Message:
        message = await self._receive()
        self._received += len(message.get("body", b""))
        if self._received > MAX_BODY_SIZE:
            raise _too_large()
        return message

    async def _send_with_id(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            headers = [*message.get("headers", ()), (ID, self._scope["request_id"].encode())]
            shutdown = self._scope.get(SHUTDOWN)
            if shutdown is not None and shutdown.requested.is_set():
                headers.append(CONNECTION_CLOSE)
            message["headers"] = headers
            await self._send(message)
        else:
            await self._send(message)
            self._answered = not message.get("more_body")


def log_request(log: FilteringBoundLogger, asked: str, status: int | None, start: float) -> None:
    """Say what was answered, and how long after `start`."""
    duration = round((time.perf_counter() - start) * 1000, 2)
    log.debug("request_received", message=f"{asked} answered {status}.", duration_ms=duration)


def _template(scope: Scope) -> str:
    """Return the path with the names of its parameters in place of what the client sent."""
    if not inspect.isroutine(scope.get("endpoint")):  # no route of ours
        return "(unknown path)"
    names = {str(value): f"{{{name}}}" for name, value in scope["path_params"].items()}
    return "/".join(names.get(part, part) for part in scope["path"].split("/"))


def _refuse_announced(headers: Headers) -> None:
    if declares_oversized_body(headers):
        raise _too_large()
    has_body = first(CODING, headers) is not None or first(LENGTH, headers) not in {None, b"0"}
    if has_body and offers_upgrade(headers):
        raise Refusal(
            HTTPStatus.BAD_REQUEST, "No Upgrade is taken here; send the body without one."
        )


def _too_large() -> Refusal:
    return Refusal(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"A body may have at most {MAX_BODY_SIZE} bytes."
    )
