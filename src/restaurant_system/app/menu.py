"""Compose the menu, which the order service and the kitchen display serve."""

import contextlib
from collections.abc import AsyncIterator

from restaurant_system.app.runtime import Runtime, background_task
from restaurant_system.config import Settings
from restaurant_system.database.connection import Database
from restaurant_system.models.clock import utc_now
from restaurant_system.models.currency import Currency
from restaurant_system.models.menu import Menu
from restaurant_system.services.order.availability import Availability
from restaurant_system.services.order.current_menu import POLL_INTERVAL, CurrentMenu
from restaurant_system.services.order.menu_file import MenuFile, MenuSource, static_menu
from restaurant_system.services.order.menu_handler import MenuHandler
from restaurant_system.web.api import Feature

POLL_DURATION = 0.25  # s that a process may take to read the limits


def menu_source(settings: Settings, otherwise: Menu) -> MenuSource:
    """Return the source of the configured menu, or of `otherwise` if none is configured.

    Raises `ConfigurationError` when the menu is invalid.
    """
    file = settings.order_service.menu
    currency = Currency(settings.currency)
    return static_menu(otherwise) if file is None else MenuFile(file, currency).current_menu


@contextlib.asynccontextmanager
async def current_menu(runtime: Runtime, source: MenuSource) -> AsyncIterator[CurrentMenu]:
    """Follow the menu and what is sold out on it for the duration of the block."""
    settings = runtime.settings
    current = CurrentMenu(
        runtime.database,
        source,
        clock=utc_now,
        business_day=settings.business_day,
        currency=Currency(settings.currency),
    )
    await current.refresh()
    async with background_task(current.run()):
        yield current


def menu_feature(
    database: Database, current: CurrentMenu, *, may_be_alone: bool = False
) -> Feature:
    """Return the routes of the menu; changes wait for other processes, unless there are none."""
    availability = Availability(
        database, current, known_after=POLL_INTERVAL + POLL_DURATION, may_be_alone=may_be_alone
    )
    return MenuHandler(current, availability).feature()
