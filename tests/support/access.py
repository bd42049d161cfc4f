"""Users, API keys and a guarded site with the features of `up`, for tests of access control."""

import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

from argon2 import PasswordHasher
from pydantic import SecretStr

from restaurant_system.app.http_service import health_feature, metrics_feature
from restaurant_system.app.kitchen_display import stations
from restaurant_system.app.menu import current_menu, menu_feature
from restaurant_system.app.monitoring import exposer_of_service
from restaurant_system.app.order_service import order_administration, order_intake
from restaurant_system.app.pages import ALL, pages_feature
from restaurant_system.app.runtime import Runtime
from restaurant_system.app.tracking_service import tracking
from restaurant_system.config import (
    DeliverySettings,
    IntegrationSettings,
    SecuritySettings,
    Settings,
)
from restaurant_system.database.connection import Database
from restaurant_system.messaging.retry_policy import RetryPolicy
from restaurant_system.models.access import Capability
from restaurant_system.models.clock import Clock, utc_now
from restaurant_system.models.lock_out import LockOut
from restaurant_system.models.menu import NO_MENU
from restaurant_system.services.access.administration import ApiKeys, Users
from restaurant_system.services.access.administration_handler import AdministrationHandler
from restaurant_system.services.access.audit_handler import AuditHandler
from restaurant_system.services.access.device_handler import DeviceHandler
from restaurant_system.services.access.handler import SessionHandler
from restaurant_system.services.access.passwords import Passwords
from restaurant_system.services.access.pins import Pins
from restaurant_system.services.access.sign_in import LockOutRules, SignIn
from restaurant_system.services.order.menu_file import static_menu
from restaurant_system.shutdown import Shutdown
from restaurant_system.web import api
from restaurant_system.web.access_checks import AccessChecks
from restaurant_system.web.access_control import AccessControl
from restaurant_system.web.api import Site
from tests.support.services import make_broker, make_relay

PASSWORD = "correct horse"  # noqa: S105 - of users of tests
FREE_TRIES, FREE_TRIES_PER_ADDRESS = 3, 5
LONGEST_LOCK_OUT = timedelta(seconds=10)
SESSION_LIFETIME = timedelta(hours=12)
PIN = "2580"  # of users of tests
TRIES_PER_PIN, TRIES_PER_DEVICE = 3, 5
PIN_SESSION_LIFETIME = timedelta(hours=2)


def quick_passwords() -> Passwords:
    """Return passwords whose hashes take no time."""
    return Passwords(PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))


def make_users(database: Database) -> Users:
    """Return the administration of users."""
    return Users(database, quick_passwords())


def make_keys(database: Database) -> ApiKeys:
    """Return the administration of API keys."""
    return ApiKeys(database)


def make_sign_in(
    database: Database, *, clock: Clock = utc_now, passwords: Passwords | None = None
) -> SignIn:
    """Return what signs people in, with a lock-out after few tries."""
    return SignIn(
        database,
        passwords or quick_passwords(),
        clock=clock,
        session_lifetime=SESSION_LIFETIME,
        rules=LockOutRules(
            account=LockOut(FREE_TRIES, LONGEST_LOCK_OUT),
            address=LockOut(FREE_TRIES_PER_ADDRESS, LONGEST_LOCK_OUT),
        ),
    )


def make_pins(database: Database, *, clock: Clock = utc_now) -> Pins:
    """Return what signs people in with PINs, and refuses them after few tries."""
    return Pins(
        database,
        quick_passwords(),
        clock=clock,
        session_lifetime=PIN_SESSION_LIFETIME,
        tries=TRIES_PER_PIN,
        tries_per_device=TRIES_PER_DEVICE,
    )


@contextlib.asynccontextmanager
async def guarded_site(
    database: Database,
    *,
    sign_in: SignIn | None = None,
    pins: Pins | None = None,
    public: frozenset[Capability] = frozenset(),
    is_open: bool = False,
) -> AsyncIterator[Site]:
    """Build a site with all features of `up` under access control, unless it is open."""
    deliverect = IntegrationSettings(secret=(SecretStr("secret-of-the-platform"),))
    settings = Settings(
        data_dir=Path(), delivery=DeliverySettings(), integrations={"deliverect": deliverect}
    )
    runtime = Runtime(
        "test",
        settings,
        database,
        make_broker(database),
        RetryPolicy(settings.delivery),
        Shutdown(),
    )
    relay = make_relay(database)
    people, pin_sign_in = sign_in or make_sign_in(database), pins or make_pins(database)
    async with (
        current_menu(runtime, static_menu(NO_MENU)) as current,
        order_intake(runtime, relay) as intake,
        tracking(runtime, database) as questions,
        stations(runtime, relay) as display,
        exposer_of_service(runtime) as exposer,
    ):
        features = [
            *intake,
            menu_feature(database, current, may_be_alone=True),
            *questions,
            *display,
            health_feature(runtime, database),
            metrics_feature(runtime, exposer),
            pages_feature(settings, ALL),
            *order_administration(runtime),
            SessionHandler(people).feature(),
            DeviceHandler(database, quick_passwords(), people, pin_sign_in).feature(),
            AdministrationHandler(database, quick_passwords()).feature(),
            AuditHandler(database).feature(),
        ]
        control = None if is_open else AccessControl(people.identify, public=public)
        trusted = SecuritySettings.model_validate({"trusted_proxies": ["127.0.0.1"]})
        yield api.build("Test", features, AccessChecks(security=trusted, control=control))
        runtime.shutdown.request_stop()
