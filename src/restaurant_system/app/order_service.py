"""Compose the order service."""

import contextlib
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta

from restaurant_system.app import http_service, pages
from restaurant_system.app.access import access
from restaurant_system.app.integrations import integration_feature
from restaurant_system.app.menu import current_menu, menu_feature, menu_source
from restaurant_system.app.monitoring import exposer_of_service
from restaurant_system.app.runtime import (
    Runtime,
    background_task,
    open_runtime,
    running_relay,
    signer,
)
from restaurant_system.config import Settings
from restaurant_system.database.order_months import OrderMonths
from restaurant_system.database.preparation_times import LearnedTimes
from restaurant_system.logger import get_logger
from restaurant_system.messaging.relay import Relay
from restaurant_system.models.clock import utc_now
from restaurant_system.models.currency import Currency
from restaurant_system.models.menu import NO_MENU
from restaurant_system.services.order.cleanup import (
    delete_expired_keys,
    erase_personal_data,
    keep_months,
    remove_unused_workers,
)
from restaurant_system.services.order.current_menu import CurrentMenu
from restaurant_system.services.order.dead_letter_handler import DeadLetterHandler
from restaurant_system.services.order.dead_letter_requests import DeadLetterRequests
from restaurant_system.services.order.handler import OrderHandler
from restaurant_system.services.order.privacy import PersonalData
from restaurant_system.services.order.privacy_handler import PrivacyHandler
from restaurant_system.services.order.ready_order_handler import ReadyOrderHandler
from restaurant_system.services.order.ready_orders import ReadyOrders
from restaurant_system.services.order.reconciliation import Reconciliation
from restaurant_system.services.order.release import Release
from restaurant_system.services.order.release_handler import ReleaseHandler
from restaurant_system.services.order.service import OrderService
from restaurant_system.services.order.warning_log import WarningLog
from restaurant_system.shutdown import Shutdown
from restaurant_system.web import api
from restaurant_system.web.api import Feature, Site
from restaurant_system.web.server import Service

UNSUITABLE_THRESHOLDS = (
    "kitchen.priority_thresholds has a default of 50 and 100, which most orders exceed in this"
    " currency; they have all the same priority"
)
SET_THRESHOLDS = "set kitchen.priority_thresholds to amounts of the currency, for 5 and for 10"

log = get_logger()


def order_service(settings: Settings) -> Service:
    """Prepare the service that takes orders; raises `ConfigurationError` if its menu is invalid."""
    source = menu_source(settings, otherwise=NO_MENU)
    has_menu = settings.order_service.menu is not None
    screens = pages.pages_feature(settings, pages.OF_ORDER_SERVICE)

    @contextlib.asynccontextmanager
    async def run(shutdown: Shutdown) -> AsyncIterator[Site]:
        async with (
            open_runtime(settings, "order-service", shutdown) as runtime,
            access(runtime, settings.order_service.host) as rules,
            running_relay(runtime, runtime.broker) as relay,
            current_menu(runtime, source) as current,
            order_intake(runtime, relay, current if has_menu else None) as intake,
            exposer_of_service(runtime) as exposer,
        ):
            metrics = http_service.metrics_feature(runtime, exposer)
            health = http_service.health_feature(runtime, runtime.database)
            runtime.report_started()
            checks = http_service.access_checks(settings, settings.order_service, rules.control)
            menu = menu_feature(runtime.database, current)
            administration = order_administration(runtime)
            parts = [*intake, menu, health, metrics, screens, *administration, *rules.features]
            yield api.build("Order service", parts, checks)

    return run


def order_administration(runtime: Runtime) -> Sequence[Feature]:
    """Return the routes by which managers work on dead letters and personal data."""
    database, broker = runtime.database, runtime.broker
    requests = DeadLetterRequests(broker)
    return [
        DeadLetterHandler(database, broker, signer(runtime.settings), requests).feature(),
        PrivacyHandler(database, broker, requests).feature(),
    ]


@contextlib.asynccontextmanager
async def order_intake(
    runtime: Runtime, relay: Relay, menu: CurrentMenu | None = None
) -> AsyncIterator[Sequence[Feature]]:
    """Accept orders and run the order service's periodic tasks for the duration of the block.

    Orders are compared with the menu, if there is one.

    The tasks create and delete the partitions of months, delete expired idempotency keys and unused
    workers, erase old personal data, release scheduled orders, complete those that were handed
    over, publish lost messages again, and log the warnings of the kitchen.
    """
    if runtime.settings.has_unsuitable_thresholds:
        message = f"{UNSUITABLE_THRESHOLDS}; {SET_THRESHOLDS}."
        log.warning("priority_thresholds_unsuitable", message=message)
    key_lifetime = timedelta(hours=runtime.settings.idempotency_hours)
    times = LearnedTimes(runtime.database, runtime.settings.kitchen)
    service = OrderService(
        runtime.database,
        relay,
        clock=utc_now,
        business_day=runtime.settings.business_day,
        key_lifetime=key_lifetime,
        kitchen=runtime.settings.kitchen,
        times=times,
        public_url=runtime.settings.tracking_service.public_url or "",
        menu=menu,
        thresholds=runtime.settings.kitchen.thresholds,
        platforms=runtime.settings.integrations,
    )
    release = Release(
        runtime.database,
        relay,
        clock=utc_now,
        business_day=runtime.settings.business_day,
        kitchen=runtime.settings.kitchen,
        times=times,
    )
    ready_orders = ReadyOrders(
        runtime.database,
        relay,
        clock=utc_now,
        kitchen=runtime.settings.kitchen,
        times=times,
    )
    personal_data = PersonalData(runtime.database, runtime.broker, clock=utc_now)
    warnings = WarningLog(
        runtime.database,
        runtime.broker,
        clock=utc_now,
        business_day=runtime.settings.business_day,
    )
    async with (
        background_task(warnings.run()),
        background_task(delete_expired_keys(runtime.database, key_lifetime)),
        background_task(remove_unused_workers(runtime.database, runtime.settings.kitchen)),
        background_task(erase_personal_data(personal_data, runtime.settings.privacy.retention)),
        background_task(
            keep_months(
                OrderMonths(runtime.database),
                runtime.settings.history,
                runtime.settings.business_day,
                utc_now,
            )
        ),
        background_task(release.run()),
        background_task(ready_orders.run()),
        _reconciliation(runtime, relay),
    ):
        max_concurrent = runtime.settings.order_service.max_concurrent
        currency = Currency(runtime.settings.currency)
        yield [
            OrderHandler(service, max_concurrent, currency).feature(),
            integration_feature(runtime.settings, service),
            ReleaseHandler(release).feature(),
            ReadyOrderHandler(ready_orders).feature(),
        ]


@contextlib.asynccontextmanager
async def _reconciliation(runtime: Runtime, relay: Relay) -> AsyncIterator[None]:
    settings = runtime.settings.reconciliation
    if not settings.enabled:
        yield
        return
    check = Reconciliation(
        runtime.database,
        runtime.broker,
        relay,
        settings,
        clock=utc_now,
        business_day=runtime.settings.business_day,
    )
    async with background_task(check.run()):
        yield
