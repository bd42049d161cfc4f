"""Responses of a service that is still starting: 503 to every request, `/health` included.

Each response closes its connection, so that no client stays with a process that is not ready while
other processes of the same port are.
"""

import asyncio
import contextlib
from http import HTTPStatus

from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from restaurant_system.web.api import Site
from restaurant_system.web.middleware import RequestContext
from restaurant_system.web.problem import RETRY_AFTER_SECONDS, Refusal, response_for

NOT_READY = "The service is starting, and waits for what it depends on; try again in a moment."


async def _refuse(scope: Scope, receive: Receive, send: Send) -> None:
    # A connection that is closed with a body unread may lose the response; a stop does not wait.
    with contextlib.suppress(asyncio.CancelledError):
        while (await receive()).get("more_body"):
            pass
    response = _health() if scope["path"] == "/health" else _problem(scope["request_id"])
    response.headers["Retry-After"] = RETRY_AFTER_SECONDS
    response.headers["Connection"] = "close"
    await response(scope, receive, send)


def _health() -> Response:
    content = {"status": "unavailable", "reason": NOT_READY, "dependencies": {}}
    return JSONResponse(content, HTTPStatus.SERVICE_UNAVAILABLE)


def _problem(request_id: str) -> Response:
    return response_for(Refusal(HTTPStatus.SERVICE_UNAVAILABLE, NOT_READY), request_id)


STARTING = Site(RequestContext(_refuse))
