"""Builds a service's HTTP face from its features.

FastAPI has all of it, and documents it; the roads that are driven most also have a way of their own
in front of it (`hot.py`).
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, cast

from fastapi import APIRouter, FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.routing import Mount, Router
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from restaurant_system import __version__
from restaurant_system.errors import RestaurantError
from restaurant_system.web import docs, problem
from restaurant_system.web.fastpath.routes import FastRoute
from restaurant_system.web.middleware import RequestContext

HANDLED = (
    Exception,
    HTTPException,
    RequestValidationError,
    RestaurantError,
    problem.Refusal,
)


@dataclass(frozen=True, slots=True)
class Feature:
    """What a service offers over HTTP; `hot` roads also stand, documented, in its `router`."""

    router: APIRouter
    fast_routes: Sequence[FastRoute[Any]] = ()


@dataclass(frozen=True, slots=True)
class Site:
    """What is served: everything by ASGI, and the hot roads in front of it."""

    asgi: ASGIApp
    fast_routes: Sequence[FastRoute[Any]] = ()


def build(title: str, features: Sequence[Feature]) -> Site:
    """Return what serves these features."""
    api = FastAPI(
        title=title,
        version=__version__,
        docs_url=None,
        redoc_url=None,
        exception_handlers=dict.fromkeys(HANDLED, problem.handle),
    )
    api.include_router(docs.routes())
    for feature in features:
        api.include_router(feature.router)
    # Only redirects ask whether a proxy spoke TLS for us, and no hot road redirects.
    trusted = os.environ.get("FORWARDED_ALLOW_IPS", "127.0.0.1")  # as uvicorn has it
    router = cast("Any", Router([Mount("/", api)], default=_nothing_here))
    rest = cast("ASGIApp", ProxyHeadersMiddleware(router, trusted))
    return Site(
        RequestContext(rest), [road for feature in features for road in feature.fast_routes]
    )


async def _nothing_here(_scope: Scope, _receive: Receive, _send: Send) -> None:
    raise HTTPException(HTTPStatus.NOT_FOUND)
