"""Live views: what many people watch at once, by server-sent events (HTML Standard, 9.2).

A view is a set of entries by key. Whoever begins to watch gets a snapshot of it, and from then on
each change, numbered without a gap. Whoever comes back with the number of the last one gets what it
missed or, where that is no longer known, a snapshot again. Beats, in between and behind whatever is
sent, say that the view is true as of a time: without them, it is not known to be.

    event: snapshot   {"at": time, "entries": {key: entry, …}}
    event: change     {"at": time, "set": {key: entry, …}, "unset": [key, …]}
    event: beat       {"at": time}

A change is encoded once, however many watch. A watcher who is slow falls behind and, in the end, is
given a snapshot; nothing piles up for it.
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

from restaurant_system.errors import Unavailable
from restaurant_system.logger import get_logger
from restaurant_system.models.clock import Clock, rfc_3339, utc_now
from restaurant_system.shutdown import Shutdown

log = get_logger()

Entries: TypeAlias = Mapping[str, JsonValue]
Poll: TypeAlias = Callable[[Sequence[str]], Awaitable[Mapping[str, Entries]]]

HEARTBEAT_INTERVAL = (
    2.0  # s between two signs of life, at the most, of a view that is true and does not change
)
KEPT = 256  # changes that are kept for those who come back
LINGER = 60.0  # s for which a view that nobody watches keeps its place, for the same
LONGEST_NUMBER = 18  # digits of a change's number; Python does not read thousands of them
MEDIA_TYPE = "text/event-stream"


class Feed:
    """One view, and those who watch it."""

    def __init__(self, *, clock: Clock = utc_now) -> None:
        self._clock = clock
        self._life = secrets.token_hex(4)  # sets its numbers apart from those before a restart
        self._number = 0
        self._entries: dict[str, JsonValue] = {}
        self._changes: deque[bytes] = deque(maxlen=KEPT)  # up to and including `_number`
        self._shown_at = ""
        self._snapshot = b""  # of what was shown last, once somebody has asked for it
        self._beat = b""
        self._told_at = 0.0
        self._is_true = False  # unknown for as long as nobody looks
        self._is_closed = False
        self._news = asyncio.Event()
        self._watchers = 0
        self._left_at = time.monotonic()

    @property
    def is_watched(self) -> bool:
        """Whether anybody watches."""
        return self._watchers > 0

    @property
    def unwatched_seconds(self) -> float:
        """For how long nobody has watched."""
        return 0.0 if self.is_watched else time.monotonic() - self._left_at

    def show(self, entries: Entries) -> None:
        """Say what there is: watchers are told what changed or, now and then, that it is true."""
        changed = {key: entry for key, entry in entries.items() if self._entries.get(key) != entry}
        gone = [key for key in self._entries if key not in entries]
        self._shown_at = rfc_3339(self._clock())
        was_true, self._is_true = self._is_true, True
        self._beat, self._snapshot = _event("beat", {"at": self._shown_at}), b""
        if changed or gone:
            self._entries = dict(entries)
            self._number += 1
            change: Entries = {"at": self._shown_at, "set": changed, "unset": list(gone)}
            self._changes.append(_event("change", change, self._id))
            self._tell()
        elif not was_true or time.monotonic() - self._told_at >= HEARTBEAT_INTERVAL:
            self._tell()

    def invalidate(self) -> None:
        """Say nothing to anybody, newcomers included, until there is something to show again."""
        self._is_true = False

    def close(self) -> None:
        """Send everyone away; who comes back later finds a new feed."""
        self._is_closed = True
        self._tell()

    async def watch(self, last: str | None = None) -> AsyncGenerator[bytes, None]:
        """Yield what is to be sent to one watcher who has seen `last`, an event's id, if any."""
        with self._counted():
            seen = self._seen(last)
            while not self._is_closed:
                news = self._news  # what comes while this watcher is told is news to it
                if self._is_true:
                    missed, seen = self._since(seen), self._number
                    yield missed + self._beat  # a change that was missed may be of long ago
                await news.wait()

    @property
    def _id(self) -> str:
        return f"{self._life}.{self._number}"

    def _seen(self, last: str | None) -> int | None:
        """Return the number of an id that is one of ours, else `None`."""
        life, _, number = (last or "").partition(".")
        is_ours = life == self._life and number.isdecimal() and len(number) <= LONGEST_NUMBER
        return int(number) if is_ours else None

    def _since(self, seen: int | None) -> bytes:
        """Return the changes after `seen`, or a snapshot where they are not all known."""
        missed = -1 if seen is None else self._number - seen
        if 0 <= missed <= len(self._changes):
            return b"".join(list(self._changes)[len(self._changes) - missed :])
        if not self._snapshot:
            view: Entries = {"at": self._shown_at, "entries": self._entries}
            self._snapshot = _event("snapshot", view, self._id)
        return self._snapshot

    def _tell(self) -> None:
        self._told_at = time.monotonic()
        news, self._news = self._news, asyncio.Event()
        news.set()

    @contextlib.contextmanager
    def _counted(self) -> Iterator[None]:
        """Count a watcher in; what was shown before the first one came may have changed since."""
        if not self._watchers:
            self.invalidate()
        self._watchers += 1
        try:
            yield
        finally:
            self._watchers -= 1
            self._left_at = time.monotonic()


