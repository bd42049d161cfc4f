"""Send views that change to many clients by server-sent events (HTML Standard, 9.2).

A view is a set of entries by key. A client gets a snapshot first, then every change, with numbers
that have no gaps. A client that reconnects with the id of its last event gets the changes since, or
a snapshot if they are not kept any more. Heartbeats, in between and after every other event, say at
which time the view was up to date. Without them a client must take it for outdated.

    event: snapshot    {"at": time, "entries": {key: entry, …}}
    event: change      {"at": time, "set": {key: entry, …}, "unset": [key, …]}
    event: heartbeat   {"at": time}

A change is encoded once for all clients. Nothing is queued for a slow client: it gets the changes
since its last one, and a snapshot if they are too many.
"""

import asyncio
import contextlib
import json
import secrets
import time
from collections import deque
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Iterator,
    Mapping,
    Sequence,
)
from typing import TypeAlias

from pydantic import JsonValue
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from restaurant_system.errors import Unavailable
from restaurant_system.logger import get_logger
from restaurant_system.metrics import definitions as metrics
from restaurant_system.models.clock import Clock, rfc_3339, utc_now
from restaurant_system.shutdown import Shutdown
from restaurant_system.web.access_checks import CLIENT, STREAMS
from restaurant_system.web.access_control import while_admitted

log = get_logger()

Entries: TypeAlias = Mapping[str, JsonValue]
Poll: TypeAlias = Callable[[Sequence[str]], Awaitable[Mapping[str, Entries]]]

HEARTBEAT_INTERVAL = 2.0  # s between two events of a view that is up to date, at most
KEPT_CHANGES = 256  # changes that are kept for clients that reconnect
UNWATCHED_LIFETIME = 60.0  # s for which a view without clients is kept, for the same
MAX_NUMBER_LENGTH = 18  # digits in the number of a change; int() refuses thousands of them
MEDIA_TYPE = "text/event-stream"


class Feed:
    """The state of one live view, and the event streams of its clients."""

    def __init__(self, *, clock: Clock = utc_now) -> None:
        self._clock = clock
        self._epoch = secrets.token_hex(4)  # tells numbers from those before a restart
        self._number = 0  # of the last change
        self._entries: dict[str, JsonValue] = {}
        self._changes: deque[bytes] = deque(maxlen=KEPT_CHANGES)  # up to `_number`
        self._updated_at = ""
        self._snapshot = b""  # encoded when a client first needs it
        self._heartbeat = b""
        self._sent_at = 0.0
        self._is_current = False
        self._is_closed = False
        self._news = asyncio.Event()
        self._clients_watching = 0
        self._unwatched_since = time.monotonic()

    @property
    def is_watched(self) -> bool:
        """Return whether any client has an event stream of this view open."""
        return self._clients_watching > 0

    @property
    def unwatched_seconds(self) -> float:
        """The time since the last client left."""
        return 0.0 if self.is_watched else time.monotonic() - self._unwatched_since

    def update(self, entries: Entries) -> None:
        """Set the entries of the view; send the changes or, at intervals, a heartbeat."""
        changed = {key: entry for key, entry in entries.items() if self._entries.get(key) != entry}
        removed = [key for key in self._entries if key not in entries]
        self._updated_at = rfc_3339(self._clock())
        was_current, self._is_current = self._is_current, True
        self._heartbeat, self._snapshot = _event("heartbeat", {"at": self._updated_at}), b""
        if changed or removed:
            self._entries = dict(entries)
            self._number += 1
            change: Entries = {"at": self._updated_at, "set": changed, "unset": list(removed)}
            self._changes.append(_event("change", change, self._id))
            self._notify()
        elif not was_current or time.monotonic() - self._sent_at >= HEARTBEAT_INTERVAL:
            self._notify()

    def invalidate(self) -> None:
        """Mark the view as outdated: no client receives events until the next update."""
        self._is_current = False

    def close(self) -> None:
        """End the event streams of all clients of the view."""
        self._is_closed = True
        self._notify()

    async def watch(self, last_id: str | None = None) -> AsyncGenerator[bytes, None]:
        """Yield the events for a client whose last event was `last_id`, `None` for a new client."""
        with self._counted():
            seen = self._number_in(last_id)
            while not self._is_closed:
                news = self._news  # set by an update that comes while the client reads
                if self._is_current:
                    events, seen = self._events_since(seen), self._number
                    yield events + self._heartbeat  # the events may be older than the view
                await news.wait()

    @property
    def _id(self) -> str:
        return f"{self._epoch}.{self._number}"

    def _number_in(self, event_id: str | None) -> int | None:
        """Return the number in an event's id, `None` if it is not from this feed."""
        epoch, _, number = (event_id or "").partition(".")
        is_own = epoch == self._epoch and number.isdecimal() and len(number) <= MAX_NUMBER_LENGTH
        return int(number) if is_own else None

    def _events_since(self, seen: int | None) -> bytes:
        """Return the changes after the one numbered `seen`, or a snapshot if they are not kept."""
        missed = -1 if seen is None else self._number - seen
        if 0 <= missed <= len(self._changes):
            return b"".join(list(self._changes)[len(self._changes) - missed :])
        if not self._snapshot:
            view: Entries = {"at": self._updated_at, "entries": self._entries}
            self._snapshot = _event("snapshot", view, self._id)
        return self._snapshot

    def _notify(self) -> None:
        self._sent_at = time.monotonic()
        news, self._news = self._news, asyncio.Event()
        news.set()

    @contextlib.contextmanager
    def _counted(self) -> Iterator[None]:
        if not self._clients_watching:
            self.invalidate()  # an unwatched view is not updated
        self._clients_watching += 1
        metrics.live_view_clients.inc()
        try:
            yield
        finally:
            self._clients_watching -= 1
            metrics.live_view_clients.dec()
            self._unwatched_since = time.monotonic()


