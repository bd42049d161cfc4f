"""Administer users, their PINs, API keys, and devices."""

import contextlib
import hashlib
from collections.abc import AsyncIterator, Mapping, Sequence

from restaurant_system.database import audit, devices, pins, sessions, users
from restaurant_system.database.connection import Connection, Database
from restaurant_system.database.devices import Device
from restaurant_system.database.users import ApiKey, User
from restaurant_system.errors import (
    ConfigurationError,
    LastManager,
    NameTaken,
    NameUnknown,
    NotSignedIn,
)
from restaurant_system.models.access import (
    Capability,
    Credential,
    CredentialKind,
    Role,
    clean_name,
    clean_password,
    clean_pin,
    new_api_key,
    new_password,
    new_token,
)
from restaurant_system.models.audit import Act, Actor, AuditAction
from restaurant_system.models.clock import Clock, utc_now
from restaurant_system.services.access.attempts import account_subject
from restaurant_system.services.access.passwords import Passwords

FIRST_MANAGER = "manager"
SERVICE = Actor(None)  # a service that starts, not a person


class _Administration:
    """Changes that are recorded, with the name of the person who makes them.

    `credential` is the one that the caller sent over HTTP; `None` for a command.
    """

    def __init__(
        self,
        database: Database,
        *,
        by: Actor = SERVICE,
        clock: Clock = utc_now,
        request_id: str | None = None,
        credential: Credential | None = None,
    ) -> None:
        self._database = database
        self._by = by
        self._clock = clock
        self._request_id = request_id
        self._credential = credential

    @contextlib.asynccontextmanager
    async def _change_of_callers(self) -> AsyncIterator[Connection]:
        """Begin a transaction that changes users or API keys, after those of others.

        Raises `NotSignedIn` if one of them has ended the caller's session or key, which processes
        accept for some time afterwards.
        """
        async with self._database.transaction() as tx:
            await users.lock(tx)
            await self._require_caller(tx)
            yield tx

    async def _require_caller(self, tx: Connection) -> None:
        """Raise `NotSignedIn` if the caller's session or key has ended meanwhile."""
        if self._credential is not None and not await sessions.is_kept(tx, self._credential):
            raise NotSignedIn

    async def _record(
        self,
        tx: Connection,
        action: AuditAction,
        target: str | None,
        details: Mapping[str, str | Sequence[str]] | None = None,
    ) -> None:
        act = Act(
            at=self._clock(),
            actor=self._by,
            action=action,
            target=target,
            request_id=self._request_id,
            details=details or {},
        )
        await audit.write(tx, [act])


class Users(_Administration):
    """Adds, lists, disables and resets users, and records who does."""

    def __init__(
        self,
        database: Database,
        passwords: Passwords,
        *,
        by: Actor = SERVICE,
        clock: Clock = utc_now,
        request_id: str | None = None,
        credential: Credential | None = None,
    ) -> None:
        super().__init__(database, by=by, clock=clock, request_id=request_id, credential=credential)
        self._passwords = passwords

    async def add(self, name: str, role: Role, password: str) -> str:
        """Add a user; return the name as it is stored. Raises `NameTaken`."""
        name, password_hash = check_name(name), await self._hash(password)
        async with self._change_of_callers() as tx:
            if not await users.add_user(tx, name, role, password_hash):
                raise NameTaken(
                    f"There is a user {name} already; choose another name, or reset that user."
                )
            await self._record(tx, AuditAction.ADD_USER, name, {"role": role})
        return name

    async def add_first_manager(self) -> str | None:
        """Add a manager if there is no user; return the new password."""
        async with self._database.connection() as connection:
            if await users.has_users(connection):
                return None
        password = new_password()
        password_hash = await self._hash(password)
        async with self._database.transaction() as tx:
            is_added = await users.add_first_user(tx, FIRST_MANAGER, Role.MANAGER, password_hash)
            if is_added:
                details = {"role": Role.MANAGER}
                await self._record(tx, AuditAction.ADD_USER, FIRST_MANAGER, details)
        return password if is_added else None

    async def list(self) -> "list[User]":
        """Return all users by name."""
        async with self._database.connection() as connection:
            return await users.list_users(connection)

    async def disable(self, name: str, *, keep_a_manager: bool = False) -> str:
        """Disable a user and end the user's sessions.

        Raises `NameUnknown`, or `LastManager` for the last manager if one is to be kept.
        """
        name = check_name(name)
        async with self._change_of_callers() as tx:
            if keep_a_manager and await users.is_last_manager(tx, name):
                raise LastManager(name)
            found = _known(await users.disable_user(tx, name), "user", name)
            await self._record(tx, AuditAction.DISABLE_USER, found)
        return found

    async def reset(self, name: str, password: str) -> str:
        """Give a user a new password and no PIN, enable the user, end sessions.

        Raises `NameUnknown`.
        """
        name, password_hash = check_name(name), await self._hash(password)
        async with self._change_of_callers() as tx:
            reset = await users.reset_user(
                tx, name, password_hash, attempts_subject=account_subject(name)
            )
            found = _known(reset, "user", name)
            await self._record(tx, AuditAction.RESET_USER, found)
        return found

    async def set_pin(self, name: str, pin: str | None) -> str:
        """Give a user a PIN, or none, and end the sessions that were opened with the old one.

        Forgets wrong PINs. Raises `NameUnknown`, and `NotSignedIn` if the caller's session or key
        has ended: a PIN that is set with it would outlast it.
        """
        name = check_name(name)
        pin_hash = None if pin is None else await self._passwords.hash(check_pin(pin))
        action = AuditAction.REMOVE_PIN if pin is None else AuditAction.SET_PIN
        async with self._database.transaction() as tx:
            found = _known(await pins.set_pin(tx, name, pin_hash), "user", name)
            # After the row is locked, so that a reset of this user has either ended the session
            # already, or removes the PIN.
            await self._require_caller(tx)
            await self._record(tx, action, found)
        return found

    async def _hash(self, password: str) -> str:
        return await self._passwords.hash(check_password(password))


