"""Refuse requests that pages of other origins make, and allow the listed origins by CORS."""

from collections.abc import Sequence
from http import HTTPStatus

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from restaurant_system.error_texts import ErrorText
from restaurant_system.web.file_descriptors import ThrottledLog
from restaurant_system.web.headers import Headers, first_value
from restaurant_system.web.problem import Refusal

ORIGIN = b"origin"
FETCH_SITE = b"sec-fetch-site"
PREFLIGHT_METHOD = b"access-control-request-method"
OWN_SITE = frozenset({b"same-origin", b"none"})  # "none": the user typed or reloaded the URL
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})  # RFC 9110, 9.2.1

CORS_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
CORS_REQUEST_HEADERS = ("Authorization", "Idempotency-Key", "If-None-Match", "X-Request-ID")
CORS_RESPONSE_HEADERS = ("ETag", "Idempotency-Replayed", "Location", "Retry-After", "X-Request-ID")

refused = ThrottledLog(
    "origin_refused",
    "A page of another origin sent a request that changes something. If it is an own page, have the"
    " proxy pass on the Host of the browser, or add the origin to security.cors_origins.",
)


class Origins:
    """The own origin, and other ones whose pages may send requests and read the responses."""

    def __init__(self, listed: Sequence[str] = ()) -> None:
        self._listed = frozenset(origin.encode() for origin in listed)

    def check(self, method: str, headers: Headers) -> None:
        """Raise `Refusal` for a state-changing request, or a preflight, of an unlisted origin.

        Browsers send `Sec-Fetch-Site` (W3C Fetch Metadata), or `Origin` only if there is no TLS.
        Other programs send neither, and are accepted.
        """
        if method in SAFE_METHODS and not _is_preflight(method, headers):
            return
        if not (self.is_listed(headers) or _is_own(headers)):
            refused.warn()
            detail = ErrorText("Send this request from a page of this site.", "foreign_origin")
            raise Refusal(HTTPStatus.FORBIDDEN, detail)

    def is_listed(self, headers: Headers) -> bool:
        """Tell whether a page of a listed origin sent the request."""
        return bool(self._listed) and first_value(ORIGIN, headers) in self._listed

    def with_cors(self, app: ASGIApp) -> ASGIApp:
        """Let pages of listed origins read the responses of `app` (CORS), errors included."""
        return self._with_cors(app, for_preflights=False)

    def with_preflights(self, app: ASGIApp) -> ASGIApp:
        """Answer the preflights of listed origins in place of `app`."""
        return self._with_cors(app, for_preflights=True)

    def _with_cors(self, app: ASGIApp, *, for_preflights: bool) -> ASGIApp:
        """Apply Starlette's middleware to the preflights, or else to the other requests.

        They are separate, because it answers a preflight itself, before `app` could check it.
        """
        if not self._listed:
            return app
        cors = CORSMiddleware(
            app,
            allow_origins=[origin.decode() for origin in self._listed],
            allow_methods=CORS_METHODS,
            allow_headers=CORS_REQUEST_HEADERS,
            expose_headers=CORS_RESPONSE_HEADERS,
        )

        async def serve(scope: Scope, receive: Receive, send: Send) -> None:
            headers = scope["headers"]
            applies = (
                self.is_listed(headers)
                and _is_preflight(scope["method"], headers) == for_preflights
            )
            await (cors if applies else app)(scope, receive, send)

        return serve


def _is_preflight(method: str, headers: Headers) -> bool:
    return method == "OPTIONS" and first_value(PREFLIGHT_METHOD, headers) is not None


def _is_own(headers: Headers) -> bool:
    """Tell whether a page of the own origin, or no page, sent the request."""
    site = first_value(FETCH_SITE, headers)
    if site is not None:
        return site in OWN_SITE
    host = first_value(b"host", headers) or b""
    return first_value(ORIGIN, headers) in {None, b"http://" + host, b"https://" + host}
