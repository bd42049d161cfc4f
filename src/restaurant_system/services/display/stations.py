"""A station: a worker operated by people. It is on duty for as long as a screen shows it."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Sequence

from pydantic import JsonValue

from restaurant_system.config import KitchenDisplaySettings
from restaurant_system.errors import DatabaseUnavailable, TooManyStations, WorkerNameTaken
from restaurant_system.logger import get_logger, reason
from restaurant_system.models.order import OrderType
from restaurant_system.models.worker import MISSED_HEARTBEATS
from restaurant_system.services.display.rail import Rail
from restaurant_system.services.display.taps import NAME
from restaurant_system.shutdown import Shutdown
from restaurant_system.worker.lifecycle import KitchenWorker

LOOK_INTERVAL = 0.5  # s between two looks whether anybody is still there
CUT_OFF_AFTER = 2.0  # s without a line to the broker after which that is said
DESERTED_AFTER = 10.0  # s without a screen after which a station may give its place to another
PAUSE = 1.0  # s until a name is asked for again that was ours before a crash, perhaps
LONG_PAUSE = 3.0  # s until one is that is somebody else's; the screen is told each time
LONGEST_PAUSE = 10.0  # s between two attempts to register while the database is unavailable

log = get_logger(NAME)

MakeRail = Callable[[str], Rail]
MakeWorker = Callable[[str, Sequence[OrderType], Rail], KitchenWorker]


class Station:
    """Works under a name, with its tickets on a rail."""

    def __init__(
        self,
        name: str,
        order_types: Sequence[OrderType],
        settings: KitchenDisplaySettings,
        make_rail: MakeRail,
        make_worker: MakeWorker,
    ) -> None:
        self.rail = make_rail(name)
        self._name = name
        self._order_types = order_types
        self._settings = settings
        self._make_worker = make_worker
        self._refused_since: float | None = None
        self._gives_way = False

    @property
    def may_give_way(self) -> bool:
        """Whether no screen has shown it for a while, and nobody has begun a ticket there."""
        return self.rail.feed.unwatched_seconds > DESERTED_AFTER and not self.rail.is_busy

    def give_way(self) -> None:
        """Close, as if no screen had shown it for as long as `absence`."""
        self._gives_way = True

    async def run(self, shutdown: Shutdown) -> None:
        """Work until asked to stop, or until no screen has shown it for a while.

        A name that somebody else works under is asked for again and again: after a crash it is
        free once the lease has run out. While the database is unavailable, the pauses grow.
        """
        failures = 0  # in a row
        while not (shutdown.requested.is_set() or self._is_deserted()):
            try:
                await self._work(shutdown)
                failures = 0
            except* WorkerNameTaken:
                failures = 0
                self._tell_if_refused()
            except* DatabaseUnavailable as errors:
                failures += 1
                text = f"{reason(errors.exceptions[0])}; retrying in {self._pause(failures):.1f} s."
                log.warning("db_connection_failed", message=text)
            await _pause(shutdown, self._pause(failures))
        self.rail.feed.close()

    def _pause(self, failures: int) -> float:
        """Return the seconds until the next attempt, after so many failures in a row."""
        if failures:
            return min(PAUSE * 2.0 ** min(failures - 1, 10), LONGEST_PAUSE)
        return PAUSE if self._may_still_be_ours() else LONG_PAUSE

    async def _work(self, shutdown: Shutdown) -> None:
        """Be on duty once."""
        leave = Shutdown()
        worker = self._make_worker(self._name, self._order_types, self.rail)
        async with asyncio.TaskGroup() as group:
            minding = group.create_task(self._mind(worker, shutdown, leave))
            await worker.run(leave)
            minding.cancel()

    async def _mind(self, worker: KitchenWorker, shutdown: Shutdown, leave: Shutdown) -> None:
        """Say how the station is, and when it is time to leave."""
        served_at = time.monotonic()
        while not (shutdown.requested.is_set() or self._is_deserted()):
            now = time.monotonic()
            served_at = now if worker.is_consuming else served_at
            self.rail.tell(self._about("cut_off" if now - served_at > CUT_OFF_AFTER else "open"))
            await _pause(shutdown, LOOK_INTERVAL)
            self._refused_since = None  # a name that is taken is refused at once
        leave.request_stop()

    def _tell_if_refused(self) -> None:
        """Say that the name is taken, unless it is only by who was here before a crash."""
        self._refused_since = self._refused_since or time.monotonic()
        if not self._may_still_be_ours():
            self.rail.feed.show({"station": self._about("refused")})

    def _may_still_be_ours(self) -> bool:
        """Tell whether a lease that we had before a crash could still last."""
        lease = MISSED_HEARTBEATS * self._settings.heartbeat_interval
        return self._refused_since is None or time.monotonic() - self._refused_since <= lease

    def _about(self, state: str) -> dict[str, JsonValue]:
        return {
            "name": self._name,
            "order_types": [each.value for each in self._order_types],
            "capacity": self._settings.capacity,
            "state": state,
        }

    def _is_deserted(self) -> bool:
        return self._gives_way or self.rail.feed.unwatched_seconds > self._settings.absence


async def _pause(shutdown: Shutdown, seconds: float) -> None:
    """Wait, but not beyond the wish to stop."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await shutdown.requested.wait()


class Stations:
    """The stations that people have opened here; each closes some time after its last screen."""

    def __init__(
        self,
        settings: KitchenDisplaySettings,
        *,
        make_rail: MakeRail,
        make_worker: MakeWorker,
        shutdown: Shutdown,
    ) -> None:
        self._settings = settings
        self._make_rail = make_rail
        self._make_worker = make_worker
        self._shutdown = shutdown
        self._open: dict[str, Station] = {}
        self._tasks = asyncio.TaskGroup()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Let stations be opened for as long as the block lasts; at its end, wait for the last."""
        async with self._tasks:
            yield

    def open(self, name: str, order_types: Sequence[OrderType]) -> None:
        """Open a station, unless it is open.

        It stays open for the order types with which it was opened first. Where as many are open as
        are allowed, the one that has had no screen for longest closes. Raises `TooManyStations`
        when none may.
        """
        if name in self._open:
            return
        if len(self._open) >= self._settings.stations:
            self._make_room()
        station = Station(name, order_types, self._settings, self._make_rail, self._make_worker)
        self._open[name] = station
        running = self._tasks.create_task(station.run(self._shutdown))
        running.add_done_callback(lambda _: self._forget(name, station))

    def rail(self, name: str) -> Rail | None:
        """Return the rail of a station, `None` when it is not open here."""
        station = self._open.get(name)
        return None if station is None else station.rail

    def _make_room(self) -> None:
        deserted = [name for name, station in self._open.items() if station.may_give_way]
        if not deserted:
            raise TooManyStations(self._settings.stations)
        longest = max(deserted, key=lambda name: self._open[name].rail.feed.unwatched_seconds)
        self._open.pop(longest).give_way()

    def _forget(self, name: str, station: Station) -> None:
        if self._open.get(name) is station:
            del self._open[name]

    def wake(self, name: str) -> None:
        """Have a station show at once what has changed, if it is open here."""
        if name in self._open:
            self._open[name].rail.wake()
