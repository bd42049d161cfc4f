"""Log the warnings of the kitchen: once when one begins, and once when it ends."""

import asyncio

from restaurant_system.database import kitchen_state, warning_log
from restaurant_system.database.connection import Database
from restaurant_system.errors import BrokerUnavailable
from restaurant_system.logger import get_logger
from restaurant_system.messaging.broker import Broker
from restaurant_system.messaging.kitchen_warnings import warnings_in
from restaurant_system.models.business_day import BusinessDay
from restaurant_system.models.clock import Clock, rfc_3339
from restaurant_system.models.kitchen_warning import WarningKind
from restaurant_system.services.order.periodic import log_failed_pass
from restaurant_system.services.order.service import NAME

INTERVAL = 10.0  # s between two checks
BROKER_TIMEOUT = 2.0  # s to wait for the lengths of the queues

log = get_logger(NAME)


class WarningLog:
    """Logs warnings, in one of any number of processes with the same database."""

    def __init__(
        self, database: Database, broker: Broker, *, clock: Clock, business_day: BusinessDay
    ) -> None:
        self._database = database
        self._broker = broker
        self._clock = clock
        self._business_day = business_day

    async def run(self) -> None:
        """Check at intervals until cancelled."""
        while True:
            with log_failed_pass("kitchen_warnings_failed", "The warnings could not be checked."):
                await self.check()
            await asyncio.sleep(INTERVAL)

    async def check(self) -> None:
        """Log the warnings that have begun or ended since the last check of any process.

        Nothing is logged again after a restart. While the broker is unreachable, nothing is logged
        about its queues.
        """
        depths = await self._depths()  # not within the transaction, which has a connection
        async with self._database.transaction() as tx:
            if not await warning_log.try_lock(tx):
                return
            now = self._clock()
            day_start = self._business_day.current_start(now)
            state = await kitchen_state.read(tx, day_start=day_start, now=now)
            current = warnings_in(state, depths, now)
            unknown = [WarningKind.QUEUE_NOT_CONSUMED] if depths is None else []
            begun, ended = await warning_log.replace(tx, current, unknown=unknown)
        for warning in begun:
            log.warning(
                "kitchen_warning_began",
                message=warning.message,
                kind=warning.kind,
                since=None if warning.since is None else rfc_3339(warning.since),
                count=warning.count,
                order_types=list(warning.order_types),
                queue=warning.queue,
                station=warning.station,
            )
        for each in ended:
            about = f" ({each.subject})" if each.subject else ""
            log.info(
                "kitchen_warning_ended",
                message=f"The warning {each.kind}{about} has ended.",
                kind=each.kind,
                subject=each.subject,
                began_at=rfc_3339(each.began_at),
            )

    async def _depths(self) -> dict[str, int] | None:
        try:
            async with asyncio.timeout(BROKER_TIMEOUT):
                return await self._broker.depths()
        except (BrokerUnavailable, TimeoutError):
            return None
