"""HTTP/1.1 with a fast path: some requests go from the parser to their endpoint directly."""

import asyncio
import logging
import time
from collections.abc import Sequence
from functools import partial
from http import HTTPStatus
from typing import Any, NamedTuple

from restaurant_system.errors import Overloaded
from restaurant_system.logger import get_logger, request_id
from restaurant_system.models.access import UNGUARDED, Caller, Credential
from restaurant_system.tracing import RequestSpan, active_tracer
from restaurant_system.web.access_checks import AccessChecks
from restaurant_system.web.access_control import credential_in
from restaurant_system.web.endpoint import EndpointRequest, EndpointResponse
from restaurant_system.web.fastpath.routes import FastRoute, error_response
from restaurant_system.web.fastpath.uvicorn_adapter import Cycle, UvicornAdapter
from restaurant_system.web.headers import (
    CONNECTION_CLOSE,
    TRANSFER_ENCODING,
    Headers,
    client_request_id,
    declares_oversized_body,
    first_value,
    new_request_id,
)
from restaurant_system.web.http_protocol import serialize_headers, status_line
from restaurant_system.web.middleware import log_request
from restaurant_system.web.problem import Refusal
from restaurant_system.web.request_limits import SLICE_SIZE

STATUS_LINES = {status.value: status_line(status) for status in HTTPStatus}
ENDPOINT_FAILURES = (Exception, asyncio.CancelledError)

# uvicorn stops reading a connection when this much of a body waits, and its own path reads on.
MAX_FAST_BODY_SIZE = 64 * 1024  # bytes

log = get_logger()


class CachedHeaders(NamedTuple):
    """The header fields of a connection's last request, as received and parsed.

    They have passed the access checks.
    """

    route: FastRoute[Any]
    received: bytes
    sender: "Sender"