class FeedPoller:
    """Looks at what is watched, again and again, and at nothing while nobody watches.

    What there is stands in the database: an update that the broker is late with, or has lost, is
    seen all the same. `look` is told the keys of the views that are watched, and returns their
    entries; however many watch, it is asked once. While it fails nothing is shown, and watchers
    notice by the missing beats.
    """

    def __init__(self, look: Poll, *, every: float) -> None:
        self._look = look
        self._every = every
        self._feeds: dict[str, Feed] = {}
        self._wanted = asyncio.Event()
        self._is_closed = False

    async def run(self, shutdown: Shutdown) -> None:
        """Look for as long as it runs; at the wish to stop, send the watchers away."""
        async with asyncio.TaskGroup() as group:
            looking = group.create_task(self._look_for_ever())
            await shutdown.requested.wait()
            looking.cancel()
            self._is_closed = True
            for feed in self._feeds.values():
                feed.close()

    async def watch(self, key: str, last: str | None) -> AsyncGenerator[bytes, None]:
        """Yield what is to be sent to one who watches the view of this key."""
        if self._is_closed:
            return
        feed = self._feeds.setdefault(key, Feed())
        if not feed.is_watched:
            self._wanted.set()
        async with contextlib.aclosing(feed.watch(last)) as told:
            async for events in told:
                yield events

    async def _look_for_ever(self) -> None:
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            while watched := self._watched():
                await self._look_at(watched)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._every):
                        await self._wanted.wait()
                self._wanted.clear()

    async def _look_at(self, watched: Sequence[str]) -> None:
        """Show what there is; what cannot be seen now is left to the next look.

        A fault of ours is no reason to close the house: it is logged, and the view goes stale.
        """
        try:
            seen = await self._look(watched)
        except Exception as error:
            if not isinstance(error, Unavailable):
                log.exception("live_view_failed", message="Live view not updated.")
            for key in watched:
                self._feeds[key].invalidate()
        else:
            for key, entries in seen.items():
                self._feeds[key].show(entries)

    def _watched(self) -> list[str]:
        """Name the views that are watched; forget those that nobody will come back to."""
        for key in [k for k, feed in self._feeds.items() if feed.unwatched_seconds > LINGER]:
            del self._feeds[key]
        return [key for key, feed in self._feeds.items() if feed.is_watched]


def last_event_id(request: Request) -> str | None:
    """Return the id of the last event that a client has seen, of a header or of `?after=`."""
    return request.headers.get("last-event-id") or request.query_params.get("after")


def event_stream_response(events: AsyncIterator[bytes]) -> StreamingResponse:
    """Answer with events for as long as there are any; no proxy is to hold them back."""
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(events, headers=headers, media_type=MEDIA_TYPE)


def _event(kind: str, data: Mapping[str, JsonValue], identity: str | None = None) -> bytes:
    stated = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    known = "" if identity is None else f"id: {identity}\n"
    return f"{known}event: {kind}\ndata: {stated}\n\n".encode()
