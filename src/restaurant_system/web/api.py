"""Builds a service's HTTP face from its features.

FastAPI's own stack costs more than half of a small request, so the roads that are driven most are
plain Starlette routes in front of it. FastAPI still documents them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus

from fastapi import APIRouter, FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, Mount, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from restaurant_system import __version__
from restaurant_system.errors import RestaurantError
from restaurant_system.web import problem
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
    """What a service offers over HTTP; `hot` routes also stand, documented, in its `router`."""

    router: APIRouter
    hot: Sequence[BaseRoute] = ()


def build(title: str, features: Sequence[Feature]) -> ASGIApp:
    """Return the application that serves these features."""
    api = FastAPI(
        title=title,
        version=__version__,
        exception_handlers=dict.fromkeys(HANDLED, problem.handle),
    )
    for feature in features:
        api.include_router(feature.router)
    hot = [route for feature in features for route in feature.hot]
    return RequestContext(Router([*hot, Mount("/", api)], default=_nothing_here))


async def _nothing_here(_scope: Scope, _receive: Receive, _send: Send) -> None:
    raise HTTPException(HTTPStatus.NOT_FOUND)