class ApiKeys(_Administration):
    """Adds, lists, disables and resets API keys, and records who does."""

    async def add(self, name: str, scopes: Sequence[Capability]) -> str:
        """Add an API key with these scopes; return the key. Raises `NameTaken`."""
        name, key = check_name(name), new_api_key()
        async with self._change_of_callers() as tx:
            if not await users.add_key(tx, name, _digest(key), scopes):
                raise NameTaken(
                    f"There is an API key {name} already; choose another name, or reset that key."
                )
            await self._record(tx, AuditAction.ADD_KEY, name, {"scopes": scopes})
        return key

    async def list(self) -> "list[ApiKey]":
        """Return all API keys by name."""
        async with self._database.connection() as connection:
            return await users.list_keys(connection)

    async def disable(self, name: str) -> str:
        """Disable an API key; raises `NameUnknown`."""
        name = check_name(name)
        async with self._change_of_callers() as tx:
            found = _known(await users.disable_key(tx, name), "API key", name)
            await self._record(tx, AuditAction.DISABLE_KEY, found)
        return found

    async def reset(self, name: str) -> str:
        """Replace an API key and enable it; return the new key. Raises `NameUnknown`."""
        name, key = check_name(name), new_api_key()
        async with self._change_of_callers() as tx:
            found = _known(await users.reset_key(tx, name, _digest(key)), "API key", name)
            await self._record(tx, AuditAction.RESET_KEY, found)
        return key


class Devices(_Administration):
    """Enrols, lists and removes the devices on which people sign in with a PIN."""

    async def enrol(self, name: str, *, session: Credential, previous: Device | None) -> str:
        """Enrol a device, and end the session of the manager on it; return the device's token.

        The device takes the place of the `previous` one. Raises `NameTaken`, and `NotSignedIn` if
        the session has ended meanwhile, so that one session enrols one device.
        """
        name, token = check_name(name), new_token()
        async with self._database.transaction() as tx:
            if await sessions.delete(tx, session.digest) is None:
                raise NotSignedIn
            if previous is not None:
                await self._remove(tx, previous.id)
            if not await devices.add_device(tx, name, device_digest(token.encode()), self._clock()):
                raise NameTaken(
                    f"There is a device {name} already; choose another name, or remove it first."
                )
            await self._record(tx, AuditAction.ENROL_DEVICE, name)
            await self._record(tx, AuditAction.SIGN_OUT, None)
        return token

    async def list(self) -> "list[Device]":
        """Return all devices by name."""
        async with self._database.connection() as connection:
            return await devices.list_devices(connection)

    async def find(self, token: bytes) -> Device | None:
        """Return the device that keeps a token; `None` if it is not enrolled."""
        async with self._database.connection() as connection:
            return await devices.find_device(connection, device_digest(token))

    async def remove(self, device_id: int) -> None:
        """Remove a device, and end the sessions on it; raises `NameUnknown`."""
        async with self._database.transaction() as tx:
            if not await self._remove(tx, device_id):
                raise NameUnknown("There is no such device; it may have been removed already.")

    async def _remove(self, tx: Connection, device_id: int) -> bool:
        name = await devices.remove_device(tx, device_id)
        if name is not None:
            await self._record(tx, AuditAction.REMOVE_DEVICE, name)
        return name is not None


def check_name(name: str) -> str:
    """Return a name as it is stored; raises `ConfigurationError`."""
    try:
        return clean_name(name)
    except ValueError as error:
        raise ConfigurationError(f"The name {error}.") from None


def check_password(password: str) -> str:
    """Return a password in the form that is hashed; raises `ConfigurationError`."""
    try:
        return clean_password(password)
    except ValueError as error:
        raise ConfigurationError(f"The password {error}.") from None


def check_pin(pin: str) -> str:
    """Return a PIN in the form that is hashed; raises `ConfigurationError`."""
    try:
        return clean_pin(pin)
    except ValueError as error:
        raise ConfigurationError(f"The PIN {error}.") from None


def device_digest(token: bytes) -> bytes:
    """Return the token of a device as it is stored."""
    return hashlib.sha256(token).digest()


def _digest(key: str) -> bytes:
    return Credential.of(CredentialKind.API_KEY, key.encode()).digest


def _known(found: str | None, kind: str, name: str) -> str:
    if found is None:
        raise NameUnknown(f"There is no {kind} {name}; the list shows all.")
    return found
