"""Serve `GET /metrics` to Prometheus."""

from http import HTTPStatus

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from restaurant_system.metrics.exposition import Exposer
from restaurant_system.web.allowed_hosts import LOCAL_NAME
from restaurant_system.web.client_address import parse_address
from restaurant_system.web.problem import Refusal

PROXY_HEADERS = ("x-forwarded-for", "forwarded", "via")
NOT_LOCAL = (
    "Metrics are for programs on this machine; set metrics.public to true to serve them to others."
)


def routes(exposer: Exposer, *, is_public: bool) -> APIRouter:
    """Return the route of `/metrics`; unless it is public, only for this machine."""
    router = APIRouter(include_in_schema=False)

    @router.get("/metrics")
    async def metrics(request: Request) -> Response:
        if not (is_public or is_local(request)):
            raise Refusal(HTTPStatus.FORBIDDEN, NOT_LOCAL)
        exposition = await exposer.expose(request.headers.get("accept", ""))
        return Response(exposition.text, headers={"Content-Type": exposition.media_type})

    return router


def is_local(request: Request) -> bool:
    """Tell whether a program on this machine sent a request, and not a proxy for another one.

    A proxy on this machine is recognized by the header fields with which proxies name the client,
    or by the public host name that it passes on. A page cannot read metrics by DNS rebinding,
    because its requests name its own host.
    """
    if any(name in request.headers for name in PROXY_HEADERS):
        return False
    host = request.url.hostname or ""
    is_for_this_machine = host == LOCAL_NAME or _is_loopback(host)
    return is_for_this_machine and (request.client is None or _is_loopback(request.client.host))


def _is_loopback(text: str) -> bool:
    address = parse_address(text)
    return address is not None and address.is_loopback
