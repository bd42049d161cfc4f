"""Serve `GET /metrics` to Prometheus."""

from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import Response

from restaurant_system.error_texts import ErrorText
from restaurant_system.metrics.exposition import Exposer
from restaurant_system.models.access import Capability
from restaurant_system.web.access_control import is_controlled
from restaurant_system.web.guarded_router import PUBLIC, GuardedRouter
from restaurant_system.web.local_requests import is_local
from restaurant_system.web.problem import Refusal

NOT_LOCAL = ErrorText(
    "Metrics are for programs on this machine; set metrics.public to true to serve them to others.",
    "metrics_not_public",
)


def routes(exposer: Exposer, *, is_public: bool) -> GuardedRouter:
    """Return the route of `/metrics`, for this machine and callers that may read metrics.

    Without access control it is for this machine only. If it is public, it is for everybody.
    """

    async def metrics(request: Request) -> Response:
        if not (is_public or is_controlled(request) or is_local(request)):
            raise Refusal(HTTPStatus.FORBIDDEN, NOT_LOCAL)
        exposition = await exposer.expose(request.headers.get("accept", ""))
        return Response(exposition.text, headers={"Content-Type": exposition.media_type})

    router = GuardedRouter(include_in_schema=False)
    requires = PUBLIC if is_public else Capability.METRICS
    router.add_api_route("/metrics", metrics, methods=["GET"], requires=requires)
    return router
