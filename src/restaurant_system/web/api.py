"""Build a service's HTTP application from its features.

FastAPI serves and documents every route. The fast path answers some of them without it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, cast

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.routing import Mount, Router
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from restaurant_system import __version__
from restaurant_system.errors import RestaurantError
from restaurant_system.models.access import Capability
from restaurant_system.web import fastpath, problem
from restaurant_system.web.access_checks import AccessChecks, checked
from restaurant_system.web.access_control import AccessControl
from restaurant_system.web.endpoint import Endpoint
from restaurant_system.web.error_pages import ErrorPages, ErrorTemplates
from restaurant_system.web.guarded_router import GuardedRouter, guard, unguarded
from restaurant_system.web.http_protocol import HttpProtocol
from restaurant_system.web.middleware import RequestContext
from restaurant_system.web.openapi import document_access
from restaurant_system.web.static_files import docs_routes

HANDLED = (
    Exception,
    HTTPException,
    RequestValidationError,
    RestaurantError,
    problem.Refusal,
)

# Requests are traced by `RequestContext`. What FastAPI records itself, if its variables are set,
# contains the texts of exceptions. (Older versions do not, and ignore this.)
FASTAPI_TELEMETRY: Any = {
    "tracing": False,
    "metrics": False,
    "logs": False,
    "operation_spans": False,
    "auto_configure": False,
}


@dataclass(frozen=True, slots=True)
class Feature:
    """Routes that a service offers over HTTP, and the endpoints among them that need no ASGI.

    `security_schemes` document credentials that routes check themselves. `error_pages` are shown to
    people instead of problems.
    """

    router: GuardedRouter
    endpoints: Sequence[Endpoint[Any]] = ()
    security_schemes: Mapping[str, Any] = field(default_factory=dict)
    error_pages: ErrorTemplates = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Site:
    """An ASGI application, and the class that speaks HTTP on a connection to it."""

    asgi: ASGIApp
    protocol: Callable[..., HttpProtocol] = HttpProtocol


def build(title: str, features: Sequence[Feature], checks: AccessChecks | None = None) -> Site:
    """Return the ASGI application that serves these features to requests that pass the checks.

    Without `checks` it answers for the loopback names of this machine only, and to everybody there.
    Raises `TypeError` for a route that does not state what it requires.
    """
    checks = checks or AccessChecks()
    schemes = {name: each for part in features for name, each in part.security_schemes.items()}
    api = _Api(title, checks.control, schemes)
    for route in api.routes:  # /openapi.json
        guard(route, Capability.METRICS)
    # Not by `include_router`, which copies some routes without their guards.
    for each in [docs_routes(), *(feature.router for feature in features)]:
        api.routes.extend(each.routes)
    if forgotten := unguarded(api.routes):
        raise TypeError(f"Routes without a requirement: {forgotten}.")
    router = cast("Any", Router([Mount("/", api)], default=_not_found))
    # Only redirects need the scheme that a proxy was called with, and no endpoint redirects.
    proxied = ProxyHeadersMiddleware(router, [str(each) for each in checks.trusted_proxies])
    error_pages = {kind: page for each in features for kind, page in each.error_pages.items()}
    asgi = ErrorPages(RequestContext(checked(cast("ASGIApp", proxied), checks)), error_pages)
    endpoints = [each for feature in features for each in feature.endpoints]
    return Site(asgi, fastpath.protocol_for(endpoints, checks))


class _Api(FastAPI):
    """FastAPI, whose document also says who may call what."""

    def __init__(
        self, title: str, control: AccessControl | None, schemes: Mapping[str, Any]
    ) -> None:
        super().__init__(
            title=title,
            version=__version__,
            docs_url=None,
            redoc_url=None,
            exception_handlers=dict.fromkeys(HANDLED, problem.handle),
            telemetry=FASTAPI_TELEMETRY,
        )
        self._control = control
        self._schemes = schemes

    def openapi(self) -> dict[str, Any]:
        """Return the OpenAPI document, which is made when it is first requested."""
        if self.openapi_schema is None:
            self.openapi_schema = super().openapi()
            document_access(self.openapi_schema, self.routes, self._control, self._schemes)
        return self.openapi_schema


async def _not_found(_scope: Scope, _receive: Receive, _send: Send) -> None:
    raise HTTPException(HTTPStatus.NOT_FOUND)
