"""Stations: workers operated by people, open for as long as a screen shows them."""

import asyncio
import contextlib
import contextvars
import time
from collections.abc import AsyncIterator, Callable, Sequence

from pydantic import JsonValue

from restaurant_system.config import KitchenDisplaySettings
from restaurant_system.errors import (
    DatabaseUnavailable,
    TooManyDeadLetters,
    TooManyStations,
    WorkerNameTaken,
    primary_error,
)
from restaurant_system.logger import get_logger, reason
from restaurant_system.models.order import OrderType
from restaurant_system.models.worker import MISSED_HEARTBEATS
from restaurant_system.services.display.rail import Rail
from restaurant_system.services.display.taps import NAME
from restaurant_system.shutdown import Shutdown
from restaurant_system.worker.lifecycle import KitchenWorker

STATE_CHECK_INTERVAL = 0.5  # s
CUT_OFF_AFTER = 2.0  # s without a connection to the broker after which screens show that
REPLACEABLE_AFTER = 10.0  # s without a screen after which a station may be closed for another one
OPENING_WAIT = 1.0  # s for which a live view waits until its station is opened
RETRY_DELAY = 1.0  # s until the next attempt to register
NAME_TAKEN_RETRY_DELAY = 3.0  # s, likewise, when the name belongs to another process
MAX_RETRY_DELAY = 10.0  # s, likewise, while attempts fail
STABLE_AFTER = 10.0  # s that a worker must run to reset the delay
# Errors that no other attempt mends: faults of the program, and messages that fail one after the
# other, which every station would dead-letter.
FATAL_ERRORS = (AssertionError, AttributeError, NameError, TypeError, TooManyDeadLetters)

log = get_logger(NAME)

MakeRail = Callable[[str], Rail]
MakeWorker = Callable[[str, Sequence[OrderType], Rail], KitchenWorker]


class Station:
    """Run a worker under the station's name, and show its tickets on a rail."""

    def __init__(
        self,
        name: str,
        order_types: Sequence[OrderType],
        settings: KitchenDisplaySettings,
        make_rail: MakeRail,
        make_worker: MakeWorker,
    ) -> None:
        self.rail = make_rail(name)
        self.client: str | None = None  # that opened the station, if a limit applies to it
        self.order_types = order_types
        self._name = name
        self._settings = settings
        self._make_worker = make_worker
        self._refused_since: float | None = None
        self._must_close = False

    @property
    def is_replaceable(self) -> bool:
        """Return whether the station can be closed: no screen for a while, no started ticket."""
        return self.rail.feed.unwatched_seconds > REPLACEABLE_AFTER and not self.rail.is_busy

    def close(self) -> None:
        """Close the station, as if no screen had shown it for `station_timeout` seconds."""
        self._must_close = True

    async def run(self, shutdown: Shutdown) -> None:
        """Run the worker until a stop is requested or no screen has shown the station for a while.

        While another worker has the name, registering is retried: after a crash of this process the
        name is free once its lease has expired. After an unexpected error the worker is restarted,
        so that the other stations go on. The delay grows while attempts fail.

        Raises an exception group with the `FATAL_ERRORS`.
        """
        failures = 0  # in a row
        while not (shutdown.requested.is_set() or self._is_closing()):
            started = time.monotonic()
            try:
                await self._run_worker(shutdown)
                failures = 0
            except* WorkerNameTaken:
                failures = 0
                self._show_refused()
            except* FATAL_ERRORS:
                raise
            except* Exception as errors:  # noqa: BLE001 - logged
                is_stable = time.monotonic() - started >= STABLE_AFTER
                failures = 1 if is_stable else failures + 1
                self._log_failure(primary_error(errors), self._retry_delay(failures))
            await _sleep(shutdown, self._retry_delay(failures))
        self.rail.feed.close()

    def _log_failure(self, error: BaseException, delay: float) -> None:
        if isinstance(error, DatabaseUnavailable):
            text = f"{reason(error)}; retrying in {delay:.1f} s."
            log.warning("db_connection_failed", message=text)
        else:
            log.error(
                "station_failed",
                message=f"Station {self._name} failed; restarting it in {delay:.1f} s.",
                exc_info=error,
            )

    def _retry_delay(self, failures: int) -> float:
        """Return the seconds until the next attempt, after this many failures in a row."""
        if failures:
            return min(RETRY_DELAY * 2.0 ** min(failures - 1, 10), MAX_RETRY_DELAY)
        return RETRY_DELAY if self._may_be_own_lease() else NAME_TAKEN_RETRY_DELAY

    async def _run_worker(self, shutdown: Shutdown) -> None:
        stop = Shutdown()
        worker = self._make_worker(self._name, self.order_types, self.rail)
        async with asyncio.TaskGroup() as group:
            updating = group.create_task(self._update_state(worker, shutdown, stop))
            await worker.run(stop)
            updating.cancel()

    async def _update_state(
        self, worker: KitchenWorker, shutdown: Shutdown, stop: Shutdown
    ) -> None:
        """Show the station's state on its screens; stop its worker when the station closes."""
        connected_at = time.monotonic()
        while not (shutdown.requested.is_set() or self._is_closing()):
            now = time.monotonic()
            connected_at = now if worker.is_consuming else connected_at
            is_cut_off = now - connected_at > CUT_OFF_AFTER
            self.rail.show_station(self._entry("cut_off" if is_cut_off else "open"))
            await _sleep(shutdown, STATE_CHECK_INTERVAL)
            self._refused_since = None  # registered: a name that is taken is refused sooner
        stop.request_stop()

    def _show_refused(self) -> None:
        """Show that the station's name is taken, unless it may still be leased to this station."""
        self._refused_since = self._refused_since or time.monotonic()
        if not self._may_be_own_lease():
            self.rail.feed.update({"station": self._entry("refused")})

    def _may_be_own_lease(self) -> bool:
        """Tell whether the lease of the name may be this station's, from before a crash."""
        lease = MISSED_HEARTBEATS * self._settings.heartbeat_interval
        return self._refused_since is None or time.monotonic() - self._refused_since <= lease

    def _entry(self, state: str) -> dict[str, JsonValue]:
        return {
            "name": self._name,
            "order_types": [each.value for each in self.order_types],
            "capacity": self._settings.capacity,
            "state": state,
        }

    def _is_closing(self) -> bool:
        return self._must_close or self.rail.feed.unwatched_seconds > self._settings.station_timeout


