"""Live views: no client misses a change, and none gets a view that may be outdated."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence

import pytest

from restaurant_system.errors import DatabaseUnavailable
from restaurant_system.shutdown import Shutdown
from restaurant_system.web import event_stream
from restaurant_system.web.event_stream import Entries, Feed, FeedPoller
from tests.support.live_view_client import Event, events_in
from tests.support.logs import capture_logs
from tests.support.services import NOON, FakeClock
from tests.support.waiting import eventually

TIMEOUT = 5.0  # s
MOMENT = 0.05  # s after which an event that is due has been sent
INTERVAL = 0.005  # s between two polls
NOON_TEXT = "2024-12-16T12:00:00.000Z"


class Client:
    """A client of a stream, which takes events only when it reads."""

    def __init__(self, stream: AsyncGenerator[bytes, None]) -> None:
        self._stream = stream
        self._reading: asyncio.Future[bytes] | None = None
        self.last_id: str | None = None

    async def read(self) -> list[Event]:
        """Read the next events without the heartbeat after them; none at the end of the stream."""
        async with asyncio.timeout(TIMEOUT):
            events = events_in((await self._next()).decode())
        self._reading = None
        self.last_id = ([self.last_id, *(each.id for each in events if each.id)])[-1]
        return events[:-1] or events

    async def receives_nothing(self) -> bool:
        """Tell whether nothing is sent for a moment."""
        done, _ = await asyncio.wait({self._next()}, timeout=MOMENT)
        return not done

    async def close(self) -> None:
        """Close the client's event stream."""
        await self._stream.aclose()

    def _next(self) -> "asyncio.Future[bytes]":
        self._reading = self._reading or asyncio.ensure_future(anext(self._stream, b""))
        return self._reading


@pytest.fixture
def feed() -> Feed:
    """Return a feed whose clock stands at noon."""
    return Feed(clock=FakeClock())


async def watch(feed: Feed, entries: Entries) -> Client:
    """Return the first client of a feed, after it has read the snapshot."""
    client = Client(feed.watch())
    assert await client.receives_nothing()
    feed.update(entries)
    await client.read()
    return client


async def test_client_gets_a_snapshot_and_then_numbered_changes(feed: Feed) -> None:
    client = Client(feed.watch())
    assert await client.receives_nothing()

    feed.update({"a": 1, "b": 2})
    (snapshot,) = await client.read()
    feed.update({"a": 1, "b": 3, "c": 4})
    (first,) = await client.read()
    feed.update({"c": 4})
    (second,) = await client.read()

    assert snapshot.kind == "snapshot"
    assert snapshot.data == {"at": NOON_TEXT, "entries": {"a": 1, "b": 2}}
    assert first.kind == second.kind == "change"
    assert first.data == {"at": NOON_TEXT, "set": {"b": 3, "c": 4}, "unset": []}
    assert second.data == {"at": NOON_TEXT, "set": {}, "unset": ["a", "b"]}
    assert [number_of(each) for each in (snapshot, first, second)] == [1, 2, 3]


def number_of(event: Event) -> int:
    """Return the number in an event's id."""
    assert event.id is not None
    return int(event.id.rpartition(".")[2])


async def test_reconnecting_client_gets_the_changes_that_it_missed(feed: Feed) -> None:
    client = await watch(feed, {"a": 1})
    await client.close()
    other = Client(feed.watch())
    for value in (1, 2, 3):
        await other.receives_nothing()
        feed.update({"a": value})

    reconnected = Client(feed.watch(client.last_id))

    assert [(each.kind, each.data["set"]) for each in await reconnected.read()] == [
        ("change", {"a": 2}),
        ("change", {"a": 3}),
    ]
    up_to_date = Client(feed.watch(reconnected.last_id))
    assert [each.kind for each in await up_to_date.read()] == ["heartbeat"]


@pytest.mark.parametrize(
    "last_id", ["0.1", "", "what", "{epoch}.", "{epoch}.-1", "{epoch}.9", "{epoch}." + "9" * 5000]
)
async def test_client_with_an_unknown_event_id_gets_a_snapshot(feed: Feed, last_id: str) -> None:
    """Unknown are ids from before a restart, later ones than the last, and malformed ones."""
    first = await watch(feed, {"a": 1})
    assert first.last_id is not None

    other = Client(feed.watch(last_id.format(epoch=first.last_id.partition(".")[0])))

    assert [each.kind for each in await other.read()] == ["snapshot"]


