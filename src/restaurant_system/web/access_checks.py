"""Check every request before an endpoint sees it, on every route of every service."""

from starlette.types import ASGIApp, Receive, Scope, Send

from restaurant_system.config import HttpSettings, SecuritySettings
from restaurant_system.web.access_control import ACCESS_CONTROL, AccessControl
from restaurant_system.web.allowed_hosts import LOCAL_NAME, AllowedHosts
from restaurant_system.web.client_address import ClientAddresses
from restaurant_system.web.client_limits import RateLimit, StreamLimit
from restaurant_system.web.headers import Headers
from restaurant_system.web.origins import SAFE_METHODS, Origins
from restaurant_system.web.problem import Refusal, response_for

DEFAULT_HTTP, DEFAULT_SECURITY = HttpSettings(), SecuritySettings()

# The keys in a scope for the client to which limits apply, and for the limit of its streams.
CLIENT, STREAMS = "restaurant.client", "restaurant.streams"


class AccessChecks:
    """The checks of one process, in the order in which `check` makes them.

    After them, each route asks `control` for its caller; without it everybody may do everything. A
    check raises `Refusal`. `check_head` depends on the method and the header fields alone, so
    that a connection that repeats its header fields need not repeat it.
    """

    def __init__(
        self,
        http: HttpSettings = DEFAULT_HTTP,
        security: SecuritySettings = DEFAULT_SECURITY,
        *,
        bound_to: str = LOCAL_NAME,
        control: AccessControl | None = None,
    ) -> None:
        self.control = control
        self.origins = Origins(security.cors_origins)
        self.trusted_proxies = security.trusted_proxies
        self._hosts = AllowedHosts(security.allowed_hosts, bound_to=bound_to)
        self.addresses = ClientAddresses(security.trusted_proxies)
        self._lookups = RateLimit(http.lookups_per_second)
        self._changes = RateLimit(http.changes_per_second)
        self.streams = StreamLimit(http.streams_per_address)

    def check(self, method: str, headers: Headers, peer: str) -> str | None:
        """Make all checks; return the client to which limits apply (see `ClientAddresses`).

        `peer` is the address of the other end of the connection.
        """
        self.check_head(method, headers)
        client = self.addresses.limited_client(peer, headers)
        self.check_rate(method, client)
        return client

    def check_head(self, method: str, headers: Headers) -> None:
        """Check the host for which the request is, and the page that sends it."""
        self._hosts.check(headers)
        self.origins.check(method, headers)

    def check_rate(self, method: str, client: str | None) -> None:
        """Check how many requests the client sends."""
        (self._lookups if method in SAFE_METHODS else self._changes).check(client)


def checked(app: ASGIApp, checks: AccessChecks) -> ASGIApp:
    """Return an ASGI application that makes all checks before a request reaches `app`.

    They are made before a preflight is answered, too. Pages of listed origins can read that their
    requests are refused.
    """
    origins = checks.origins
    return origins.with_cors(_CheckedApplication(origins.with_preflights(app), checks))


class _CheckedApplication:
    """ASGI middleware that makes the checks, and answers the requests that it refuses."""

    def __init__(self, app: ASGIApp, checks: AccessChecks) -> None:
        self._app = app
        self._checks = checks

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on a request that passes all checks, with the client in its scope."""
        headers, peer = scope["headers"], scope.get("client")
        scope[STREAMS], scope[ACCESS_CONTROL] = self._checks.streams, self._checks.control
        try:
            scope[CLIENT] = self._checks.check(scope["method"], headers, peer[0] if peer else "")
        except Refusal as refusal:
            await response_for(refusal, scope["request_id"])(scope, receive, send)
        else:
            await self._app(scope, receive, send)
