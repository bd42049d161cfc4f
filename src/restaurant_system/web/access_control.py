"""Find out who sends a request, and whether it may: on every route, before the body is read.

Who has a session or an API key is looked up in the database, and cached for `FRESH_FOR`: so long a
process may accept a session that has been ended. While the database is unavailable, those that were
looked up within `KEPT_FOR` are still accepted.
"""

import asyncio
import contextlib
import contextvars
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from functools import partial
from http import HTTPStatus
from typing import Any, NamedTuple
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import RedirectResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from restaurant_system.errors import NotAllowed, NotSignedIn, Unavailable
from restaurant_system.models.access import (
    CAPABILITIES,
    EVERYONE,
    UNGUARDED,
    Caller,
    Capability,
    Credential,
    CredentialKind,
)
from restaurant_system.web.cookies import SESSION, cookie_in
from restaurant_system.web.headers import ACCEPT, AUTHORIZATION, Headers, first_value
from restaurant_system.web.local_requests import is_local

SIGN_IN = "/sign-in"
FRESH_FOR = 2.0  # s
REFRESHED_AFTER = 1.0  # s
KEPT_FOR = 300.0  # s
MAX_CACHED = 10_000  # owners; a forged session or key has none

# The keys in a scope for the `AccessControl` of the site, `None` without one, and for the caller.
ACCESS_CONTROL, CALLER = "restaurant.access_control", "restaurant.caller"

Identify = Callable[[Credential], Coroutine[Any, Any, Caller | None]]


class CachedCaller(NamedTuple):
    """The owner of a credential, and when the look-up began."""

    caller: Caller
    at: float


