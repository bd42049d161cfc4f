"""Read the event stream of a live view as the browser does."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import httpx

SOON = 10.0  # s


class Event(NamedTuple):
    """A server-sent event of a live view."""

    kind: str
    data: dict[str, Any]
    id: str | None = None


def events_in(text: str) -> list[Event]:
    """Parse the complete server-sent events in a text."""
    return [_event(block) for block in text.split("\n\n") if block]


def _event(block: str) -> Event:
    fields = dict(line.split(": ", 1) for line in block.splitlines())
    return Event(fields["event"], json.loads(fields["data"]), fields.get("id"))


class LiveViewClient:
    """Reads a live view, as `live.js` does, and keeps all text that was received."""

    def __init__(self, parts: AsyncIterator[str]) -> None:
        self.text = ""
        self.entries: dict[str, Any] = {}
        self.last: str | None = None
        self._parts = parts
        self._unread = ""

    async def until_it_shows(self, key: str, **expected: object) -> Any:  # noqa: ANN401 - any JSON
        """Read until an entry has these values; return the entry."""
        async with asyncio.timeout(SOON):
            while not _has(self.entries.get(key), expected):
                await self.read()
        return self.entries[key]

    async def until_it_hides(self, key: str) -> None:
        """Read until there is no such entry."""
        async with asyncio.timeout(SOON):
            while key in self.entries:
                await self.read()

    async def until_it_ends(self) -> None:
        """Read until the end of the stream."""
        async with asyncio.timeout(SOON):
            with contextlib.suppress(StopAsyncIteration):
                while True:
                    await self.read()

    async def read(self) -> list[Event]:
        """Read the next part of the stream, and return its events."""
        part = await anext(self._parts)
        self.text += part
        whole, _, self._unread = (self._unread + part).rpartition("\n\n")
        events = events_in(whole)
        for event in events:
            self._take(event)
        return events

    def _take(self, event: Event) -> None:
        if event.kind == "snapshot":
            self.entries = event.data["entries"]
        elif event.kind == "change":
            self.entries |= event.data["set"]
            for key in event.data["unset"]:
                del self.entries[key]
        self.last = event.id or self.last


def _has(entry: Any, expected: dict[str, object]) -> bool:  # noqa: ANN401 - any JSON
    return entry is not None and all(entry.get(name) == value for name, value in expected.items())


@contextlib.asynccontextmanager
async def watching(client: httpx.AsyncClient, path: str) -> AsyncIterator[LiveViewClient]:
    """Open a live view, and wait for its first events."""
    async with client.stream("GET", path) as answer:
        assert answer.status_code == 200, await answer.aread()
        assert answer.headers["content-type"].startswith("text/event-stream")
        viewer = LiveViewClient(answer.aiter_text())
        async with asyncio.timeout(SOON):
            while viewer.last is None:
                await viewer.read()
        yield viewer
