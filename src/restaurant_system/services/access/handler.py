"""The HTTP routes of sessions: sign in, sign out, who am I."""

from http import HTTPStatus
from typing import Annotated

from pydantic import StringConstraints
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from restaurant_system.models.access import MAX_PASSWORD_LENGTH
from restaurant_system.models.fields import StrictModel
from restaurant_system.services.access.browser_sessions import (
    BrowserSessions,
    SessionResponse,
    describe,
)
from restaurant_system.services.access.request_fields import Name
from restaurant_system.services.access.sign_in import SignIn
from restaurant_system.web.access_checks import CLIENT
from restaurant_system.web.access_control import SIGN_IN, identify
from restaurant_system.web.api import Feature
from restaurant_system.web.guarded_router import PUBLIC, GuardedRouter
from restaurant_system.web.json_body import read_body
from restaurant_system.web.openapi import (
    NOT_SIGNED_IN,
    PROBLEMS,
    SIGN_IN_PROBLEMS,
    request_body,
)
from restaurant_system.web.request_checks import ConcurrencyLimit

MAX_CONCURRENT = 4  # sign-ins; each takes a core for a tenth of a second


class NameAndPassword(StrictModel):
    """The body that opens a session."""

    name: Name
    password: Annotated[
        str,
        StringConstraints(strip_whitespace=False, min_length=1, max_length=MAX_PASSWORD_LENGTH),
    ]


class SessionHandler:
    """Opens and ends the sessions of people; a session is a cookie."""

    def __init__(self, sign_in: SignIn) -> None:
        self._sign_in = sign_in
        self._sessions = BrowserSessions(sign_in)
        self._limit = ConcurrencyLimit(MAX_CONCURRENT)

    def feature(self) -> Feature:
        """Return the routes of sessions."""
        router = GuardedRouter(tags=["sessions"])
        router.add_api_route(
            "/session",
            self.open,
            methods=["POST"],
            requires=PUBLIC,
            response_model=SessionResponse,
            summary="Sign in",
            operation_id="sign_in",
            responses=SIGN_IN_PROBLEMS,
            openapi_extra=request_body(NameAndPassword),
        )
        router.add_api_route(
            "/session",
            self.show,
            methods=["GET"],
            requires=PUBLIC,
            response_model=SessionResponse,
            summary="Who calls, and what the caller may do",
            operation_id="session",
            responses={HTTPStatus.UNAUTHORIZED: NOT_SIGNED_IN, **PROBLEMS},
        )
        router.add_api_route(
            "/session",
            self.end,
            methods=["DELETE"],
            requires=PUBLIC,
            status_code=HTTPStatus.NO_CONTENT,
            summary="Sign out",
            operation_id="sign_out",
            responses=PROBLEMS,
        )
        router.add_api_route(
            "/sign-out",
            self.end_and_redirect,
            methods=["POST"],
            requires=PUBLIC,
            include_in_schema=False,
        )
        return Feature(router)

    async def open(self, request: Request) -> Response:
        """Open a session, in place of the one that the browser has."""
        body = await read_body(request, NameAndPassword)
        async with self._limit:
            signed_in = await self._sign_in.sign_in(
                body.name,
                body.password,
                request.scope[CLIENT],
                request_id=request.scope["request_id"],
            )
        return await self._sessions.start(request, signed_in)

    async def show(self, request: Request) -> Response:
        """Return who calls, and what the caller may do."""
        return describe(await identify(request.scope))

    async def end(self, request: Request) -> Response:
        """End the session, if there is one."""
        return await self._sessions.end(request, Response(status_code=HTTPStatus.NO_CONTENT))

    async def end_and_redirect(self, request: Request) -> Response:
        """End the session, and show the sign-in page."""
        return await self._sessions.end(request, RedirectResponse(SIGN_IN, HTTPStatus.SEE_OTHER))
