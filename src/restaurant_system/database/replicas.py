"""Read from streaming replicas while they are close enough to the primary, else from the primary.

Every half second, the position of each replica in the write-ahead log is compared with those that
the primary has had. The freshest replica is read, unless it is more than `max_lag` seconds behind.
It is kept while no other is much fresher, so that what is read does not go back and forth in time.

While the primary is unavailable, the lag is that at its last position: nothing newer is known.
"""

import asyncio
import contextlib
import functools
import random
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from restaurant_system.database.connection import Connection, Database, PoolUsage
from restaurant_system.database.connection_factory import AnyConnection
from restaurant_system.database.health_monitor import ends_within
from restaurant_system.database.reader import Query
from restaurant_system.database.replication_lag import PrimaryPositions
from restaurant_system.errors import DatabaseRefuses, DatabaseUnavailable
from restaurant_system.logger import get_logger

log = get_logger()

T = TypeVar("T")

MEASURE_INTERVAL = 0.5  # s
MEASURE_TIMEOUT = 1.0  # s for a server to answer a measurement; then it is left out
SWITCH_MARGIN = 1.0  # s by which another replica must be fresher to be read instead

# The time of its start identifies a server: a replica that was promoted is the primary or not.
STATE = """
SELECT pg_is_in_recovery() AS is_replica, pg_postmaster_start_time()::text AS server,
       extract(epoch FROM now() - pg_last_xact_replay_timestamp())::float8 AS replayed_age,
       (CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn()
             ELSE pg_current_wal_flush_lsn() END - '0/0'::pg_lsn)::bigint AS position
"""


@dataclass(frozen=True, slots=True)
class ServerState:
    """Which server it is, how far its log is written or replayed, and whether it is a replica.

    `replayed_age` is the time in seconds since the commit of the last replayed transaction.
    """

    requested_at: float
    server: str
    position: int | None
    is_replica: bool
    replayed_age: float | None


@dataclass(slots=True, eq=False)
class Replica:
    """A replica with its pool for reading.

    `lag` is in seconds, `None` if unknown. `reason` says why the replica is left out, `None` if it
    may be read. `foreign_to` is the primary, by the time of its start, from which it has not got
    all that it has replayed.
    """

    name: str
    database: Database
    lag: float | None = None
    reason: str | None = "its lag is not measured yet"
    measurements: int = 0
    was_logged_as_usable: bool | None = None
    state: ServerState | None = None
    measured_at: float = 0.0
    foreign_to: str | None = None


