"""Join what is written to a connection in one iteration of the event loop.

uvloop makes a system call for each `write`. uvicorn writes a response's head and then its body, and
aiormq each message of a batch, so that the peer would wake up for each of them.
"""

import asyncio
from collections.abc import Iterable
from typing import Any

MAX_BUFFER_SIZE = 64 * 1024  # bytes; waiting for more gains nothing


class WriteBuffer:
    """A transport or stream that holds written bytes until the next iteration of the event loop."""

    def __init__(
        self, transport: asyncio.Transport | asyncio.StreamWriter, loop: asyncio.AbstractEventLoop
    ) -> None:
        self._transport = transport
        self._loop = loop
        self._held = bytearray()
        self.is_closing = transport.is_closing

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever it has
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Send `data` in the next iteration, before anything that is written later."""
        if not self._held:
            self._loop.call_soon(self._flush)
        self._held += data
        if len(self._held) > MAX_BUFFER_SIZE:
            self._flush()

    def writelines(self, parts: Iterable[bytes]) -> None:
        """Send `parts` in the next iteration, as `write` does."""
        self.write(b"".join(parts))

    def send(self, data: bytes) -> None:
        """Send `data` at once, after what is held."""
        if self._held:
            self._flush()
        if not self._transport.is_closing():
            self._transport.write(data)

    def write_eof(self) -> None:
        """Send what is held and close the writing side; the reading side stays open."""
        self._flush()
        self._transport.write_eof()

    def close(self) -> None:
        """Send what is held, and close the connection."""
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        if self._held and not self._transport.is_closing():
            self._transport.write(bytes(self._held))
        self._held.clear()
