"""A page at the address of an API: browsers that load a page get it, and everybody else the API."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import Scope

from restaurant_system.models.access import Capability
from restaurant_system.web.guarded_router import GuardedRouter, guard
from restaurant_system.web.headers import ACCEPT, first_value, prefers_html
from restaurant_system.web.static_files import StaticContent


class PageOverApi(Route):
    """The route of a page, which other requests pass on to the next route of the same path."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Match as other routes do, but only a request that prefers HTML to JSON."""
        if scope["type"] == "http" and not prefers_html(first_value(ACCEPT, scope["headers"])):
            return Match.NONE, {}
        return super().matches(scope)


def add_page_over_api(
    router: GuardedRouter, path: str, page: StaticContent, requires: Capability | None
) -> None:
    """Add the route of a page to a router that comes before the one with the API."""

    async def respond(request: Request) -> Response:
        response = await page.respond(request)
        response.headers.add_vary_header("Accept")
        return response

    route = PageOverApi(path, respond, methods=["GET"], include_in_schema=False)
    router.routes.append(route)
    guard(route, requires)
