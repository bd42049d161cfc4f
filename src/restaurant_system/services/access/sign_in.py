"""Sign people in and out, and find out who sends a request."""

from dataclasses import dataclass
from datetime import timedelta

from restaurant_system.database import audit, pins, sessions, users
from restaurant_system.database.connection import Database
from restaurant_system.database.standbys import wait_for_standbys
from restaurant_system.database.users import User
from restaurant_system.errors import SignInFailed
from restaurant_system.logger import get_logger
from restaurant_system.models.access import (
    Caller,
    Credential,
    CredentialKind,
    clean_password,
    new_token,
)
from restaurant_system.models.audit import Act, Actor, AuditAction
from restaurant_system.models.clock import Clock
from restaurant_system.models.lock_out import Attempts, LockOut
from restaurant_system.services.access.attempts import (
    account_subject,
    client_subject,
    count_attempt,
)
from restaurant_system.services.access.passwords import Passwords
from restaurant_system.web.file_descriptors import ThrottledLog

log = get_logger()


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A new session: its owner, and the token that the browser keeps."""

    caller: Caller
    token: str
    lifetime: timedelta


@dataclass(frozen=True, slots=True)
class _Attempt:
    """An attempt to sign in, and the failures of its address with this one, which is counted."""

    account: str
    address: str
    counted: Attempts
    client: str | None
    request_id: str | None


@dataclass(frozen=True, slots=True)
class LockOutRules:
    """The rules for wrong passwords of one account, and from one client address."""

    account: LockOut
    address: LockOut


class SignIn:
    """Opens and ends sessions, and knows the owners of sessions and API keys.

    A wrong password is counted before it is verified: else parallel attempts would all be within
    the limit. A right one withdraws the count.
    """

    def __init__(
        self,
        database: Database,
        passwords: Passwords,
        *,
        clock: Clock,
        session_lifetime: timedelta,
        rules: LockOutRules,
    ) -> None:
        self._database = database
        self._passwords = passwords
        self._clock = clock
        self._session_lifetime = session_lifetime
        self._rules = rules
        self._locked_out = ThrottledLog(
            "sign_in_locked",
            "Somebody tries to sign in during a lock-out; `users reset` ends the one of a user.",
        )

    async def sign_in(
        self, name: str, password: str, client: str | None, *, request_id: str | None = None
    ) -> SignedIn:
        """Open a session; raises `SignInFailed`, or `TooManyAttempts` during a lock-out.

        `client` is the address that is counted, or a network (see `web.client_address`).
        """
        account, address = account_subject(name), client_subject(client)
        limits = ((account, self._rules.account), (address, self._rules.address))
        counted = await count_attempt(self._database, limits, self._clock(), self._locked_out)
        async with self._database.connection() as connection:
            user = await users.find_user(connection, name)
        known = user if user is not None and user.disabled_at is None else None
        password_hash = None if known is None else known.password_hash
        is_right = await self._passwords.verify(password_hash, _cleaned(password))
        signed_in = None
        if known is not None and is_right:
            attempt = _Attempt(account, address, counted, client, request_id)
            signed_in = await self._open_session(known, attempt)
        if signed_in is None:
            log.info("sign_in_failed", message="Somebody tried to sign in with a wrong password.")
            await self._record_failure(user, client, request_id)
            raise SignInFailed
        log.info("signed_in", message=f"A person signed in as {signed_in.caller.role}.")
        return signed_in

    async def _open_session(self, user: User, attempt: _Attempt) -> SignedIn | None:
        """Open a session for a user; return `None` if the user was changed meanwhile.

        The change has ended all sessions of the user, and must end this one, too.
        """
        token, now = new_token(), self._clock()
        digest = Credential.of(CredentialKind.SESSION, token.encode()).digest
        async with self._database.transaction() as tx:
            # Before the lock, which other sign-ins of this user share.
            await pins.allow_pin(tx, user.id, user.password_hash)
            if not await users.lock_unchanged(tx, user):
                return None
            await sessions.clear_attempts(tx, attempt.account)
            await sessions.withdraw_failure(tx, attempt.address, attempt.counted, now)
            await sessions.add(
                tx, digest, user.id, created_at=now, expires_at=now + self._session_lifetime
            )
            act = Act(
                at=now,
                actor=Actor(user.name, user.role, attempt.client),
                action=AuditAction.SIGN_IN,
                request_id=attempt.request_id,
            )
            await audit.write(tx, [act])
        return SignedIn(Caller.person(user.name, user.role), token, self._session_lifetime)

    async def sign_out(
        self, credential: Credential, client: str | None = None, *, request_id: str | None = None
    ) -> None:
        """End a session, if there is one with this token."""
        async with self._database.transaction() as tx:
            ended = await sessions.delete(tx, credential.digest)
            if ended is None:  # it may have ended a moment ago
                await wait_for_standbys(tx)
            else:
                act = Act(
                    at=self._clock(),
                    actor=Actor(ended.name, ended.role, client),
                    action=AuditAction.SIGN_OUT,
                    request_id=request_id,
                    details={} if ended.device is None else {"device": ended.device},
                )
                await audit.write(tx, [act])

    async def identify(self, credential: Credential) -> Caller | None:
        """Return the owner of a session or an API key; `None` if it is not valid."""
        async with self._database.connection() as connection:
            match credential.kind:
                case CredentialKind.SESSION:
                    return await sessions.owner_of_session(
                        connection, credential.digest, self._clock()
                    )
                case CredentialKind.API_KEY:
                    return await sessions.owner_of_key(connection, credential.digest)

    async def _record_failure(
        self, user: User | None, client: str | None, request_id: str | None
    ) -> None:
        """Record a wrong password; a name that no user has is left out, it may be a password."""
        act = Act(
            at=self._clock(),
            actor=Actor(None, None, client),
            action=AuditAction.SIGN_IN_FAILED,
            target=None if user is None else user.name,
            request_id=request_id,
        )
        async with self._database.transaction() as tx:
            await audit.write(tx, [act])


def _cleaned(password: str) -> str:
    """Return a password as it was stored; one that cannot have been stored is wrong in any case."""
    try:
        return clean_password(password)
    except ValueError:
        return ""
