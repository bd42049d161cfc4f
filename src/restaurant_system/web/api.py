"""Builds a service's HTTP face from its features.

FastAPI's own stack costs more than half of a small request, and Starlette's routing much of the
rest, so the roads that are driven most stand in front of both. FastAPI still documents them.
"""

import os
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Self, cast

from fastapi import APIRouter, FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

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
    hot: Sequence[Route] = ()


def build(title: str, features: Sequence[Feature]) -> ASGIApp:
    """Return the application that serves these features."""
    api = FastAPI(
        title=title,
        version=__version__,
        exception_handlers=dict.fromkeys(HANDLED, problem.handle),
    )
    for feature in features:
        api.include_router(feature.router)
    hot = [_HotRoad.of(route) for feature in features for route in feature.hot]
    # Only redirects ask whether a proxy spoke TLS for us, and no hot road redirects.
    trusted = os.environ.get("FORWARDED_ALLOW_IPS", "127.0.0.1")  # as uvicorn has it
    router = cast("Any", Router([Mount("/", api)], default=_nothing_here))
    rest = cast("ASGIApp", ProxyHeadersMiddleware(router, trusted))
    return RequestContext(_HotFirst(hot, rest))


@dataclass(frozen=True, slots=True)
class _HotRoad:
    """A route told by how its address begins and ends, around one parameter at most."""

    methods: frozenset[str]
    before: str
    parameter: str
    after: str
    endpoint: Callable[[Request], Awaitable[Response]]

    @classmethod
    def of(cls, route: Route) -> Self:
        before, _, rest = route.path.partition("{")
        parameter, _, after = rest.partition("}")
        return cls(frozenset(route.methods or ()), before, parameter, after, route.endpoint)

    def parameters(self, path: str) -> dict[str, str] | None:
        """Return what stands in an address; `None` for one that is not this route's."""
        if not self.parameter:
            return {} if path == self.before else None
        if not (path.startswith(self.before) and path.endswith(self.after)):
            return None
        value = path[len(self.before) : len(path) - len(self.after)]
        return {self.parameter: value} if value and "/" not in value else None


class _HotFirst:
    """Pure ASGI: the hot roads, and whatever is behind them for everything else."""

    def __init__(self, roads: Sequence[_HotRoad], rest: ASGIApp) -> None:
        self._roads = roads
        self._rest = rest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        for road in self._roads:
            if scope.get("method") in road.methods:
                parameters = road.parameters(scope["path"])
                if parameters is not None:
                    scope["path_params"] = parameters
                    response = await road.endpoint(Request(scope, receive, send))
                    await response(scope, receive, send)
                    return
        await self._rest(scope, receive, send)


async def _nothing_here(_scope: Scope, _receive: Receive, _send: Send) -> None:
    raise HTTPException(HTTPStatus.NOT_FOUND)