async def test_client_that_missed_more_changes_than_are_kept_gets_a_snapshot(feed: Feed) -> None:
    client = await watch(feed, {"a": 0})
    for value in range(1, event_stream.KEPT_CHANGES + 1):
        feed.update({"a": value})
    assert len(await client.read()) == event_stream.KEPT_CHANGES

    for value in range(event_stream.KEPT_CHANGES + 1):
        feed.update({"a": -value - 1})

    (snapshot,) = await client.read()
    assert snapshot.kind == "snapshot"
    assert snapshot.data["entries"] == {"a": -event_stream.KEPT_CHANGES - 1}


async def test_changes_made_while_a_client_does_not_read_are_sent_next(feed: Feed) -> None:
    client = await watch(feed, {"a": 0})

    for value in range(1, 4):
        feed.update({"a": value})

    assert [each.data["set"]["a"] for each in await client.read()] == [1, 2, 3]
    assert await client.receives_nothing()


async def test_unchanged_view_sends_heartbeats_at_intervals(
    feed: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Heartbeats are sent only at updates: without one nothing is sent."""
    client = await watch(feed, {"a": 1})

    feed.update({"a": 1})
    assert await client.receives_nothing()
    monkeypatch.setattr(event_stream, "HEARTBEAT_INTERVAL", 0)
    feed.update({"a": 1})

    assert await client.read() == [Event("heartbeat", {"at": NOON_TEXT})]
    assert await client.receives_nothing()


async def test_event_has_the_time_of_the_last_update() -> None:
    """An event has the time of the last update, not of an earlier one or of sending."""
    clock = FakeClock()
    feed = Feed(clock=clock)
    early = await watch(feed, {"a": 1})
    clock.now = NOON.replace(minute=1)
    feed.update({"a": 1})
    clock.now = NOON.replace(minute=9)

    (snapshot,) = await Client(feed.watch()).read()
    (heartbeat,) = await Client(feed.watch(early.last_id)).read()

    assert snapshot.data["at"] == heartbeat.data["at"] == "2024-12-16T12:01:00.000Z"


async def test_first_client_of_a_view_waits_for_an_update(feed: Feed) -> None:
    """The entries may have changed while the view was unwatched."""
    await (await watch(feed, {"a": 1})).close()

    client = Client(feed.watch())
    received_nothing = await client.receives_nothing()
    feed.update({"a": 2})

    assert received_nothing
    assert (await client.read())[0].data["entries"] == {"a": 2}


async def test_invalid_view_sends_nothing_until_the_next_update(feed: Feed) -> None:
    connected = await watch(feed, {"a": 1})

    feed.invalidate()
    new = Client(feed.watch())
    received_nothing = await new.receives_nothing()
    feed.update({"a": 1})

    assert received_nothing
    assert [each.kind for each in await new.read()] == ["snapshot"]
    assert [each.kind for each in await connected.read()] == ["heartbeat"]


async def test_closed_feed_ends_all_streams(feed: Feed) -> None:
    client = await watch(feed, {"a": 1})
    assert await client.receives_nothing()

    feed.close()

    assert await client.read() == []
    assert await Client(feed.watch()).read() == []


class FakeState:
    """State to poll, which counts polls and can fail."""

    def __init__(self) -> None:
        self.views: dict[str, Entries] = {"a": {"x": 1}, "b": {"x": 2}}
        self.polls: list[list[str]] = []
        self.error: Exception | None = None

    async def poll(self, keys: Sequence[str]) -> Mapping[str, Entries]:
        """Return the views with these keys, or raise `error`."""
        self.polls.append(list(keys))
        if self.error is not None:
            raise self.error
        return {key: self.views[key] for key in keys if key in self.views}

    async def wait_for_polls(self, number: int = 3) -> None:
        """Wait until the state has been polled some more times."""
        before = len(self.polls)

        async def is_polled() -> bool:
            return len(self.polls) >= before + number

        await eventually(is_polled, doing="for polls")


@pytest.fixture
def state() -> FakeState:
    """Return a fake state for a poller."""
    return FakeState()


@contextlib.contextmanager
def running(poller: FeedPoller) -> Iterator[None]:
    """Run a poller for as long as the block lasts."""
    task = asyncio.get_running_loop().create_task(poller.run(Shutdown()))
    try:
        yield
    finally:
        task.cancel()


async def test_unwatched_views_are_not_polled(state: FakeState) -> None:
    poller = FeedPoller(state.poll, interval=INTERVAL)
    with running(poller):
        await asyncio.sleep(MOMENT)
        before = list(state.polls)
        client = Client(poller.watch("a", None))
        (snapshot,) = await client.read()
        await state.wait_for_polls()
        await client.close()
        await asyncio.sleep(MOMENT)
        after = len(state.polls)
        await asyncio.sleep(MOMENT)

    assert before == []
    assert snapshot.data["entries"] == {"x": 1}
    assert len(state.polls) == after


async def test_one_poll_serves_all_clients_and_views(state: FakeState) -> None:
    poller = FeedPoller(state.poll, interval=INTERVAL)
    with running(poller):
        clients = [Client(poller.watch(key, None)) for key in "aaabbb"]
        received = await asyncio.gather(*(each.read() for each in clients))
        await state.wait_for_polls()

    assert [events[0].data["entries"]["x"] for events in received] == [1, 1, 1, 2, 2, 2]
    assert state.polls[-1] == ["a", "b"]


async def test_newly_watched_view_is_polled_at_once(state: FakeState) -> None:
    poller = FeedPoller(state.poll, interval=3600)
    with running(poller):
        client = Client(poller.watch("a", None))
        await client.read()

        (snapshot,) = await Client(poller.watch("b", None)).read()

    assert snapshot.data["entries"] == {"x": 2}


async def test_nothing_is_sent_while_the_database_is_unavailable(
    state: FakeState, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Afterwards a client that stayed gets the changes, and a new one gets a snapshot."""
    monkeypatch.setattr(event_stream, "HEARTBEAT_INTERVAL", 0)
    poller = FeedPoller(state.poll, interval=INTERVAL)
    with running(poller):
        connected, new = Client(poller.watch("a", None)), Client(poller.watch("a", None))
        await connected.read()

        state.error = DatabaseUnavailable("The database does not answer.")
        await state.wait_for_polls()
        while not await connected.receives_nothing():
            await connected.read()  # sent before
        new_received_nothing = await new.receives_nothing()
        state.views["a"], state.error = {"x": 5}, None

        assert [each.data["set"] for each in await connected.read()] == [{"x": 5}]
        assert [each.data["entries"] for each in await new.read()] == [{"x": 5}]
        assert new_received_nothing


async def test_stream_of_a_view_that_ceases_to_exist_ends(state: FakeState) -> None:
    poller = FeedPoller(state.poll, interval=INTERVAL)
    with running(poller):
        gone, stays = Client(poller.watch("a", None)), Client(poller.watch("b", None))
        await gone.read()
        await stays.read()
        del state.views["a"]

        assert await gone.read() == []
        state.views |= {"a": {"x": 3}, "b": {"x": 4}}
        assert [each.data["set"] for each in await stays.read()] == [{"x": 4}]
        assert [each.data["entries"] for each in await Client(poller.watch("a", None)).read()] == [
            {"x": 3}
        ]


async def test_unexpected_error_of_a_poll_is_logged_and_polling_continues(
    state: FakeState,
) -> None:
    poller = FeedPoller(state.poll, interval=INTERVAL)
    with running(poller), capture_logs() as lines:
        client = Client(poller.watch("a", None))
        await client.read()
        state.error = ZeroDivisionError()
        await state.wait_for_polls()
        state.views["a"], state.error = {"x": 5}, None

        assert (await client.read())[0].kind == "change"

    assert {line["event"] for line in lines} == {"live_view_failed"}


async def test_stop_ends_all_streams(state: FakeState) -> None:
    """The stream of a client that connects after the stop ends at once."""
    shutdown = Shutdown()
    poller = FeedPoller(state.poll, interval=INTERVAL)
    task = asyncio.create_task(poller.run(shutdown))
    client = Client(poller.watch("a", None))
    await client.read()

    shutdown.request_stop()

    async with asyncio.timeout(TIMEOUT):
        await task
    assert await client.read() == []
    assert await Client(poller.watch("b", None)).read() == []


async def test_unwatched_view_is_deleted_after_its_lifetime(
    state: FakeState, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that reconnects within the view's lifetime gets only the changes that it missed."""
    poller = FeedPoller(state.poll, interval=INTERVAL)
    with running(poller):
        other, first = Client(poller.watch("b", None)), Client(poller.watch("a", None))
        await other.read()
        await first.read()
        await first.close()
        reconnected = Client(poller.watch("a", first.last_id))
        kept = await reconnected.read()
        await reconnected.close()
        monkeypatch.setattr(event_stream, "UNWATCHED_LIFETIME", 0)
        await state.wait_for_polls()

        late = await Client(poller.watch("a", first.last_id)).read()

    assert [each.kind for each in kept] == ["heartbeat"]
    assert [each.kind for each in late] == ["snapshot"]
