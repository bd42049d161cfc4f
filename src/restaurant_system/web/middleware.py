"""What happens around every request: its id, its size, its last-resort answer, its log line."""

import re
import time
import uuid
from http import HTTPStatus

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from restaurant_system.logger import get_logger, request_id
from restaurant_system.web.problem import Refusal, response_for

log = get_logger()

HEADER = "X-Request-ID"
SANE = re.compile(r"[A-Za-z0-9._:@/+=-]{1,128}")
LARGEST_BODY = 64 * 1024  # bytes


class RequestContext:
    """Pure ASGI, outermost: nothing inside it can answer without a request id."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection, as the ASGI specification has it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        scope["request_id"] = _id_of(headers)
        with request_id(scope["request_id"]):
            await _Exchange(scope, receive, send).run(self._app, headers)


class _Exchange:
    """One request and its answer."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        self._status: int | None = None
        self._answered = False
        self._received = 0

    async def run(self, app: ASGIApp, headers: Headers) -> None:
        start = time.perf_counter()
        try:
            _refuse_announced(headers)
            await app(self._scope, self._receive_limited, self._send_with_id)
        except Exception as error:
            if self._status is None:
                response = response_for(error, self._scope["request_id"])
                await response(self._scope, self._receive, self._send_with_id)
            elif not self._answered:  # it is half out: break it off, audibly
                log.exception("request_failed", message="An answer broke off.")
                raise
        log.debug(
            "request_received",
            message=f"{self._scope['method']} {self._scope['path']} answered {self._status}.",
            duration_ms=round((time.perf_counter() - start) * 1000, 2),
        )

    async def _receive_limited(self) -> Message:
        message = await self._receive()
        self._received += len(message.get("body", b""))
        if self._received > LARGEST_BODY:
            raise _too_large()
        return message

    async def _send_with_id(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            MutableHeaders(scope=message)[HEADER] = self._scope["request_id"]
        await self._send(message)
        self._answered = message["type"] == "http.response.body" and not message.get("more_body")


def _id_of(headers: Headers) -> str:
    """Return the caller's id if it sent a sane one, else a new one."""
    stated = headers.get(HEADER, "")
    return stated if SANE.fullmatch(stated) else str(uuid.uuid4())


def _refuse_announced(headers: Headers) -> None:
    announced = headers.get("content-length", "0")
    if not announced.isdecimal() or int(announced) > LARGEST_BODY:
        raise _too_large()


def _too_large() -> Refusal:
    return Refusal(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"A body may have at most {LARGEST_BODY} bytes."
    )
