"""Compose the order service."""

import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import timedelta

from restaurant_system.app import http_service
from restaurant_system.app.access import PAGES as ACCESS_PAGES
from restaurant_system.app.access import access
from restaurant_system.app.monitoring import exposer_of_service
from restaurant_system.app.runtime import (
    Runtime,
    background_task,
    open_runtime,
    running_relay,
    signer,
)
from restaurant_system.config import Settings
from restaurant_system.messaging.relay import Relay
from restaurant_system.models.access import Capability
from restaurant_system.models.clock import utc_now
from restaurant_system.models.menu import NO_MENU, Menu
from restaurant_system.services.order.cleanup import (
    delete_expired_keys,
    erase_personal_data,
    remove_unused_workers,
)
from restaurant_system.services.order.dead_letter_handler import DeadLetterHandler
from restaurant_system.services.order.dead_letter_requests import DeadLetterRequests
from restaurant_system.services.order.handler import OrderHandler
from restaurant_system.services.order.menu_file import MenuFile, static_menu
from restaurant_system.services.order.menu_handler import MenuHandler
from restaurant_system.services.order.privacy import PersonalData
from restaurant_system.services.order.privacy_handler import PrivacyHandler
from restaurant_system.services.order.reconciliation import Reconciliation
from restaurant_system.services.order.service import OrderService
from restaurant_system.shutdown import Shutdown
from restaurant_system.web import api
from restaurant_system.web.api import Feature, Site
from restaurant_system.web.pages import PageRoute
from restaurant_system.web.server import Service

PAGES: Mapping[str, PageRoute] = {"/": ("counter", Capability.READ_ORDERS)}


def order_service(settings: Settings) -> Service:
    """Prepare the service that takes orders; raises `ConfigurationError` if its menu is invalid."""
    menu = menu_feature(settings, otherwise=NO_MENU)
    pages = http_service.pages_feature(settings, {**PAGES, **ACCESS_PAGES})

    @contextlib.asynccontextmanager
    async def run(shutdown: Shutdown) -> AsyncIterator[Site]:
        async with (
            open_runtime(settings, "order-service", shutdown) as runtime,
            access(runtime, settings.order_service.host) as rules,
            running_relay(runtime, runtime.broker) as relay,
            order_intake(runtime, relay) as intake,
            exposer_of_service(runtime) as exposer,
        ):
            metrics = http_service.metrics_feature(runtime, exposer)
            health = http_service.health_feature(runtime, runtime.database)
            runtime.report_started()
            checks = http_service.access_checks(settings, settings.order_service, rules.control)
            administration = order_administration(runtime)
            parts = [intake, menu, health, metrics, pages, *administration, *rules.features]
            yield api.build("Order service", parts, checks)

    return run


def menu_feature(settings: Settings, otherwise: Menu) -> Feature:
    """Return the route of the configured menu, or of `otherwise` if none is configured.

    Raises `ConfigurationError` when the menu is invalid.
    """
    file = settings.order_service.menu
    offer = static_menu(otherwise) if file is None else MenuFile(file).current_menu
    return MenuHandler(offer).feature()


def order_administration(runtime: Runtime) -> Sequence[Feature]:
    """Return the routes by which managers work on dead letters and personal data."""
    database, broker = runtime.database, runtime.broker
    requests = DeadLetterRequests(broker)
    return [
        DeadLetterHandler(database, broker, signer(runtime.settings), requests).feature(),
        PrivacyHandler(database, broker, requests).feature(),
    ]


@contextlib.asynccontextmanager
async def order_intake(runtime: Runtime, relay: Relay) -> AsyncIterator[Feature]:
    """Accept orders and run the order service's periodic tasks for the duration of the block.

    These delete expired idempotency keys and unused workers, erase old personal data, and publish
    lost messages again.
    """
    key_lifetime = timedelta(hours=runtime.settings.idempotency_hours)
    service = OrderService(
        runtime.database,
        relay,
        clock=utc_now,
        timezone=runtime.settings.timezone,
        key_lifetime=key_lifetime,
        public_url=runtime.settings.tracking_service.public_url or "",
    )
    personal_data = PersonalData(runtime.database, runtime.broker, clock=utc_now)
    async with (
        background_task(delete_expired_keys(runtime.database, key_lifetime)),
        background_task(remove_unused_workers(runtime.database, runtime.settings.kitchen)),
        background_task(erase_personal_data(personal_data, runtime.settings.privacy.retention)),
        _reconciliation(runtime, relay),
    ):
        yield OrderHandler(service, runtime.settings.order_service.max_concurrent).feature()


@contextlib.asynccontextmanager
async def _reconciliation(runtime: Runtime, relay: Relay) -> AsyncIterator[None]:
    settings = runtime.settings.reconciliation
    if not settings.enabled:
        yield
        return
    check = Reconciliation(runtime.database, runtime.broker, relay, settings, clock=utc_now)
    async with background_task(check.run()):
        yield
