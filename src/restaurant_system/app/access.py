"""Compose access control: who may use a service, and the commands that administer it."""

import contextlib
import ipaddress
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

from argon2 import PasswordHasher

from restaurant_system.app.actors import actor_of_command
from restaurant_system.app.runtime import (
    Runtime,
    background_task,
    migrated_database,
    retry_while_unavailable,
)
from restaurant_system.config import Settings
from restaurant_system.database import users
from restaurant_system.database.connection import Database
from restaurant_system.errors import Unguarded
from restaurant_system.models.access import Capability
from restaurant_system.models.clock import utc_now
from restaurant_system.models.lock_out import LockOut
from restaurant_system.services.access.administration import ApiKeys, Users
from restaurant_system.services.access.administration_handler import AdministrationHandler
from restaurant_system.services.access.audit_handler import AuditHandler
from restaurant_system.services.access.cleanup import delete_expired_sessions, delete_old_entries
from restaurant_system.services.access.device_handler import DeviceHandler
from restaurant_system.services.access.handler import SessionHandler
from restaurant_system.services.access.passwords import Passwords
from restaurant_system.services.access.pins import Pins
from restaurant_system.services.access.sign_in import LockOutRules, SignIn
from restaurant_system.shutdown import Shutdown
from restaurant_system.web.access_control import AccessControl
from restaurant_system.web.api import Feature


@dataclass(frozen=True, slots=True)
class Access:
    """The control of a service's callers, `None` without one, and the routes of sessions."""

    control: AccessControl | None
    features: Sequence[Feature]


def is_guarded(settings: Settings, host: str) -> bool:
    """Return whether a service that listens at a host controls access.

    By default it does unless only programs on this machine can reach it, directly or by a proxy.
    """
    security = settings.security
    if security.open is None:
        return not is_loopback(host) or bool(security.trusted_proxies)
    return not security.open


def is_loopback(host: str) -> bool:
    """Return whether only programs on this machine can connect to a host."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@contextlib.asynccontextmanager
async def access(runtime: Runtime, host: str) -> AsyncIterator[Access]:
    """Control access to a service that listens at a host, for the duration of the block.

    Raises `Unguarded` if it is to be controlled and there is neither a user nor an API key.
    """
    settings = runtime.settings.security
    passwords = Passwords(PasswordHasher())
    sign_in = SignIn(
        runtime.database,
        passwords,
        clock=utc_now,
        session_lifetime=timedelta(hours=settings.session_hours),
        rules=LockOutRules(
            account=LockOut(settings.tries_per_account, settings.longest_lock_out_time),
            address=LockOut(settings.tries_per_address, settings.longest_lock_out_time),
        ),
    )
    pins = Pins(
        runtime.database,
        passwords,
        clock=utc_now,
        session_lifetime=timedelta(hours=settings.pin_session_hours),
        tries=settings.tries_per_pin,
        tries_per_device=settings.tries_per_device,
    )
    features = [
        SessionHandler(sign_in).feature(),
        DeviceHandler(runtime.database, passwords, sign_in, pins).feature(),
        AdministrationHandler(runtime.database, passwords).feature(),
        AuditHandler(runtime.database).feature(),
    ]
    if not is_guarded(runtime.settings, host):
        yield Access(None, features)
        return
    await retry_while_unavailable(partial(_require_callers, runtime.database), runtime.settings)
    public = frozenset({Capability.PLACE_ORDERS} if settings.public_ordering else ())
    async with (
        background_task(delete_expired_sessions(runtime.database, utc_now)),
        background_task(delete_old_entries(runtime.database, settings.audit_kept_for)),
    ):
        yield Access(AccessControl(sign_in.identify, public=public), features)


async def _require_callers(database: Database) -> None:
    async with database.connection() as connection:
        if not await users.has_any(connection):
            raise Unguarded


async def add_first_manager(runtime: Runtime, host: str) -> str | None:
    """Add a manager to a guarded service without users; return the password, which is random."""
    if not is_guarded(runtime.settings, host):
        return None
    administration = Users(runtime.database, Passwords(PasswordHasher()))
    return await retry_while_unavailable(administration.add_first_manager, runtime.settings)


@contextlib.asynccontextmanager
async def user_administration(settings: Settings, shutdown: Shutdown) -> AsyncIterator[Users]:
    """Open the database to administer users; a signal interrupts the work, but not the closing."""
    async with migrated_database(settings, "users") as database:
        yield Users(database, Passwords(PasswordHasher()), by=actor_of_command())
        shutdown.stop_cancelling()


@contextlib.asynccontextmanager
async def key_administration(settings: Settings, shutdown: Shutdown) -> AsyncIterator[ApiKeys]:
    """Open the database to administer API keys; likewise."""
    async with migrated_database(settings, "api-keys") as database:
        yield ApiKeys(database, by=actor_of_command())
        shutdown.stop_cancelling()
