"""Sign people in with a PIN on an enrolled device.

A PIN has few digits, so that a program that may try often finds it. It is accepted on an enrolled
device only, and not any more after a few wrong ones for the same person: then the person signs in
with the password, or gets a new PIN. Passwords are accepted as before.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from restaurant_system.database import audit, devices, pins, sessions, users
from restaurant_system.database.connection import Database
from restaurant_system.database.devices import Device
from restaurant_system.database.users import User
from restaurant_system.errors import DeviceNotEnrolled, PinRefused, PinWrong
from restaurant_system.logger import get_logger
from restaurant_system.models.access import (
    Caller,
    Credential,
    CredentialKind,
    clean_pin,
    new_token,
)
from restaurant_system.models.audit import Act, Actor, AuditAction
from restaurant_system.models.clock import Clock
from restaurant_system.models.lock_out import Attempts, LockOut
from restaurant_system.services.access.attempts import count_attempt, device_subject
from restaurant_system.services.access.passwords import Passwords
from restaurant_system.services.access.sign_in import SignedIn
from restaurant_system.web.file_descriptors import ThrottledLog

# How long a device waits between wrong PINs of any people. It is short, because everybody who uses
# the device waits; each PIN is protected by the number of its own failures.
LONGEST_DEVICE_DELAY = timedelta(minutes=1)
DEVICE_FAILURES_FORGOTTEN_AFTER = timedelta(minutes=10)

log = get_logger()


class Pins:
    """Signs in with PINs.

    A PIN is counted as wrong before it is verified: else parallel attempts would all be within the
    limit. A right one withdraws the count.
    """

    def __init__(
        self,
        database: Database,
        passwords: Passwords,
        *,
        clock: Clock,
        session_lifetime: timedelta,
        tries: int,
        tries_per_device: int,
    ) -> None:
        self._database = database
        self._passwords = passwords
        self._clock = clock
        self._session_lifetime = session_lifetime
        self._tries = tries
        self._device_rule = LockOut(
            tries_per_device, LONGEST_DEVICE_DELAY, DEVICE_FAILURES_FORGOTTEN_AFTER
        )
        self._locked_out = ThrottledLog(
            "sign_in_locked", "Somebody tries PINs on a device during its lock-out."
        )

    async def people(self) -> list[User]:
        """Return the people who may sign in, by name, with or without a PIN."""
        async with self._database.connection() as connection:
            found = await users.list_users(connection)
        return [each for each in found if each.disabled_at is None]

    def is_refused(self, user: User) -> bool:
        """Return whether the PIN of a person is not accepted any more."""
        return user.pin_hash is not None and user.pin_failures >= self._tries

    async def sign_in(
        self,
        device: Device | None,
        name: str,
        pin: str,
        client: str | None,
        *,
        request_id: str | None = None,
    ) -> SignedIn:
        """Open a session on a device.

        Raises `DeviceNotEnrolled`, `PinWrong`, `PinRefused` after too many wrong ones for this
        person, or `TooManyAttempts` during the lock-out of the device.
        """
        if device is None:
            raise DeviceNotEnrolled
        attempt = _Attempt(device, client, request_id)
        async with self._database.connection() as connection:
            user = await users.find_user(connection, name)
        known = user if user is not None and user.disabled_at is None else None
        if known is not None and self.is_refused(known):
            raise PinRefused
        limits = [(attempt.subject, self._device_rule)]
        counted = await count_attempt(
            self._database, limits, self._clock(), self._locked_out, secrets="PINs"
        )
        pin_hash = None if known is None else known.pin_hash
        if known is not None and pin_hash is not None:
            async with self._database.connection() as connection:
                if not await pins.count_pin_try(connection, known.id, limit=self._tries):
                    raise PinRefused
        is_right = await self._passwords.verify(pin_hash, _cleaned(pin))
        signed_in = None
        if known is not None and pin_hash is not None and is_right:
            signed_in = await self._open_session(known, pin_hash, attempt, counted)
        if signed_in is None:
            log.info("sign_in_failed", message="Somebody tried to sign in with a wrong PIN.")
            await self._record_failure(user, attempt)
            raise PinWrong
        log.info("signed_in", message=f"A person signed in with a PIN as {signed_in.caller.role}.")
        return signed_in

    async def _open_session(
        self, user: User, pin_hash: str, attempt: "_Attempt", counted: Attempts
    ) -> SignedIn | None:
        """Open a session for a user; return `None` if the PIN was changed meanwhile.

        Raises `DeviceNotEnrolled` if the device was removed meanwhile.
        """
        token, now = new_token(), self._clock()
        digest = Credential.of(CredentialKind.SESSION, token.encode()).digest
        device = attempt.device
        async with self._database.transaction() as tx:
            if not await pins.accept_pin(tx, user.id, pin_hash):
                return None
            if not await devices.use_device(tx, device.id, now):
                raise DeviceNotEnrolled
            await sessions.withdraw_failure(tx, attempt.subject, counted, now)
            await sessions.add(
                tx,
                digest,
                user.id,
                created_at=now,
                expires_at=now + self._session_lifetime,
                device_id=device.id,
            )
            actor = Actor(user.name, user.role, attempt.client)
            await audit.write(tx, [attempt.act(now, actor, AuditAction.SIGN_IN)])
        caller = Caller.person(user.name, user.role, device.name)
        return SignedIn(caller, token, self._session_lifetime)

    async def _record_failure(self, user: User | None, attempt: "_Attempt") -> None:
        """Record a wrong PIN; a name that no user has is left out, it may be a PIN."""
        actor = Actor(None, None, attempt.client)
        target = None if user is None else user.name
        act = attempt.act(self._clock(), actor, AuditAction.SIGN_IN_FAILED, target)
        async with self._database.transaction() as tx:
            await audit.write(tx, [act])


@dataclass(frozen=True, slots=True)
class _Attempt:
    """An attempt to sign in on a device."""

    device: Device
    client: str | None
    request_id: str | None

    @property
    def subject(self) -> str:
        """The name under which the wrong PINs on the device are counted."""
        return device_subject(self.device.id)

    def act(
        self, at: datetime, actor: Actor, action: AuditAction, target: str | None = None
    ) -> Act:
        """Return the attempt as it is recorded."""
        return Act(
            at=at,
            actor=actor,
            action=action,
            target=target,
            request_id=self.request_id,
            details={"device": self.device.name},
        )


def _cleaned(pin: str) -> str:
    """Return a PIN as it was stored; one that cannot have been stored is wrong in any case."""
    try:
        return clean_pin(pin)
    except ValueError:
        return ""
