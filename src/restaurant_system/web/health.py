"""`GET /health`: whether the service works, and what it depends on.

`ok`, `degraded` (200: it works, but not all of it) or `unavailable` (503).
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from fastapi import APIRouter
from starlette.responses import JSONResponse

from restaurant_system.errors import BrokerRefuses, DatabaseRefuses, Unavailable

PATIENCE = 1.5  # s that a dependency has to answer; health itself answers within 2
LATE: set["asyncio.Future[Mapping[str, Any]]"] = set()  # held until they end, as asyncio asks

Check = Callable[[], Awaitable[Mapping[str, Any]]]


@dataclass(frozen=True, slots=True)
class Dependency:
    """Something the service leans on; without an `essential` one it cannot work."""

    name: str
    check: Check
    essential: bool


def routes(*dependencies: Dependency) -> APIRouter:
    """Return the route of `/health`.

    Each check returns what is worth knowing, a `status` of `degraded` included, or raises
    `Unavailable`.
    """
    router = APIRouter(tags=["health"])

    @router.get("/health", summary="Whether the service works, and what it depends on")
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

    return router


async def _state(check: Check) -> dict[str, Any]:
    """Return what a check says in time; one that is late is called off, and not waited for."""
    checking = asyncio.ensure_future(check())
    await asyncio.wait({checking}, timeout=PATIENCE)
    if not checking.done():
        checking.cancel()
        LATE.add(checking)
        checking.add_done_callback(_forget)
        return {"status": "down"}
    try:
        return {"status": "up", **checking.result()}
    except (DatabaseRefuses, BrokerRefuses) as refusal:
        return {"status": "down", "reason": refusal.reason}
    except Unavailable:
        return {"status": "down"}


def _forget(checking: "asyncio.Future[Mapping[str, Any]]") -> None:
    LATE.discard(checking)
    if not checking.cancelled():
        checking.exception()  # it came too late for anybody to be told
