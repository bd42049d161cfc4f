"""A client's line: where HTTP is spoken, and the short way of the hot roads begins and ends.

An answer leaves whole, whichever way it comes. On the ordinary one uvicorn writes its head, then
its body, and uvloop would send each by itself: one call to the kernel more, and a client woken
twice.
"""

import asyncio
import logging
import socket
import time
from collections.abc import Iterable, Sequence
from functools import partial
from http import HTTPStatus
from typing import Any, NamedTuple, cast

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from restaurant_system.errors import Overloaded
from restaurant_system.logger import get_logger, request_id
from restaurant_system.shutdown import Shutdown
from restaurant_system.web.headers import (
    CODING,
    GOODBYE,
    Headers,
    announces_too_large,
    first,
    new_request_id,
    request_id_in,
)
from restaurant_system.web.hot import Answer, Asked, HotRoad, answer_for
from restaurant_system.web.middleware import log_request
from restaurant_system.web.problem import Refusal

ABSENCE = 15_000  # ms in which what is sent must be acknowledged
FAILURES = (Exception, asyncio.CancelledError)  # of an endpoint
MOST_HELD = 64 * 1024  # bytes; what is larger gains nothing by waiting

log = get_logger()


class Habit(NamedTuple):
    """What a client has asked for, and what it said after the first line."""

    road: HotRoad[Any]
    rest: bytes
    headers: Headers


