"""Live views: nobody misses anything, and nobody is told what is not known to be true."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence

import pytest
from structlog.testing import capture_logs

from restaurant_system.errors import DatabaseUnavailable
from restaurant_system.shutdown import Shutdown
from restaurant_system.web import event_stream
from restaurant_system.web.event_stream import Entries, Feed, FeedPoller
from tests.support.live_view_client import Event, events_in
from tests.support.services import NOON, FakeClock
from tests.support.waiting import eventually

PATIENCE = 5.0  # s
MOMENT = 0.05  # s in which what would come has come
QUICK = 0.005  # s between two looks
NOON_STATED = "2024-12-16T12:00:00.000Z"


class Watcher:
    """Somebody who watches; sees what is sent only when it reads."""

    def __init__(self, told: AsyncGenerator[bytes, None]) -> None:
        self._told = told
        self._reading: asyncio.Future[bytes] | None = None
        self.last: str | None = None

    async def read(self) -> list[Event]:
        """Read what is sent next, but for the beat behind it; nothing at the end of all."""
        async with asyncio.timeout(PATIENCE):
            events = events_in((await self._next()).decode())
        self._reading = None
        self.last = ([self.last, *(each.id for each in events if each.id)])[-1]
        return events[:-1] or events

    async def hears_nothing(self) -> bool:
        """Tell whether nothing is sent for a moment."""
        done, _ = await asyncio.wait({self._next()}, timeout=MOMENT)
        return not done

    async def leave(self) -> None:
        """Watch no more."""
        await self._told.aclose()

    def _next(self) -> "asyncio.Future[bytes]":
        self._reading = self._reading or asyncio.ensure_future(anext(self._told, b""))
        return self._reading


@pytest.fixture
def feed() -> Feed:
    """Lend a view, at noon."""
    return Feed(clock=FakeClock())


async def watch(feed: Feed, entries: Entries) -> Watcher:
    """Begin to watch a view that nobody watches, and read what it is."""
    watcher = Watcher(feed.watch())
    assert await watcher.hears_nothing()
    feed.show(entries)
    await watcher.read()
    return watcher


async def test_a_snapshot_comes_first_and_then_each_change_by_number(feed: Feed) -> None:
    """Whoever begins to watch gets all there is, and from then on what has changed."""
    watcher = Watcher(feed.watch())
    assert await watcher.hears_nothing()

    feed.show({"a": 1, "b": 2})
    (snapshot,) = await watcher.read()
    feed.show({"a": 1, "b": 3, "c": 4})
    (first,) = await watcher.read()
    feed.show({"c": 4})
    (second,) = await watcher.read()

    assert snapshot.kind == "snapshot"
    assert snapshot.data == {"at": NOON_STATED, "entries": {"a": 1, "b": 2}}
    assert first.kind == second.kind == "change"
    assert first.data == {"at": NOON_STATED, "set": {"b": 3, "c": 4}, "unset": []}
    assert second.data == {"at": NOON_STATED, "set": {}, "unset": ["a", "b"]}
    assert [number_of(each) for each in (snapshot, first, second)] == [1, 2, 3]


def number_of(event: Event) -> int:
    """Return the number in an event's id."""
    assert event.id is not None
    return int(event.id.rpartition(".")[2])


async def test_whoever_comes_back_gets_what_it_missed(feed: Feed) -> None:
    """A number that is known is gone on from, change by change."""
    watcher = await watch(feed, {"a": 1})
    await watcher.leave()
    stays = Watcher(feed.watch())
    for value in (1, 2, 3):
        await stays.hears_nothing()
        feed.show({"a": value})

    back = Watcher(feed.watch(watcher.last))

    assert [(each.kind, each.data["set"]) for each in await back.read()] == [
        ("change", {"a": 2}),
        ("change", {"a": 3}),
    ]
    assert [each.kind for each in await Watcher(feed.watch(back.last)).read()] == ["beat"]


@pytest.mark.parametrize(
    "last", ["0.1", "", "what", "{life}.", "{life}.-1", "{life}.9", "{life}." + "9" * 5000]
)
async def test_a_number_that_is_none_of_ours_gets_a_snapshot(feed: Feed, last: str) -> None:
    """Of another life, of the future or none at all: it begins anew."""
    stays = await watch(feed, {"a": 1})
    assert stays.last is not None

    other = Watcher(feed.watch(last.format(life=stays.last.partition(".")[0])))

    assert [each.kind for each in await other.read()] == ["snapshot"]


