"""A router whose routes each state the capability that they require."""

from collections.abc import Callable, Iterable
from typing import Any, cast

from fastapi import APIRouter
from starlette.routing import BaseRoute, Route

from restaurant_system.models.access import Capability
from restaurant_system.web.access_control import GuardedRoute

PUBLIC = None  # the requirement of a route that everybody may call


class GuardedRouter(APIRouter):
    """FastAPI's router, with `requires` as an argument that every route must have."""

    def add_api_route(  # type: ignore[override]
        self,
        path: str,
        endpoint: Callable[..., Any],
        *,
        requires: Capability | None,
        **options: Any,  # noqa: ANN401 - FastAPI's own
    ) -> None:
        """Add a documented route, as FastAPI does, for callers with a capability."""
        super().add_api_route(path, endpoint, **options)
        guard(self.routes[-1], requires)

    def add_route(  # type: ignore[override]
        self,
        path: str,
        endpoint: Callable[..., Any],
        *,
        requires: Capability | None,
        **options: Any,  # noqa: ANN401 - Starlette's own
    ) -> None:
        """Add a route, as Starlette does, for callers with a capability."""
        super().add_route(path, endpoint, **options)
        guard(self.routes[-1], requires)


def guard(route: BaseRoute, requires: Capability | None) -> None:
    """Admit only callers with a capability to a route."""
    guarded = cast("Route", route)
    guarded.app = GuardedRoute(guarded, requires)


def unguarded(routes: Iterable[BaseRoute]) -> list[BaseRoute]:
    """Return the routes that state no requirement."""
    return [each for each in routes if not isinstance(getattr(each, "app", None), GuardedRoute)]