class ClientLine(HttpToolsProtocol):
    """Speaks HTTP with one client.

    A request for a hot road is answered from here, unless it is unusual: whoever waits for an
    answer already, speaks an old HTTP, wants to be asked for the body, and the like, is left to
    uvicorn and ASGI.

    Who asks again says the same of itself again: what follows the first line is not read twice.
    """

    def __init__(self, roads: Sequence[HotRoad[Any]], shutdown: Shutdown, **uvicorns: Any) -> None:  # noqa: ANN401 - what uvicorn gives its own
        super().__init__(**uvicorns)
        self._roads = roads
        self._shutdown = shutdown
        self._answered_at = 0.0  # by the loop's clock, on the short way
        self._default_headers, self._default_head = list[tuple[bytes, bytes]](), b""
        self._is_between = True  # two requests, as far as the parser has read
        self._habit: Habit | None = None
        self._log = log.bind()  # the name at the top of the module would look it up at every call
        self._logs_requests = self._log.is_enabled_for(logging.DEBUG)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin, on a line that gathers."""
        self._line = GatheringLine(transport, self.loop)
        notice_absence(transport)
        super().connection_made(cast("asyncio.Transport", self._line))

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
        if habit is None or not (data.endswith(habit.rest) and self._is_free()):
            return None
        line = data[: -len(habit.rest)]
        parameter = habit.road.parameter(line)
        return None if parameter is None else Exchange(habit.road, line, parameter, habit.headers)

    def _read(self, data: bytes) -> None:
        """Have the parser read, and keep in mind how the client asks."""
        begins = self._is_between and self._is_free()
        super().data_received(data)
        self._habit = self._habit_in(data) if begins and self._is_between else None

    def _habit_in(self, data: bytes) -> Habit | None:
        """Return how the client asks, if this was one request on a hot road and nothing else."""
        exchange: object = self.cycle
        if (
            not isinstance(exchange, Exchange)
            or exchange.body
            or not data.startswith(exchange.first_line)
        ):
            return None
        return Habit(exchange.road, data.removeprefix(exchange.first_line), exchange.headers)

    def on_message_begin(self) -> None:
        """Note that a request is half read."""
        self._is_between = False
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Decide which way a request takes."""
        exchange = self._exchange()
        if exchange is not None:
            self.cycle = cast("Any", exchange)
            return
        super().on_headers_complete()
        if self.parser.should_upgrade():  # what follows is no HTTP of ours: it is not read on
            self.cycle.keep_alive = False

    def on_message_complete(self) -> None:
        """Have a request answered that is whole."""
        self._is_between = True
        super().on_message_complete()
        exchange: object = self.cycle
        if isinstance(exchange, Exchange):
            self._answer(exchange)

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP, as every refusal looks, and hang up.

        Whoever has asked something before is answered that, as the last on this line.
        """
        if self._owes_an_answer():
            self.cycle.keep_alive = False
            self.flow.pause_reading()
            return
        identity = new_request_id()
        answer = answer_for(Refusal(HTTPStatus.BAD_REQUEST, msg), identity)
        self._line.send(_encoded(answer, identity, self._head() + _headers([GOODBYE])))
        self._line.close()

    def _unsupported_upgrade_warning(self) -> None:
        """Say nothing: it is no fault of ours that somebody offers another protocol."""

    def _owes_an_answer(self) -> bool:
        last = cast("Exchange | None", self.cycle)  # or one of uvicorn's own
        return last is not None and not last.response_complete and not last.more_body

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
            and not announces_too_large(self.headers)
        )

    def _is_free(self) -> bool:
        """Whether the client waits for nothing, and takes what it is sent."""
        before = cast("Exchange | None", self.cycle)  # or one of uvicorn's own
        return (before is None or before.response_complete) and not self.flow.write_paused

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
            answer = answer_for(foreseen, exchange.request_id, exchange.headers)
            self._reply(exchange, answer)

    def _reply(self, exchange: "Exchange", answer: Answer) -> None:
        self.tasks.discard(exchange.finding)
        self._write(exchange, answer)
        if self._logs_requests:
            with request_id(exchange.request_id):
                log_request(self._log, exchange.said(), answer.status, exchange.start)

    def _write(self, exchange: "Exchange", answer: Answer) -> None:
        """Send an answer, and let uvicorn go on as after one of its own."""
        exchange.response_complete = True
        if exchange.disconnected:
            return
        is_last = self._shutdown.requested.is_set() or not exchange.keep_alive
        head = self._head()
        if answer.headers:
            head += _headers(answer.headers)
        if is_last:
            head += _headers([GOODBYE])
        self._line.send(_encoded(answer, exchange.request_id, head))
        if is_last:
            self._line.close()
        self._go_on()

    def _head(self) -> bytes:
        """Write what uvicorn adds to every answer: the date, anew each second."""
        headers = self.server_state.default_headers
        if headers is not self._default_headers:
            self._default_headers, self._default_head = headers, _headers(headers)
        return self._default_head

    def _go_on(self) -> None:
        """Be ready for the next request. A timer that runs is left alone: it sees to it itself."""
        self._answered_at = self.loop.time()
        if self.timeout_keep_alive_task is None or self.pipeline or self._line.is_closing():
            self.on_response_complete()
        else:
            self.server_state.total_requests += 1
            self.flow.resume_reading()

    def timeout_keep_alive_handler(self) -> None:
        """Hang up on who has been idle for long; who has not is given what is left of the time."""
        idle = self.loop.time() - self._answered_at if self._is_free() else 0.0
        left = self.timeout_keep_alive - idle
        if left > 0:
            self.timeout_keep_alive_task = self.loop.call_later(
                left, self.timeout_keep_alive_handler
            )
        else:
            super().timeout_keep_alive_handler()


class Exchange(Asked):
    """A request for a hot road, from its head to its answer.

    It has what uvicorn looks for in a cycle of its own (`RequestResponseCycle`), which it stands
    in for: whether it is over, and where the body is gathered.
    """

    more_body = True
    keep_alive = True
    disconnected = False
    response_complete = False
    finding: Any = None  # a future, or a task

    def __init__(
        self, road: HotRoad[Any], first_line: bytes, parameter: str, headers: Headers
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


def notice_absence(transport: asyncio.Transport) -> None:
    """Have the line break when the client's machine acknowledges nothing any more.

    A tablet whose battery is empty does not hang up, and TCP by itself would go on for a quarter of
    an hour. (Linux only.)
    """
    line = transport.get_extra_info("socket")
    if line is not None and line.family != socket.AF_UNIX and hasattr(socket, "TCP_USER_TIMEOUT"):
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, ABSENCE)


def _headers(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    return b"".join([b"%b: %b\r\n" % each for each in headers])


def _encoded(answer: Answer, identity: str, head: bytes) -> bytes:
    """Write an answer as HTTP has it."""
    return b"%b%bcontent-length: %d\r\ncontent-type: %b\r\nx-request-id: %b\r\n\r\n%b" % (
        STATUS_LINE[answer.status],
        head,
        len(answer.body),
        answer.media_type.encode(),
        identity.encode(),
        answer.body,
    )


class GatheringLine:
    """Holds what is written until the loop's next turn; in all else it is the line itself."""

    def __init__(self, line: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._line = line
        self._loop = loop
        self._held = bytearray()
        self.is_closing = line.is_closing

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever a line has
        return getattr(self._line, name)

    def write(self, data: bytes) -> None:
        """Send this soon, and before anything that is written later."""
        if not self._held:
            self._loop.call_soon(self._send_held)
        self._held += data
        if len(self._held) > MOST_HELD:
            self._send_held()

    def send(self, data: bytes) -> None:
        """Send this at once, after what is held: nothing belongs to it that is still to come."""
        if self._held:
            self._send_held()
        if not self._line.is_closing():
            self._line.write(data)

    def close(self) -> None:
        """Send what is held, and hang up."""
        self._send_held()
        self._line.close()

    def _send_held(self) -> None:
        if self._held and not self._line.is_closing():
            self._line.write(bytes(self._held))
        self._held.clear()