async def test_whoever_is_too_far_behind_gets_a_snapshot(feed: Feed) -> None:
    """More changes than are kept are not told one by one."""
    watcher = await watch(feed, {"a": 0})
    for value in range(1, event_stream.KEPT + 1):
        feed.show({"a": value})
    assert len(await watcher.read()) == event_stream.KEPT

    for value in range(event_stream.KEPT + 1):
        feed.show({"a": -value - 1})

    (snapshot,) = await watcher.read()
    assert snapshot.kind == "snapshot"
    assert snapshot.data["entries"] == {"a": -event_stream.KEPT - 1}


async def test_what_happens_while_a_watcher_is_told_is_told_next(feed: Feed) -> None:
    """A watcher who is slow to read misses nothing of what is shown meanwhile."""
    watcher = await watch(feed, {"a": 0})

    for value in range(1, 4):
        feed.show({"a": value})

    assert [each.data["set"]["a"] for each in await watcher.read()] == [1, 2, 3]
    assert await watcher.hears_nothing()


async def test_beats_come_only_while_something_is_shown(
    feed: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What does not change is said to be true now and then; when nobody looks, nothing is said."""
    watcher = await watch(feed, {"a": 1})

    feed.show({"a": 1})
    assert await watcher.hears_nothing()
    monkeypatch.setattr(event_stream, "HEARTBEAT_INTERVAL", 0)
    feed.show({"a": 1})

    assert await watcher.read() == [Event("beat", {"at": NOON_STATED})]
    assert await watcher.hears_nothing()


async def test_a_time_is_when_the_view_was_true() -> None:
    """Nothing that is sent is passed off as newer, or older, than the last look."""
    clock = FakeClock()
    feed = Feed(clock=clock)
    early = await watch(feed, {"a": 1})
    clock.now = NOON.replace(minute=1)
    feed.show({"a": 1})
    clock.now = NOON.replace(minute=9)

    (snapshot,) = await Watcher(feed.watch()).read()
    (beat,) = await Watcher(feed.watch(early.last)).read()

    assert snapshot.data["at"] == beat.data["at"] == "2024-12-16T12:01:00.000Z"


async def test_a_view_that_nobody_watched_is_true_after_the_next_look(feed: Feed) -> None:
    """What was shown before the first watcher came may have changed since: it is not shown."""
    await (await watch(feed, {"a": 1})).leave()

    watcher = Watcher(feed.watch())
    was_told_nothing = await watcher.hears_nothing()
    feed.show({"a": 2})

    assert was_told_nothing
    assert (await watcher.read())[0].data["entries"] == {"a": 2}


async def test_a_view_in_doubt_is_shown_to_nobody(feed: Feed) -> None:
    """Newcomers wait as well; those who stay are told as soon as it is known to be true again."""
    stays = await watch(feed, {"a": 1})

    feed.invalidate()
    newcomer = Watcher(feed.watch())
    was_told_nothing = await newcomer.hears_nothing()
    feed.show({"a": 1})

    assert was_told_nothing
    assert [each.kind for each in await newcomer.read()] == ["snapshot"]
    assert [each.kind for each in await stays.read()] == ["beat"]


async def test_closing_sends_everyone_away(feed: Feed) -> None:
    """At the end nobody waits for more, and nobody begins to."""
    watcher = await watch(feed, {"a": 1})
    assert await watcher.hears_nothing()

    feed.close()

    assert await watcher.read() == []
    assert await Watcher(feed.watch()).read() == []


class Kitchen:
    """What there is to see, and how often somebody has looked."""

    def __init__(self) -> None:
        self.views: dict[str, Entries] = {"a": {"x": 1}, "b": {"x": 2}}
        self.looks: list[list[str]] = []
        self.away = False
        self.faulty = False

    async def look(self, keys: Sequence[str]) -> Mapping[str, Entries]:
        """Look at some views."""
        self.looks.append(list(keys))
        if self.away:
            raise DatabaseUnavailable("The database does not answer.")
        if self.faulty:
            raise ZeroDivisionError
        return {key: self.views[key] for key in keys}

    async def looks_again(self, times: int = 3) -> None:
        """Return once somebody has looked a few times more."""
        before = len(self.looks)

        async def looked() -> bool:
            return len(self.looks) >= before + times

        await eventually(looked, doing="for somebody to look")


@contextlib.contextmanager
def looking(source: FeedPoller) -> Iterator[None]:
    """Look for a while."""
    running = asyncio.get_running_loop().create_task(source.run(Shutdown()))
    try:
        yield
    finally:
        running.cancel()


async def test_nobody_looks_while_nobody_watches() -> None:
    """Looks begin with the first watcher, and end with the last."""
    kitchen = Kitchen()
    source = FeedPoller(kitchen.look, every=QUICK)
    with looking(source):
        await asyncio.sleep(MOMENT)
        before = list(kitchen.looks)
        watcher = Watcher(source.watch("a", None))
        (snapshot,) = await watcher.read()
        await kitchen.looks_again()
        await watcher.leave()
        await asyncio.sleep(MOMENT)
        after = len(kitchen.looks)
        await asyncio.sleep(MOMENT)

    assert before == []
    assert snapshot.data["entries"] == {"x": 1}
    assert len(kitchen.looks) == after


async def test_one_look_serves_everyone() -> None:
    """However many watch, and however many views, there is one look at a time for all of them."""
    kitchen = Kitchen()
    source = FeedPoller(kitchen.look, every=QUICK)
    with looking(source):
        watchers = [Watcher(source.watch(key, None)) for key in "aaabbb"]
        read = await asyncio.gather(*(each.read() for each in watchers))
        await kitchen.looks_again()

    assert [events[0].data["entries"]["x"] for events in read] == [1, 1, 1, 2, 2, 2]
    assert kitchen.looks[-1] == ["a", "b"]


async def test_a_new_view_is_looked_at_at_once() -> None:
    """Whoever begins to watch waits for a look, not for the time between two."""
    kitchen = Kitchen()
    source = FeedPoller(kitchen.look, every=3600)
    with looking(source):
        watcher = Watcher(source.watch("a", None))
        await watcher.read()

        (snapshot,) = await Watcher(source.watch("b", None)).read()

    assert snapshot.data["entries"] == {"x": 2}


async def test_what_cannot_be_seen_is_passed_over_in_silence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """While the database is away there is no beat and no snapshot; then it goes on where it was."""
    monkeypatch.setattr(event_stream, "HEARTBEAT_INTERVAL", 0)
    kitchen = Kitchen()
    source = FeedPoller(kitchen.look, every=QUICK)
    with looking(source):
        stays, late = Watcher(source.watch("a", None)), Watcher(source.watch("a", None))
        await stays.read()

        kitchen.away = True
        await kitchen.looks_again()
        while not await stays.hears_nothing():
            await stays.read()  # what was sent before
        late_hears_nothing = await late.hears_nothing()
        kitchen.views["a"], kitchen.away = {"x": 5}, False

        assert [each.data["set"] for each in await stays.read()] == [{"x": 5}]
        assert [each.data["entries"] for each in await late.read()] == [{"x": 5}]
        assert late_hears_nothing


async def test_a_fault_of_ours_closes_no_house() -> None:
    """A look that goes wrong is logged, and its view is silent until one goes right."""
    kitchen = Kitchen()
    source = FeedPoller(kitchen.look, every=QUICK)
    with looking(source), capture_logs() as lines:
        watcher = Watcher(source.watch("a", None))
        await watcher.read()
        kitchen.faulty = True
        await kitchen.looks_again()
        kitchen.views["a"], kitchen.faulty = {"x": 5}, False

        assert (await watcher.read())[0].kind == "change"

    assert {line["event"] for line in lines} == {"live_view_failed"}


async def test_a_stop_sends_everyone_away() -> None:
    """Those who watch, and those who come late; then nobody looks any more."""
    kitchen, shutdown = Kitchen(), Shutdown()
    source = FeedPoller(kitchen.look, every=QUICK)
    running = asyncio.create_task(source.run(shutdown))
    watcher = Watcher(source.watch("a", None))
    await watcher.read()

    shutdown.request_stop()

    async with asyncio.timeout(PATIENCE):
        await running
    assert await watcher.read() == []
    assert await Watcher(source.watch("b", None)).read() == []


async def test_a_view_that_nobody_comes_back_to_is_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its place is kept for a while, for those whose line broke; then its numbers begin anew."""
    kitchen = Kitchen()
    source = FeedPoller(kitchen.look, every=QUICK)
    with looking(source):
        stays, first = Watcher(source.watch("b", None)), Watcher(source.watch("a", None))
        await stays.read()
        await first.read()
        await first.leave()
        back = Watcher(source.watch("a", first.last))
        kept = await back.read()
        await back.leave()
        monkeypatch.setattr(event_stream, "LINGER", 0)
        await kitchen.looks_again()

        late = await Watcher(source.watch("a", first.last)).read()

    assert [each.kind for each in kept] == ["beat"]
    assert [each.kind for each in late] == ["snapshot"]
