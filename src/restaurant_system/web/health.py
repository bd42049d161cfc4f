"""Serve `/health` for people and monitoring, `/health/live` and `/health/ready` for probes.

`/health` reports the service and each dependency: `ok` and `degraded` (a part does not work) come
with 200, `unavailable` with 503. `/health/live` depends on nothing but this process, because a
restart cures no outage of a database. `/health/ready` tells a load balancer whether to send
requests here: 503 while the process starts, drains or stops, and while an essential dependency is
down. It checks nothing else, because load balancers ask often.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from starlette.responses import JSONResponse

from restaurant_system.errors import BrokerRefuses, DatabaseRefuses, Unavailable
from restaurant_system.shutdown import Shutdown
from restaurant_system.web.guarded_router import PUBLIC, GuardedRouter

CHECK_TIMEOUT = 1.5  # s for the check of a dependency; /health itself responds within 2 s

# Cancelled checks that have not ended yet: asyncio may forget a task that nothing refers to.
_cancelled: set["asyncio.Future[Mapping[str, Any]]"] = set()

LIVE_PATH = "/health/live"
READY_PATH = "/health/ready"

Check = Callable[[], Awaitable[Mapping[str, Any]]]


@dataclass(frozen=True, slots=True)
class Dependency:
    """A dependency and its check; without an `essential` one the service cannot work."""

    name: str
    check: Check
    essential: bool


def routes(shutdown: Shutdown, *dependencies: Dependency) -> GuardedRouter:
    """Return the routes of `/health`, `/health/live` and `/health/ready`.

    Each check returns details to report, among them `status` if that is `degraded` or `down`, or
    raises `Unavailable`.
    """
    router = GuardedRouter(tags=["health"])

    async def health() -> JSONResponse:
        states = await asyncio.gather(*(_state(each.check) for each in dependencies))
        down = [
            each
            for each, state in zip(dependencies, states, strict=True)
            if state["status"] == "down"
        ]
        unavailable = any(each.essential for each in down)
        well = all(state["status"] == "up" for state in states)
        content = {
            "status": "unavailable" if unavailable else "ok" if well else "degraded",
            "dependencies": {
                each.name: state for each, state in zip(dependencies, states, strict=True)
            },
        }
        status = HTTPStatus.SERVICE_UNAVAILABLE if unavailable else HTTPStatus.OK
        headers = {"Retry-After": "1"} if unavailable else None
        return JSONResponse(content, status, headers)

    async def live() -> JSONResponse:
        return live_response()

    essential = [each for each in dependencies if each.essential]

    async def ready() -> JSONResponse:
        if shutdown.is_stopping:
            return not_ready_response("The service is stopping.")
        states = await asyncio.gather(*(_state(each.check) for each in essential))
        down = [
            each.name
            for each, state in zip(essential, states, strict=True)
            if state["status"] == "down"
        ]
        if down:
            return not_ready_response(f"Down: {', '.join(down)}.")
        return JSONResponse({"status": "ready"})

    for path, endpoint, summary in (
        ("/health", health, "State of the service and of its dependencies"),
        (LIVE_PATH, live, "Whether this process responds, whatever its dependencies do"),
        (READY_PATH, ready, "Whether this process is to get requests"),
    ):
        router.add_api_route(path, endpoint, methods=["GET"], requires=PUBLIC, summary=summary)
    return router


def live_response() -> JSONResponse:
    """Return the response of a process whose event loop runs."""
    return JSONResponse({"status": "ok"})


def not_ready_response(reason: str) -> JSONResponse:
    """Return the response of a process to which a load balancer is to send no requests."""
    content = {"status": "not ready", "reason": reason}
    return JSONResponse(content, HTTPStatus.SERVICE_UNAVAILABLE, {"Retry-After": "1"})


async def _state(check: Check) -> dict[str, Any]:
    """Return a dependency's state; a check that takes too long is cancelled: it is down."""
    checking = asyncio.ensure_future(check())
    await asyncio.wait({checking}, timeout=CHECK_TIMEOUT)
    if not checking.done():
        checking.cancel()
        _cancelled.add(checking)
        checking.add_done_callback(_forget)
        return {"status": "down"}
    try:
        return {"status": "up", **checking.result()}
    except (DatabaseRefuses, BrokerRefuses) as refusal:
        return {"status": "down", "reason": refusal.reason}
    except Unavailable:
        return {"status": "down"}


def _forget(checking: "asyncio.Future[Mapping[str, Any]]") -> None:
    _cancelled.discard(checking)
    if not checking.cancelled():
        checking.exception()  # retrieved, so that asyncio does not log it