class FeedPoller:
    """Poll the state of all views that are watched, and update their feeds.

    The state is in the database, so updates that the broker delays or loses are seen as well.
    `poll` gets the keys of the watched views, and returns their entries. The streams of a view that
    it leaves out end, because that view has ceased to exist. It is called once for all
    clients, every `interval` seconds, and not at all while no view is watched. While it fails,
    nothing is sent, and clients notice that heartbeats are missing.
    """

    def __init__(self, poll: Poll, *, interval: float) -> None:
        self._poll = poll
        self._interval = interval
        self._feeds: dict[str, Feed] = {}
        self._wanted = asyncio.Event()
        self._is_closed = False

    async def run(self, shutdown: Shutdown) -> None:
        """Poll the state of live views until a stop is requested; then end all streams."""
        async with asyncio.TaskGroup() as group:
            polling = group.create_task(self._poll_while_watched())
            await shutdown.requested.wait()
            polling.cancel()
            self._is_closed = True
            for feed in self._feeds.values():
                feed.close()

    async def watch(self, key: str, last_id: str | None) -> AsyncGenerator[bytes, None]:
        """Yield the events of the view with this key; see `Feed.watch`."""
        if self._is_closed:
            return
        feed = self._feeds.setdefault(key, Feed())
        if not feed.is_watched:
            self._wanted.set()
        async with contextlib.aclosing(feed.watch(last_id)) as stream:
            async for events in stream:
                yield events

    async def _poll_while_watched(self) -> None:
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            while watched := self._watched():
                await self._update(watched)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._interval):
                        await self._wanted.wait()
                self._wanted.clear()

    async def _update(self, watched: Sequence[str]) -> None:
        """Poll the state of live views once; log an unexpected error."""
        try:
            views = await self._poll(watched)
        except Exception as error:
            if not isinstance(error, Unavailable):
                log.exception("live_view_failed", message="Live view not updated.")
            for key in watched:
                self._feeds[key].invalidate()
        else:
            for key in watched:
                if key in views:
                    self._feeds[key].update(views[key])
                else:  # a client that connects again gets 404
                    self._feeds.pop(key).close()

    def _watched(self) -> list[str]:
        """Return the keys of all views that are watched; delete those unwatched for long."""
        for key, feed in list(self._feeds.items()):
            if feed.unwatched_seconds > UNWATCHED_LIFETIME:
                del self._feeds[key]
        return [key for key, feed in self._feeds.items() if feed.is_watched]


def last_event_id(request: Request) -> str | None:
    """Return the id of a client's last event, from its header `Last-Event-ID` or from `?after=`."""
    return request.headers.get("last-event-id") or request.query_params.get("after")


class EventStreamResponse(StreamingResponse):
    """A stream of events that counts towards the limit of its client.

    It ends when the session or the API key of its caller does.

    It has headers against caches and against proxies that buffer. Sending it raises `Refusal` (429)
    if the client has too many open.
    """

    media_type = MEDIA_TYPE

    def __init__(self, events: AsyncIterator[bytes]) -> None:
        self._events = events
        super().__init__(events, headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the stream until it ends or the client disconnects."""
        self.body_iterator = while_admitted(scope, self._events)
        with scope[STREAMS].counted(scope[CLIENT]):
            await super().__call__(scope, receive, send)


def _event(kind: str, data: Mapping[str, JsonValue], event_id: str | None = None) -> bytes:
    encoded = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    id_field = "" if event_id is None else f"id: {event_id}\n"
    return f"{id_field}event: {kind}\ndata: {encoded}\n\n".encode()
