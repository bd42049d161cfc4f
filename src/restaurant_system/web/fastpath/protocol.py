"""Answer the hot routes straight from the connection, and leave all other requests to ASGI."""

import asyncio
import logging
import time
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple, cast

from restaurant_system.errors import Overloaded
from restaurant_system.logger import get_logger, request_id
from restaurant_system.shutdown import Shutdown
from restaurant_system.web.connections import Connections
from restaurant_system.web.fastpath.routes import (
    FastRequest,
    FastResponse,
    FastRoute,
    error_response,
)
from restaurant_system.web.headers import (
    CODING,
    CONNECTION_CLOSE,
    Headers,
    declares_oversized_body,
    first,
    request_id_in,
)
from restaurant_system.web.http_protocol import SLICE, HttpProtocol, encoded, fields
from restaurant_system.web.middleware import log_request

FAILURES = (Exception, asyncio.CancelledError)  # of an endpoint

log = get_logger()


class CachedHead(NamedTuple):
    """What a client has asked for, and what it said after the first line."""

    road: FastRoute[Any]
    rest: bytes
    headers: Headers


class FastPathProtocol(HttpProtocol):
    """Speaks HTTP with one client.

    A request for a hot road is answered from here, unless it is unusual: whoever waits for an
    answer already, speaks an old HTTP, wants to be asked for the body, and the like, is left to
    uvicorn and ASGI.

    Who asks again says the same of itself again: what follows the first line is not read twice.
    """

    def __init__(
        self,
        roads: Sequence[FastRoute[Any]],
        shutdown: Shutdown,
        connections: Connections,
        **uvicorns: Any,  # noqa: ANN401 - what uvicorn gives its own
    ) -> None:
        super().__init__(connections, **uvicorns)
        self._roads = roads
        self._shutdown = shutdown
        self._habit: CachedHead | None = None
        self._log = log.bind()  # the name at the top of the module would look it up at every call
        self._logs_requests = self._log.is_enabled_for(logging.DEBUG)

    def data_received(self, data: bytes) -> None:
        """Serve what has come."""
        exchange = self._asked_again(data)
        if exchange is None:
            self._read(data)
            return
        exchange.more_body = False
        self.cycle = cast("Any", exchange)
        self._answer(exchange)

    def _asked_again(self, data: bytes) -> "Exchange | None":
        """Begin to serve a request, if it is the last one but for its first line."""
        habit = self._habit
        if (
            habit is None
            or len(data) > SLICE
            or not (data.endswith(habit.rest) and self._is_free())
        ):
            return None
        line = data[: -len(habit.rest)]
        parameter = habit.road.parameter(line)
        return None if parameter is None else Exchange(habit.road, line, parameter, habit.headers)

    def _read(self, data: bytes) -> None:
        """Have the parser read, and keep in mind how the client asks."""
        begins = self._is_between_requests and self._is_free()
        super().data_received(data)
        self._habit = self._habit_in(data) if begins and self._is_between_requests else None

    def _habit_in(self, data: bytes) -> CachedHead | None:
        """Return how the client asks, if this was one request on a hot road and nothing else."""
        exchange: object = self.cycle
        if (
            not isinstance(exchange, Exchange)
            or exchange.body
            or not data.startswith(exchange.first_line)
        ):
            return None
        return CachedHead(exchange.road, data.removeprefix(exchange.first_line), exchange.headers)

    def on_headers_complete(self) -> None:
        """Decide which way a request takes."""
        exchange = self._exchange()
        if exchange is None:
            super().on_headers_complete()
        else:
            self.note_head_complete()
            self.cycle = cast("Any", exchange)

    def on_message_complete(self) -> None:
        """Have a request answered that is whole."""
        super().on_message_complete()
        exchange: object = self.cycle
        if isinstance(exchange, Exchange):
            self._answer(exchange)

    def _exchange(self) -> "Exchange | None":
        """Begin to serve a request, if it is for a hot road and usual in every respect."""
        version = self.parser.get_http_version().encode()
        line = b"%b %b HTTP/%b" % (self.parser.get_method(), self.url, version)
        for road in self._roads:
            parameter = road.parameter(line)
            if parameter is not None and self._is_usual():
                return Exchange(road, line, parameter, self.headers)
        return None

    def _is_usual(self) -> bool:
        return (
            self._is_free()
            and self.parser.should_keep_alive()
            and not self.parser.should_upgrade()
            and not self.expect_100_continue
            and first(CODING, self.headers) is None
            and not declares_oversized_body(self.headers)
        )

    def _is_free(self) -> bool:
        """Whether the client waits for nothing, and takes what it is sent."""
        before = cast("Exchange | None", self.cycle)  # or one of uvicorn's own
        is_answered = before is None or before.response_complete
        return is_answered and not (self._is_deaf or self.flow.write_paused)

    def _answer(self, exchange: "Exchange") -> None:
        """Ask the endpoint; what it finds is written as soon as it is found."""
        exchange.finding = self._finding(exchange)
        exchange.finding.add_done_callback(partial(self._found, exchange))
        self.tasks.add(exchange.finding)

    def _finding(self, exchange: "Exchange") -> "asyncio.Future[Any]":
        try:
            finding = exchange.road.endpoint(exchange)
        except Exception as error:  # noqa: BLE001 - around everything
            failed = self.loop.create_future()
            failed.set_exception(error)
            return failed
        if isinstance(finding, asyncio.Future):
            return finding
        with request_id(exchange.request_id):
            return asyncio.ensure_future(finding, loop=self.loop)

    def _found(self, exchange: "Exchange", finding: "asyncio.Future[Any]") -> None:
        try:
            answer = exchange.road.answer(finding.result())
        except FAILURES as error:
            self._apologise(exchange, error)
        else:
            self._reply(exchange, answer)

    def _apologise(self, exchange: "Exchange", error: BaseException) -> None:
        """Answer for an endpoint that failed, or was cancelled when a stop had waited for long."""
        foreseen = error if isinstance(error, Exception) else Overloaded("The service stops.")
        with request_id(exchange.request_id):
            answer = error_response(foreseen, exchange.request_id, exchange.headers)
            self._reply(exchange, answer)

    def _reply(self, exchange: "Exchange", answer: FastResponse) -> None:
        self.tasks.discard(exchange.finding)
        self._write(exchange, answer)
        if self._logs_requests:
            with request_id(exchange.request_id):
                log_request(self._log, exchange.said(), answer.status, exchange.start)

    def _write(self, exchange: "Exchange", answer: FastResponse) -> None:
        """Send an answer, and let uvicorn go on as after one of its own."""
        exchange.response_complete = True
        if exchange.disconnected:
            return
        is_last = self._shutdown.requested.is_set() or not exchange.keep_alive
        head = self.default_head()
        if answer.headers:
            head += fields(answer.headers)
        if is_last:
            head += fields([CONNECTION_CLOSE])
        self._buffer.send(encoded(answer, exchange.request_id, head))
        if is_last:
            self._buffer.close()
        self._go_on()

    def _go_on(self) -> None:
        """Be ready for the next request. A timer that runs is left alone: it sees to it itself."""
        if self.timeout_keep_alive_task is None or self._buffer.is_closing():
            self.on_response_complete()
        else:  # nothing has been read since the last response but this request
            self.idle_since = self.loop.time()
            self.server_state.total_requests += 1
            self.flow.resume_reading()

    def timeout_keep_alive_handler(self) -> None:
        """Close a connection that was idle for long; another gets what is left of the time."""
        idle = self.loop.time() - self.idle_since if self._is_free() else 0.0
        left = self.timeout_keep_alive - idle
        if left > 0:
            self.timeout_keep_alive_task = self.loop.call_later(
                left, self.timeout_keep_alive_handler
            )
        else:
            super().timeout_keep_alive_handler()


class Exchange(FastRequest):
    """A request for a hot road, from its head to its answer.

    It has what uvicorn looks for in a cycle of its own (`RequestResponseCycle`), which it stands
    in for: whether it is over, and where the body is gathered.
    """

    more_body = True
    keep_alive = True
    disconnected = False
    response_started = False
    response_complete = False
    finding: Any = None  # a future, or a task

    def __init__(
        self, road: FastRoute[Any], first_line: bytes, parameter: str, headers: Headers
    ) -> None:
        super().__init__(parameter, headers, bytearray(), request_id_in(headers))
        self.road = road
        self.first_line = first_line
        self.start = time.perf_counter()

    @property
    def message_event(self) -> "Exchange":
        """Tell nobody of a part of the body: the endpoint is called when it is whole."""
        return self

    def set(self) -> None:
        """See `message_event`."""

    def said(self) -> str:
        """Return method and route; what stands in the path itself may be anything."""
        return self.road.template