class Replicas:
    """Reads from the best of several replicas, and from the primary if there is none.

    `primary` is a pool for reading only. `run` measures the replicas and keeps their pools open.
    """

    def __init__(
        self, primary: Database, replicas: Mapping[str, Database], *, max_lag: float
    ) -> None:
        self._primary = primary
        self._replicas = [Replica(name, database) for name, database in replicas.items()]
        self._max_lag = max_lag
        self._positions = PrimaryPositions()
        self._primary_server: str | None = None  # `None` while it is unavailable
        self._selected: Replica | None = None

    @property
    def staleness(self) -> float:
        """For how many seconds what was committed may be missing in what is read."""
        return self._max_lag + MEASURE_INTERVAL + MEASURE_TIMEOUT

    @property
    def primary(self) -> Database:
        """The primary, where nothing is missing."""
        return self._primary

    @property
    def replicas(self) -> Sequence[Replica]:
        """All replicas, in the order of the configuration."""
        return self._replicas

    @property
    def selected(self) -> Replica | None:
        """The replica that is read; `None` while the primary is."""
        return self._selected

    async def run(self) -> None:
        """Connect to the replicas, and measure them at intervals, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(_poll(self._primary, self._update_primary))
            for replica in self._replicas:
                group.create_task(replica.database.monitor())
                judge = functools.partial(self._update, replica)
                group.create_task(_poll(replica.database, judge))

    async def close(self) -> None:
        """Close the pools on the replicas."""
        for replica in self._replicas:
            await replica.database.close()

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """Acquire a connection to the replica that is read, or else to the primary."""
        async with contextlib.AsyncExitStack() as stack:
            yield await self._acquire(stack)

    async def read(self, query: Query[T]) -> T:
        """Return the result of a query at the replica that is read, or else at the primary."""
        if self._selected is not None:
            with contextlib.suppress(DatabaseUnavailable):
                return await self._selected.database.read(query)
        return await self._primary.read(query)

    async def find(self, query: Query[T], suffices: Callable[[T], bool] = bool) -> T:
        """Return the result of a query; from the primary if that of a replica does not suffice.

        While the primary is unavailable, the result of a replica is returned, unless it is empty.
        """
        if self._selected is None:
            return await self._primary.read(query)
        found = await self.read(query)
        if suffices(found):
            return found
        try:
            return await self._primary.read(query)
        except DatabaseUnavailable:
            if not found:
                raise
            return found

    async def ping(self) -> float:
        """Return the time that the server which is read took to answer, in milliseconds."""
        if self._selected is not None:
            with contextlib.suppress(DatabaseUnavailable):
                return await self._selected.database.ping()
        return await self._primary.ping()

    @property
    def refused_connections(self) -> DatabaseRefuses | None:
        """The reason why the primary refuses new connections; `None` while it accepts them."""
        return self._primary.refused_connections

    def pool_usage(self) -> PoolUsage:
        """Count the connections of the pool that is read, and the callers that wait for one."""
        return (self._selected.database if self._selected else self._primary).pool_usage()

    def _update_primary(self, state: ServerState | str) -> None:
        if isinstance(state, str) or state.is_replica or state.position is None:
            self._primary_server = None
        else:
            self._primary_server = state.server
            self._positions.add(state.requested_at, state.position)

    def _update(self, replica: Replica, state: ServerState | str) -> None:
        """Set the lag of a replica, and why it is left out; choose which one is read."""
        self._compare_histories(replica, state)
        replica.lag, replica.reason = self._judge(state)
        if replica.foreign_to is not None and replica.foreign_to == self._primary_server:
            replica.reason = "it has replayed what the primary does not have"
        replica.measurements += 1
        is_usable = replica.reason is None
        # At the first measurement the pool may not be open yet, which is no reason for a warning.
        if is_usable or replica.measurements > 1:
            if is_usable is not replica.was_logged_as_usable:
                _log(replica)
            replica.was_logged_as_usable = is_usable
        self._choose()

    def _compare_histories(self, replica: Replica, state: ServerState | str) -> None:
        """Find out whether a replica has replayed more than the primary has written.

        After a failover it may be a replica of the earlier primary. It then lacks what the primary
        has written since, and would seem to be the freshest one until the primary has written as
        much.
        """
        before, now = replica.state, None if isinstance(state, str) else state
        if before is not None and now is not None and before.server != now.server:
            replica.foreign_to = None  # it has been restarted, and perhaps made anew
        elif (
            before is not None
            and before.is_replica
            and before.position is not None
            and self._positions.is_below(before.position, since=replica.measured_at)
        ):
            replica.foreign_to = self._primary_server
        replica.state, replica.measured_at = now or before, time.monotonic()

    def _judge(self, state: ServerState | str) -> tuple[float | None, str | None]:
        """Return the lag of a replica, and why it is left out.

        A replica that was promoted is the new primary, unless there is another one.
        """
        if isinstance(state, str):
            return None, state
        if not state.is_replica:
            if self._primary_server in {None, state.server}:
                return 0.0, None
            return None, "it takes writes, but is not the primary"
        lag = None if state.position is None else self._positions.lag(state.position)
        if lag is None:  # behind since before this process has measured it: at most so far
            lag = state.replayed_age
        if lag is None:
            return None, "its lag is unknown"
        return lag, f"it is {lag:.1f} s behind" if lag > self._max_lag else None

    def _choose(self) -> None:
        lags = {
            replica: replica.lag
            for replica in self._replicas
            if replica.reason is None and replica.lag is not None
        }
        limit = min(lags.values(), default=0.0) + SWITCH_MARGIN
        best = [replica for replica, lag in lags.items() if lag <= limit]
        if self._selected in best:
            return
        before = self._selected
        # Processes that start together use different ones.
        self._selected = random.choice(best) if best else None  # noqa: S311
        if self._selected is not before:
            name = f"the replica {self._selected.name}" if self._selected else "the primary"
            log.info("db_server_selected", message=f"Reading from {name}.")

    async def _acquire(self, stack: contextlib.AsyncExitStack) -> Connection:
        if self._selected is not None:
            with contextlib.suppress(DatabaseUnavailable):
                return await stack.enter_async_context(self._selected.database.connection())
        return await stack.enter_async_context(self._primary.connection())


def _log(replica: Replica) -> None:
    if replica.reason is None:
        message = f"The replica {replica.name} may be read; it is {replica.lag:.1f} s behind."
        log.info("db_replica_usable", message=message)
    else:
        message = f"The replica {replica.name} is left out: {replica.reason}."
        log.warning("db_replica_left_out", message=message)


async def _poll(database: Database, update: Callable[[ServerState | str], None]) -> None:
    """Read the state of a server at intervals, until cancelled; or why it does not tell.

    A query that takes too long is reported, and waited for: the pool's monitor ends it.
    """
    while True:
        reading = asyncio.create_task(_read_state(database))
        try:
            if not await ends_within(reading, MEASURE_TIMEOUT):
                update("it does not answer")
                await asyncio.wait({reading})
            update(reading.result())
        finally:
            reading.cancel()
        await asyncio.sleep(MEASURE_INTERVAL)


async def _read_state(database: Database) -> ServerState | str:
    try:
        async with database.connection() as connection:
            state = await server_state(connection)
        await database.ping()  # raises while the server refuses other statements
    except DatabaseUnavailable as error:
        return str(error).rstrip(".")
    return state


async def server_state(connection: AnyConnection) -> ServerState:
    """Return the state of a server, a replica or not."""
    requested_at = time.monotonic()
    (row,) = await connection.fetch(STATE)
    return ServerState(requested_at, **row)
