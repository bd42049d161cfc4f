"""The live views of the guests' screens over HTTP, as server-sent events."""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from restaurant_system.services.tracking.views import Views
from restaurant_system.web.api import Feature
from restaurant_system.web.live import last_seen, streamed
from restaurant_system.web.path import order_number_in


class ScreensHandler:
    """Lets whoever asks watch."""

    def __init__(self, views: Views) -> None:
        self._views = views

    def feature(self) -> Feature:
        """Return the routes; what our own pages watch is nobody else's interface."""
        router = APIRouter(include_in_schema=False)
        router.add_api_route("/live/board", self.board, methods=["GET"])
        router.add_api_route("/live/track/{order_number}", self.track, methods=["GET"])
        return Feature(router)

    async def board(self, request: Request) -> Response:
        """Send the board."""
        return streamed(self._views.board(last_seen(request)))

    async def track(self, order_number: str, request: Request) -> Response:
        """Send how one order gets on."""
        number = order_number_in(order_number)
        return streamed(await self._views.track(number, last_seen(request)))
