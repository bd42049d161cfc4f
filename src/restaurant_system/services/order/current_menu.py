"""The menu as it can be ordered now: its file, and what people have marked as sold out."""

import asyncio
import contextlib
from datetime import datetime, timedelta

from restaurant_system.database import menu_availability
from restaurant_system.database.connection import Database
from restaurant_system.errors import Unavailable
from restaurant_system.models.access import Caller
from restaurant_system.models.business_day import BusinessDay
from restaurant_system.models.clock import Clock
from restaurant_system.models.currency import NO_CURRENCY, Currency
from restaurant_system.models.menu import NO_MENU
from restaurant_system.models.menu_check import CheckedOrder, check, rules_for
from restaurant_system.models.menu_offer import Catalogue, Offer
from restaurant_system.models.order import NewOrder
from restaurant_system.services.order.menu_file import MenuSource

POLL_INTERVAL = 1.0  # s


class CurrentMenu:
    """Keeps the offer of one process up to date, so that an order is checked without a query.

    While the database is unavailable, the limits that were read last stay in use.
    """

    def __init__(
        self,
        database: Database,
        source: MenuSource,
        *,
        clock: Clock,
        business_day: BusinessDay,
        currency: Currency = NO_CURRENCY,
    ) -> None:
        self.currency = currency
        self._database = database
        self._source = source
        self._clock = clock
        self._business_day = business_day
        self._lock = asyncio.Lock()
        self.offer = Offer(Catalogue(NO_MENU), {}, business_day.timezone)

    async def run(self) -> None:
        """Read the file and the limits at intervals, until cancelled."""
        while True:
            await self.refresh()
            await asyncio.sleep(POLL_INTERVAL)

    async def read_file(self) -> None:
        """Read the file if it has changed."""
        menu = await self._source()
        if menu is not self.offer.catalogue.menu:
            self.offer = Offer(Catalogue(menu), self.offer.limits, self._business_day.timezone)

    async def refresh(self) -> None:
        """Read the file if it has changed, and the limits if there is a menu."""
        async with self._lock:  # what was read first must not replace what was read later
            await self.read_file()
            if self.offer.catalogue.menu.sections:
                await self._read_limits()

    def check(self, order: NewOrder, caller: Caller | None) -> CheckedOrder:
        """Compare an order of a caller, or of a platform, with what is offered; needs no I/O."""
        return check(self.offer, order, self._clock(), rules_for(caller))

    def now(self) -> datetime:
        """Return the current time."""
        return self._clock()

    def next_business_day(self) -> datetime:
        """Return when the next business date starts."""
        today = self._business_day.date_of(self._clock())
        return self._business_day.start_of(today + timedelta(days=1))

    async def _read_limits(self) -> None:
        with contextlib.suppress(Unavailable):
            async with self._database.connection() as connection:
                stored = await menu_availability.limits(connection, self._clock())
            limits = {each.item: each.limit for each in stored}
            if limits != self.offer.limits:
                self.offer = Offer(self.offer.catalogue, limits, self._business_day.timezone)
