"""A client's line, on which an answer leaves whole.

uvicorn writes the head of an answer, then its body, and uvloop sends each by itself: one call to
the kernel more, which costs more than all that we do around a request, and a client woken twice.
"""

import asyncio
from http import HTTPStatus
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from restaurant_system.models.identity import new_id
from restaurant_system.web.problem import Refusal, response_for

MOST_HELD = 64 * 1024  # bytes; what is larger gains nothing by waiting


class WholeAnswers(HttpToolsProtocol):
    """Speaks HTTP; what it writes in one turn of the loop is sent together."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin, on a line that gathers."""
        super().connection_made(cast("asyncio.Transport", GatheringLine(transport, self.loop)))

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP, as every refusal looks, and hang up."""
        identity = str(new_id())
        answer = response_for(Refusal(HTTPStatus.BAD_REQUEST, msg), identity)
        head = [
            *answer.raw_headers,
            (b"x-request-id", identity.encode()),
            (b"connection", b"close"),
        ]
        lines = [b"HTTP/1.1 400 Bad Request", *(b": ".join(each) for each in head)]
        self.transport.write(b"\r\n".join([*lines, b"", bytes(answer.body)]))
        self.transport.close()


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
            self._loop.call_soon(self._send)
        self._held += data
        if len(self._held) > MOST_HELD:
            self._send()

    def close(self) -> None:
        """Send what is held, and hang up."""
        self._send()
        self._line.close()

    def _send(self) -> None:
        if self._held and not self._line.is_closing():
            self._line.write(bytes(self._held))
        self._held.clear()
