"""Give every request an id, a size limit, an error response if all else fails, and a log line.

Every response gets headers for browsers, see `security_headers`.
"""

import inspect
import logging
import time
from http import HTTPStatus

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.typing import FilteringBoundLogger

from restaurant_system.error_texts import ErrorText
from restaurant_system.logger import get_logger, request_id
from restaurant_system.metrics.request_durations import UNKNOWN_PATH, durations_of
from restaurant_system.tracing import UNTRACED_PATHS, RequestSpan, active_tracer
from restaurant_system.web.headers import (
    CONNECTION_CLOSE,
    REQUEST_ID,
    Headers,
    declares_body,
    declares_oversized_body,
    is_event_stream,
    max_body_size,
    offers_upgrade,
    request_id_in,
)
from restaurant_system.web.problem import Refusal, response_for
from restaurant_system.web.security_headers import with_data_headers

log = get_logger()

# The key in a scope for the server's `Shutdown`: after a stop request, responses close connections.
SHUTDOWN = "restaurant.shutdown"


class RequestContext:
    """The outermost ASGI middleware: no response leaves without a request id."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._log = log.bind()  # the proxy in `log` would look it up at every call
        self._tracer = active_tracer()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle an HTTP request with an id and a log line; pass on other ASGI events."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope["request_id"] = new_id = request_id_in(scope["headers"])
        cycle = _RequestCycle(scope, receive, send, self._log)
        with request_id(new_id):
            if self._tracer is None or scope["path"] in UNTRACED_PATHS:
                await cycle.run(self._app)
            else:
                span = self._tracer.start_request(scope["method"], scope["headers"])
                with span.active():
                    await cycle.run_traced(self._app, span)


class _RequestCycle:
    """The state of one HTTP request and its response."""

    __slots__ = (
        "_is_complete",
        "_is_stream",
        "_limit",
        "_log",
        "_receive",
        "_received",
        "_scope",
        "_send",
        "_span",
        "_status",
    )

    def __init__(
        self, scope: Scope, receive: Receive, send: Send, log: FilteringBoundLogger
    ) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        self._log = log
        self._status: int | None = None
        self._is_complete = False
        self._is_stream = False
        self._limit = max_body_size(scope["path"])
        self._received = 0
        self._span: RequestSpan | None = None

    async def run(self, app: ASGIApp) -> None:
        start = time.perf_counter()
        try:
            _refuse_by_headers(self._scope["headers"], self._limit)
            await app(self._scope, self._receive_limited, self._send_with_id)
        except Exception as error:
            if self._status is None:
                sent = self._scope["headers"]
                response = response_for(error, self._scope["request_id"], sent)
                await response(self._scope, self._receive, self._send_with_id)
            elif not self._is_complete:  # uvicorn then closes the connection
                self._log.exception("request_failed", message="An HTTP response was aborted.")
                raise
        if self._status is not None and not self._is_stream:
            durations = durations_of(self._scope["method"], _route_of(self._scope))
            durations.record(self._status, time.perf_counter() - start)
        if self._log.is_enabled_for(logging.DEBUG):
            route = f"{self._scope['method']} {_path_template(self._scope)}"
            log_request(self._log, route, self._status, start)

    async def run_traced(self, app: ASGIApp, span: RequestSpan) -> None:
        """Handle the request; end its span with the response, or when an event stream begins."""
        self._span = span
        try:
            await self.run(app)
        finally:
            self._end_span(span)

    def _end_span(self, span: RequestSpan) -> None:
        route = _route_of(self._scope)
        is_known = route != UNKNOWN_PATH
        span.end(f"{self._scope['method']} {route}" if is_known else None, self._status)

    async def _receive_limited(self) -> Message:
        message = await self._receive()
        self._received += len(message.get("body", b""))
        if self._received > self._limit:
            raise _too_large(self._limit)
        return message

    async def _send_with_id(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            sent = message.get("headers", ())
            self._is_stream = is_event_stream(sent)
            if self._is_stream and self._span is not None:
                self._end_span(self._span)
            headers = [
                *with_data_headers(message["status"], sent),
                (REQUEST_ID, self._scope["request_id"].encode()),
            ]
            shutdown = self._scope.get(SHUTDOWN)
            if shutdown is not None and shutdown.requested.is_set():
                headers.append(CONNECTION_CLOSE)
            message["headers"] = headers
            await self._send(message)
        else:
            await self._send(message)
            self._is_complete = not message.get("more_body")


def log_request(log: FilteringBoundLogger, route: str, status: int | None, start: float) -> None:
    """Log the response to a request, and the time since `start`."""
    duration = round((time.perf_counter() - start) * 1000, 2)
    log.debug("request_received", message=f"{route} answered {status}.", duration_ms=duration)


def _route_of(scope: Scope) -> str:
    """Return the path of an API's route as it was declared; these are a bounded set."""
    path: str | None = getattr(scope.get("route"), "path", None)
    return path or UNKNOWN_PATH


def _path_template(scope: Scope) -> str:
    """Return the path with the names of its parameters in place of the client's values."""
    if not inspect.isroutine(scope.get("endpoint")):
        return UNKNOWN_PATH
    names = {str(value): f"{{{name}}}" for name, value in scope["path_params"].items()}
    return "/".join(names.get(part, part) for part in scope["path"].split("/"))


def _refuse_by_headers(headers: Headers, limit: int) -> None:
    if declares_oversized_body(headers, limit):
        raise _too_large(limit)
    if declares_body(headers) and offers_upgrade(headers):
        message = "Upgrade is not supported; send the body without it."
        raise Refusal(HTTPStatus.BAD_REQUEST, ErrorText(message, "upgrade_refused"))


def _too_large(limit: int) -> Refusal:
    message = f"A body may have at most {limit} bytes here."
    detail = ErrorText(message, "body_too_large", max_bytes=limit)
    return Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail)
