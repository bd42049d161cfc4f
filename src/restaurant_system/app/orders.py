"""Takes orders."""

import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta

from restaurant_system.app import http
from restaurant_system.config import Settings
from restaurant_system.foundation import Foundation, beside, foundation, relaying
from restaurant_system.messaging.relay import Relay
from restaurant_system.models.clock import utc_now
from restaurant_system.models.menu import NO_MENU, Menu
from restaurant_system.services.order.handler import OrderHandler
from restaurant_system.services.order.menu import MenuFile, always
from restaurant_system.services.order.menu_handler import MenuHandler
from restaurant_system.services.order.reconciliation import Reconciliation
from restaurant_system.services.order.service import OrderService
from restaurant_system.services.order.worker_removal import remove_unused_workers
from restaurant_system.shutdown import Shutdown
from restaurant_system.web import api
from restaurant_system.web.api import Feature
from restaurant_system.web.door import HandedLines

PAGES = {"/": "counter"}


async def take_orders(
    settings: Settings, shutdown: Shutdown, handed: HandedLines | None = None
) -> None:
    """Take orders over HTTP until asked to stop."""
    menu, pages = menu_of(settings, otherwise=NO_MENU), http.pages(settings, PAGES)
    async with (
        http.listening(settings.order_service, settings.http, shutdown, handed) as server,
        foundation(
            settings, "order-service", shutdown, pools=settings.order_service.processes
        ) as base,
        relaying(base, base.broker) as relay,
        order_intake(base, relay) as intake,
    ):
        health = http.health_of(base, base.database)
        site = api.build("Order service", [intake, menu, health, pages])
        base.begin()
        await server.serve(site)


def menu_of(settings: Settings, otherwise: Menu) -> Feature:
    """Return the route of the menu that the settings name; without one, of what is offered then.

    Raises `ConfigurationError`.
    """
    file = settings.order_service.menu
    offer = always(otherwise) if file is None else MenuFile(file).now
    return MenuHandler(offer).feature()


@contextlib.asynccontextmanager
async def order_intake(base: Foundation, relay: Relay) -> AsyncIterator[Feature]:
    """Accept orders for as long as the block lasts, with the periodic tasks beside it.

    These delete expired idempotency keys and unused workers, and send lost messages again.
    """
    service = OrderService(
        base.database,
        relay,
        clock=utc_now,
        timezone=base.settings.timezone,
        key_lifetime=timedelta(hours=base.settings.idempotency_hours),
    )
    async with (
        beside(service.forget_expired_keys()),
        beside(remove_unused_workers(base.database, base.settings.kitchen)),
        _reconciliation(base, relay),
    ):
        yield OrderHandler(service, base.settings.order_service.max_concurrent).feature()


@contextlib.asynccontextmanager
async def _reconciliation(base: Foundation, relay: Relay) -> AsyncIterator[None]:
    settings = base.settings.reconciliation
    if not settings.enabled:
        yield
        return
    check = Reconciliation(base.database, base.broker, relay, settings, clock=utc_now)
    async with beside(check.run()):
        yield