async def _sleep(shutdown: Shutdown, seconds: float) -> None:
    """Wait for some seconds, or until a stop is requested."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await shutdown.requested.wait()


class Stations:
    """The stations that are open in this process, by name."""

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
        self._opened = asyncio.Event()  # set, and replaced, when a station is opened
        self._tasks = asyncio.TaskGroup()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run opened stations as background tasks; at the end wait until all have closed."""
        async with self._tasks:
            yield

    def open(self, name: str, order_types: Sequence[OrderType], client: str | None) -> bool:
        """Open a station; return `False` if it is open already.

        An open station keeps its order types. When the allowed number is open, in all or by this
        client, the replaceable one of these that was without a screen for longest is closed. Raises
        `TooManyStations` when there is none. `client` is `None` if it has no limit of its own.
        """
        if name in self._open:
            return False
        if client is not None and self._settings.stations_per_address:
            of_client = [name for name, each in self._open.items() if each.client == client]
            self._make_room(of_client, "stations_per_address", self._settings.stations_per_address)
        self._make_room(list(self._open), "stations", self._settings.stations)
        station = Station(name, order_types, self._settings, self._make_rail, self._make_worker)
        station.client = client
        self._open[name] = station
        opened, self._opened = self._opened, asyncio.Event()
        opened.set()
        # An empty context: what a station does is not part of the request that has opened it.
        running = self._tasks.create_task(
            station.run(self._shutdown), context=contextvars.Context()
        )
        running.add_done_callback(lambda _: self._remove(name, station))
        return True

    def close(self, name: str) -> None:
        """Close a station, if it is open here."""
        if name in self._open:
            self._open.pop(name).close()

    def order_types(self) -> dict[str, Sequence[OrderType]]:
        """Return the order types of each open station, by its name."""
        return {name: each.order_types for name, each in self._open.items()}

    def rail(self, name: str) -> Rail | None:
        """Return the rail of a station, `None` when it is not open here."""
        station = self._open.get(name)
        return None if station is None else station.rail

    async def rail_once_open(self, name: str) -> Rail | None:
        """Return the rail of a station; wait for a request that opens it, `None` if there is none.

        A screen sends that request and the one for the live view at the same time.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(OPENING_WAIT):
                while name not in self._open:
                    await self._opened.wait()
        return self.rail(name)

    def refresh(self, name: str) -> None:
        """Update the tickets of a station at once, if it is open here."""
        if name in self._open:
            self._open[name].rail.refresh()

    def _make_room(self, names: Sequence[str], setting: str, most: int) -> None:
        """Close one of these open stations if as many are open as a setting allows."""
        if len(names) < most:
            return
        replaceable = [name for name in names if self._open[name].is_replaceable]
        if not replaceable:
            raise TooManyStations(setting, most)
        longest = max(replaceable, key=lambda name: self._open[name].rail.feed.unwatched_seconds)
        self._open.pop(longest).close()

    def _remove(self, name: str, station: Station) -> None:
        if self._open.get(name) is station:
            del self._open[name]
