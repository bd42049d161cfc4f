"""The registration of one worker in the `workers` table, kept alive by heartbeats."""

import asyncio
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from uuid import UUID

import stamina

from restaurant_system.database import workers
from restaurant_system.database.connection import Database
from restaurant_system.errors import DatabaseUnavailable, WorkerNameTaken
from restaurant_system.logger import get_logger
from restaurant_system.models.order import OrderType
from restaurant_system.worker.retries import retry_while_unavailable

# s without a connection to the broker after which a worker without a started order is offline
OFFLINE_AFTER = 5.0
AVAILABILITY_CHECK_INTERVAL = 1.0  # s

log = get_logger("kitchen-worker")


class Registration:
    """Keep the name of one worker registered by a lease that each heartbeat extends.

    `capacity` is how many orders the worker cooks at a time, `is_station` tells whether people do.
    `is_available` tells whether it is connected to the broker or has started an order. A worker
    that was not available for `OFFLINE_AFTER` seconds is marked offline, because completion times
    are estimated from the workers that are online. It is online again once it is available.
    """

    def __init__(
        self,
        database: Database,
        *,
        name: str,
        order_types: Sequence[OrderType],
        heartbeat_interval: float,
        session: UUID,
        capacity: int,
        is_station: bool,
        is_available: Callable[[], bool],
    ) -> None:
        self._database = database
        self._name = name
        self._order_types = order_types
        self._heartbeat_interval = heartbeat_interval
        self._session = session
        self._capacity = capacity
        self._is_station = is_station
        self._is_available = is_available
        self._available_at = 0.0

    async def register(self) -> None:
        """Mark the worker online under its name, once the database is available.

        Raises `WorkerNameTaken` when another worker of this name is online.
        """
        if not await retry_while_unavailable(self._mark_online):
            log.error(
                "worker_registration_failed", message=f"A worker named {self._name} is online."
            )
            raise WorkerNameTaken(
                f"A worker named {self._name} is online; stop it, or choose another --worker-name."
                " (The name of a killed worker becomes free after two missed heartbeats.)"
            )
        log.info(
            "worker_registered",
            message=f"Worker {self._name} registered ({', '.join(self._order_types)}).",
            worker_name=self._name,
        )

    async def _mark_online(self) -> bool:
        async with self._database.connection() as connection:
            return await workers.register(
                connection,
                self._name,
                self._order_types,
                timedelta(seconds=self._heartbeat_interval),
                self._session,
                capacity=self._capacity,
                is_station=self._is_station,
            )

    async def deregister(self) -> None:
        """Mark the worker offline; while the database is unavailable, leave that to the lease."""
        try:
            async with self._database.connection() as connection:
                await workers.deregister(connection, self._name, self._session)
        except DatabaseUnavailable:
            log.warning(
                "db_connection_failed",
                message=f"Worker {self._name} not marked offline: its lease will expire.",
            )

    async def send_heartbeats(self) -> None:
        """Send a heartbeat at each interval while the worker is available, until cancelled.

        Raises `WorkerNameTaken` when another process has taken over the name.
        """
        self._available_at = time.monotonic()
        while True:
            await self._wait_for_next_heartbeat(is_online=self._is_online())
            if self._is_online():
                await self._send_heartbeat()
            else:
                await self.deregister()

    async def _wait_for_next_heartbeat(self, *, is_online: bool) -> None:
        """Wait for the heartbeat interval, or until the worker's availability has changed."""
        due = time.monotonic() + self._heartbeat_interval
        while self._is_online() == is_online and (left := due - time.monotonic()) > 0:  # noqa: ASYNC110 - availability depends on time alone
            await asyncio.sleep(min(left, AVAILABILITY_CHECK_INTERVAL))

    def _is_online(self) -> bool:
        if self._is_available():
            self._available_at = time.monotonic()
        return time.monotonic() - self._available_at <= OFFLINE_AFTER

    async def _send_heartbeat(self) -> None:
        async for attempt in stamina.retry_context(
            on=DatabaseUnavailable,
            attempts=None,
            timeout=None,
            wait_max=self._heartbeat_interval / 4,
        ):
            with attempt:
                await self._extend_lease()
        log.debug("heartbeat_sent", message=f"Heartbeat of worker {self._name} sent.")

    async def _extend_lease(self) -> None:
        async with self._database.connection() as connection:
            is_ours = await workers.heartbeat(
                connection, self._name, self._session
            ) or await workers.reinsert(
                connection,
                self._name,
                self._order_types,
                timedelta(seconds=self._heartbeat_interval),
                self._session,
                capacity=self._capacity,
                is_station=self._is_station,
            )
        if not is_ours:
            raise WorkerNameTaken(
                f"Another process took over the name {self._name} while this one sent no heartbeat;"
                " start this one again under another --worker-name."
            )