class AccessControl:
    """Knows the callers of one process.

    `identify` looks up the owner of a credential. Callers without one may do what `public` contains
    besides what everyone may.
    """

    def __init__(
        self,
        identify: Identify,
        *,
        public: frozenset[Capability] = frozenset(),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._identify = identify
        self.anonymous = Caller(None, None, EVERYONE | public)
        self._clock = clock
        self._cache: dict[Credential, CachedCaller] = {}
        self._lookups: dict[Credential, asyncio.Task[Caller | None]] = {}

    def known_caller(self, credential: Credential | None) -> Caller | None:
        """Return the caller with a credential; `None` if it must be looked up (again).

        One whose look-up is due soon is looked up meanwhile, so that callers with many requests are
        always known.
        """
        if credential is None:
            return self.anonymous
        cached = self._cache.get(credential)
        if cached is None:
            return None
        age = self._clock() - cached.at
        if age > FRESH_FOR:
            return None
        if age > REFRESHED_AFTER:
            self._lookup(credential)
        return cached.caller

    async def caller(self, credential: Credential | None) -> Caller:
        """Return the caller with a credential.

        One with an ended session is anonymous. Raises `NotSignedIn` for an invalid API key, and
        `Unavailable` while the database is, unless the caller is known.
        """
        known = self.known_caller(credential)
        if known is not None or credential is None:
            return known or self.anonymous
        try:
            found = await asyncio.shield(self._lookup(credential))
        except Unavailable:
            cached = self._cache.get(credential)
            if cached is None or self._clock() - cached.at > KEPT_FOR:
                raise
            return cached.caller
        if found is not None:
            return found
        if credential.kind is CredentialKind.API_KEY:
            raise NotSignedIn("This API key is unknown or disabled; ask a manager for a new one.")
        return self.anonymous

    def forget(self, credential: Credential) -> None:
        """Remove a caller from the cache, and drop a look-up that is in progress."""
        self._cache.pop(credential, None)
        self._lookups.pop(credential, None)

    def _lookup(self, credential: Credential) -> "asyncio.Task[Caller | None]":
        """Return the look-up of a credential in progress, which concurrent requests share."""
        lookup = self._lookups.get(credential)
        if lookup is None:
            # An empty context: the request id must not be logged for other requests.
            lookup = asyncio.create_task(self._identify(credential), context=contextvars.Context())
            self._lookups[credential] = lookup
            lookup.add_done_callback(partial(self._end_lookup, credential, self._clock()))
        return lookup

    def _end_lookup(
        self, credential: Credential, began_at: float, lookup: "asyncio.Task[Caller | None]"
    ) -> None:
        """Store the result of a look-up, unless its credential was forgotten meanwhile."""
        is_failed = lookup.cancelled() or lookup.exception() is not None
        if self._lookups.get(credential) is not lookup:
            return
        self._lookups.pop(credential)
        if is_failed:
            return
        self._cache.pop(credential, None)
        caller = lookup.result()
        if caller is not None:
            self._store(credential, CachedCaller(caller, began_at))

    def _store(self, credential: Credential, cached: CachedCaller) -> None:
        if len(self._cache) >= MAX_CACHED:
            del self._cache[next(iter(self._cache))]  # the one that was looked up first
        self._cache[credential] = cached


class GuardedRoute:
    """The ASGI application of a route: it admits callers with a capability, `None`: everybody."""

    def __init__(self, route: Route, requires: Capability | None) -> None:
        self._app = route.app
        self._route = route
        self.requires = requires

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on a request that is allowed; redirect one for a page to the sign-in page."""
        scope["route"] = self._route  # as FastAPI does for its own routes
        if self.requires is not None:
            try:
                scope[CALLER] = await admit(scope, self.requires)
            except NotSignedIn:
                if not _is_for_page(scope):
                    raise
                await _redirect_to_sign_in(scope)(scope, receive, send)
                return
        await self._app(scope, receive, send)


async def identify(scope: Scope) -> Caller:
    """Return the caller of a request."""
    control: AccessControl | None = scope.get(ACCESS_CONTROL)
    if control is None:
        return UNGUARDED
    return await control.caller(credential_in(scope["headers"]))


async def admit(scope: Scope, requires: Capability) -> Caller:
    """Return the caller of a request if it is allowed; raises `NotSignedIn` or `NotAllowed`."""
    caller = await identify(scope)
    if caller.may(requires) or (requires is Capability.METRICS and is_local(Request(scope))):
        return caller
    if caller.name is None:
        raise NotSignedIn
    if caller.role is None:
        raise NotAllowed(f"The scopes of this API key do not contain {requires}.")
    if requires in CAPABILITIES[caller.role]:
        raise NotAllowed("A PIN does not suffice for this; sign in with the password.")
    raise NotAllowed(f"The role {caller.role} does not allow this; ask a manager.")


def while_admitted(scope: Scope, stream: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Return a stream that ends once its caller has changed: the session ended, for example."""
    control: AccessControl | None = scope[ACCESS_CONTROL]
    credential = credential_in(scope["headers"])
    caller: Caller | None = scope.get(CALLER)
    if control is None or credential is None or caller is None or caller.name is None:
        return stream
    return _while_unchanged(control, credential, caller, stream)


async def _while_unchanged(
    control: AccessControl, credential: Credential, admitted: Caller, stream: AsyncIterator[bytes]
) -> AsyncIterator[bytes]:
    async for part in stream:
        with contextlib.suppress(Unavailable):  # a known caller may go on
            try:
                is_unchanged = await control.caller(credential) == admitted
            except NotSignedIn:
                is_unchanged = False
            if not is_unchanged:
                return
        yield part


def is_controlled(request: Request) -> bool:
    """Return whether the site controls its callers."""
    return request.scope[ACCESS_CONTROL] is not None


def caller_of(request: Request) -> Caller:
    """Return the caller that was admitted to a route that requires a capability."""
    caller: Caller = request.scope[CALLER]
    return caller


def credential_in(headers: Headers) -> Credential | None:
    """Return the API key in the header fields, else the session's token, else `None`."""
    scheme, _, key = (first_value(AUTHORIZATION, headers) or b"").partition(b" ")
    if scheme.lower() == b"bearer":
        return Credential.of(CredentialKind.API_KEY, key.strip())
    token = cookie_in(headers, SESSION)
    return None if token is None else Credential.of(CredentialKind.SESSION, token)


def _is_for_page(scope: Scope) -> bool:
    accepted = first_value(ACCEPT, scope["headers"]) or b""
    return scope["method"] == "GET" and b"text/html" in accepted


def _redirect_to_sign_in(scope: Scope) -> RedirectResponse:
    query = scope["query_string"].decode("latin-1")
    wanted = scope["path"] + (f"?{query}" if query else "")
    return RedirectResponse(f"{SIGN_IN}?next={quote(wanted, safe='')}", HTTPStatus.SEE_OTHER)