class FastPathProtocol(UvicornAdapter):
    """Calls the endpoints of fast routes without ASGI, and leaves all other requests to uvicorn.

    Left to uvicorn is also a request for a fast route that is unusual: it is pipelined, uses
    HTTP/1.0, expects `100 Continue`, sends its body in chunks, does not pass the access checks, its
    caller must be looked up or is not allowed, and so on.

    A client sends the same header fields with each request. They are parsed once: a request that
    differs from the last one in its request line only does not go through the parser.
    """

    def __init__(
        self,
        routes: Sequence[FastRoute[Any]],
        checks: AccessChecks,
        *arguments: Any,  # noqa: ANN401 - passed through
        **uvicorn_arguments: Any,  # noqa: ANN401 - likewise
    ) -> None:
        super().__init__(*arguments, **uvicorn_arguments)
        self._routes = routes
        self._checks = checks
        self._access_control = checks.control
        self._cached: CachedHeaders | None = None
        self._log = log.bind()  # the proxy in `log` would look it up at every call
        self._logs_requests = self._log.is_enabled_for(logging.DEBUG)
        self._tracer = active_tracer()

    def data_received(self, data: bytes) -> None:
        """Answer a request with known header fields; have anything else parsed."""
        cycle = self._cycle_with_cached_headers(data)
        if cycle is None:
            self._parse_and_cache(data)
            return
        cycle.more_body = False
        self.begin(cycle)
        self._call_endpoint(cycle)

    def start_request(self) -> None:
        """Start a request on the fast path or over ASGI."""
        cycle = self._new_cycle()
        if cycle is None:
            super().start_request()
        else:
            self._limits.begin_body()
            self.begin(cycle)

    def on_message_complete(self) -> None:
        """Call the endpoint of a request on the fast path."""
        super().on_message_complete()
        cycle: object = self.cycle
        if isinstance(cycle, FastCycle):
            self._call_endpoint(cycle)

    def _cycle_with_cached_headers(self, data: bytes) -> "FastCycle | None":
        """Return a new cycle if `data` is a request line and the cached header fields."""
        cached = self._cached
        if (
            cached is None
            or len(data) > SLICE_SIZE
            or not (data.endswith(cached.received) and self.is_free())
        ):
            return None
        parameter = cached.route.match(data, len(data) - len(cached.received))
        if parameter is None or not self._is_within_rate(cached):
            return None
        return self._allowed_cycle(cached.route, parameter, cached.sender)

    def _parse_and_cache(self, data: bytes) -> None:
        begins = self._limits.is_between_requests and self.is_free()
        super().data_received(data)
        self._cached = (
            self._cacheable(data) if begins and self._limits.is_between_requests else None
        )

    def _cacheable(self, data: bytes) -> CachedHeaders | None:
        """Return the header fields of `data` if it was one request on the fast path, bodiless."""
        cycle: object = self.cycle
        if not isinstance(cycle, FastCycle) or cycle.body:
            return None
        line = self.request_line()
        if not data.startswith(line):
            return None
        return CachedHeaders(cycle.route, data.removeprefix(line), cycle.sender)

    def _new_cycle(self) -> "FastCycle | None":
        """Return a new cycle if the request is for a fast route and in no way unusual."""
        line = self.request_line()
        for route in self._routes:
            parameter = route.match(line, len(line))
            if parameter is not None and self._is_usual():
                return self._checked_cycle(route, parameter)
        return None

    def _checked_cycle(self, route: FastRoute[Any], parameter: str) -> "FastCycle | None":
        """Return a new cycle if the request passes the access checks; ASGI refuses it if not."""
        try:
            client = self._checks.check(route.method, self.headers, self._address)
        except Refusal:
            return None
        sender = Sender(
            self.headers,
            client,
            None if self._access_control is None else credential_in(self.headers),
            client_request_id(self.headers),
        )
        return self._allowed_cycle(route, parameter, sender)

    def _allowed_cycle(
        self, route: FastRoute[Any], parameter: str, sender: "Sender"
    ) -> "FastCycle | None":
        """Return a new cycle if the caller is known and allowed; ASGI looks up or refuses it."""
        control = self._access_control
        caller = UNGUARDED if control is None else control.known_caller(sender.credential)
        if caller is None or route.requires not in caller.capabilities:
            return None
        return FastCycle(route, parameter, sender, caller)

    def _is_within_rate(self, cached: CachedHeaders) -> bool:
        client = cached.sender.client
        if client is not None:
            try:
                self._checks.check_rate(cached.route.method, client)
            except Refusal:
                return False
        return True

    def _is_usual(self) -> bool:
        return (
            self.is_free()
            and self.is_ordinary()
            and first_value(TRANSFER_ENCODING, self.headers) is None
            and not declares_oversized_body(self.headers, MAX_FAST_BODY_SIZE)
            and not self._checks.origins.is_listed(self.headers)  # CORS adds headers to responses
        )

    def _call_endpoint(self, cycle: "FastCycle") -> None:
        if self._tracer is None:
            self._start_endpoint(cycle)
            return
        cycle.span = self._tracer.start_request(cycle.route.method, cycle.headers)
        with cycle.span.active():  # also of the callback that responds
            self._start_endpoint(cycle)

    def _start_endpoint(self, cycle: "FastCycle") -> None:
        future = self._future_of_endpoint(cycle)
        self.wait_for(future)
        future.add_done_callback(partial(self._respond, cycle))

    def _future_of_endpoint(self, cycle: "FastCycle") -> "asyncio.Future[Any]":
        try:
            result = cycle.route.call(cycle)
        except Exception as error:  # noqa: BLE001 - becomes an error response
            failed = self.loop.create_future()
            failed.set_exception(error)
            return failed
        if isinstance(result, asyncio.Future):
            return result
        with request_id(cycle.request_id):
            return self.loop.create_task(result)

    def _respond(self, cycle: "FastCycle", future: "asyncio.Future[Any]") -> None:
        try:
            response = cycle.route.to_response(future.result(), cycle.caller)
        except ENDPOINT_FAILURES as error:
            response = self._error_response(cycle, error)
        if cycle.span is not None:
            cycle.span.end(cycle.route.template, response.status)
        if self.finish(cycle, future):
            is_last = self._shutdown.requested.is_set() or not cycle.keep_alive
            self.send(self._serialize(response, cycle, is_last=is_last), is_last=is_last)
            cycle.route.durations.record(response.status, time.perf_counter() - cycle.start)
        if self._logs_requests:
            with request_id(cycle.request_id):
                log_request(self._log, cycle.route.template, response.status, cycle.start)

    def _error_response(self, cycle: "FastCycle", error: BaseException) -> EndpointResponse:
        """Return the response for an endpoint that failed, or that a stop cancelled."""
        answered = error if isinstance(error, Exception) else Overloaded("The service stops.")
        with request_id(cycle.request_id):
            return error_response(answered, cycle.request_id, cycle.headers)

    def _serialize(self, response: EndpointResponse, cycle: "FastCycle", *, is_last: bool) -> bytes:
        headers = self.default_headers()
        if response.headers:
            headers += serialize_headers(response.headers)
        if is_last:
            headers += serialize_headers([CONNECTION_CLOSE])
        return b"%b%bcontent-length: %d\r\ncontent-type: %b\r\nx-request-id: %b\r\n\r\n%b" % (
            STATUS_LINES[response.status],
            headers,
            len(response.body),
            response.media_type.encode(),
            cycle.request_id.encode(),
            response.body,
        )


class Sender(NamedTuple):
    """What the header fields of a request say about its sender."""

    headers: Headers
    client: str | None  # to which limits apply
    credential: Credential | None
    request_id: str | None


class FastCycle(EndpointRequest, Cycle):
    """A request on the fast path, from its head to its response."""

    span: RequestSpan | None = None

    def __init__(
        self,
        route: FastRoute[Any],
        parameter: str,
        sender: Sender,
        caller: Caller,
    ) -> None:
        super().__init__(
            parameter,
            sender.headers,
            b"",
            sender.request_id or new_request_id(),
            caller=caller,
            client=sender.client,
        )
        self.route = route
        self.sender = sender
        self.start = time.perf_counter()
