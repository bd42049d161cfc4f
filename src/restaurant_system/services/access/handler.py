"""The HTTP routes of sessions: sign in, sign out, who am I."""

from http import HTTPStatus
from typing import Annotated

from pydantic import AfterValidator, BaseModel, StringConstraints
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from restaurant_system.models.access import (
    MAX_NAME_LENGTH,
    MAX_PASSWORD_LENGTH,
    Caller,
    Capability,
    CredentialKind,
    Role,
    clean_name,
)
from restaurant_system.models.order import StrictModel
from restaurant_system.services.access.sign_in import SignIn
from restaurant_system.web.access_checks import CLIENT
from restaurant_system.web.access_control import (
    ACCESS_CONTROL,
    COOKIE_NAME,
    SIGN_IN,
    TLS_COOKIE_NAME,
    credential_in,
    identify,
)
from restaurant_system.web.api import Feature
from restaurant_system.web.guarded_router import PUBLIC, GuardedRouter
from restaurant_system.web.json_body import JSON, read_json
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

    name: Annotated[
        str,
        StringConstraints(min_length=1, max_length=MAX_NAME_LENGTH),
        AfterValidator(clean_name),
    ]
    password: Annotated[
        str,
        StringConstraints(strip_whitespace=False, min_length=1, max_length=MAX_PASSWORD_LENGTH),
    ]


class SessionResponse(BaseModel):
    """Who calls, null without a session, and what the caller may do."""

    name: str | None
    role: Role | None
    capabilities: list[Capability]


class SessionHandler:
    """Opens and ends the sessions of people; a session is a cookie."""

    def __init__(self, sign_in: SignIn) -> None:
        self._sign_in = sign_in
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
        body = read_json(request.headers.raw, await request.body(), NameAndPassword)
        async with self._limit:
            signed_in = await self._sign_in.sign_in(
                body.name,
                body.password,
                request.scope[CLIENT],
                request_id=request.scope["request_id"],
            )
        await self._end_session(request)
        response = _response(signed_in.caller)
        is_tls = request.url.scheme == "https"
        response.set_cookie(
            TLS_COOKIE_NAME if is_tls else COOKIE_NAME,
            signed_in.token,
            max_age=int(self._sign_in.session_lifetime.total_seconds()),
            secure=is_tls,
            httponly=True,
            samesite="lax",
        )
        return response

    async def show(self, request: Request) -> Response:
        """Return who calls, and what the caller may do."""
        return _response(await identify(request.scope))

    async def end(self, request: Request) -> Response:
        """End the session, if there is one."""
        response = Response(status_code=HTTPStatus.NO_CONTENT)
        await self._end_session(request)
        _delete_cookies(response)
        return response

    async def end_and_redirect(self, request: Request) -> Response:
        """End the session, and show the sign-in page."""
        response = RedirectResponse(SIGN_IN, HTTPStatus.SEE_OTHER)
        await self._end_session(request)
        _delete_cookies(response)
        return response

    async def _end_session(self, request: Request) -> None:
        credential = credential_in(request.headers.raw)
        if credential is None or credential.kind is not CredentialKind.SESSION:
            return
        await self._sign_in.sign_out(
            credential, request.scope[CLIENT], request_id=request.scope["request_id"]
        )
        control = request.scope[ACCESS_CONTROL]
        if control is not None:
            control.forget(credential)


def _response(caller: Caller) -> Response:
    session = SessionResponse(
        name=caller.name, role=caller.role, capabilities=sorted(caller.capabilities)
    )
    return Response(session.model_dump_json(), media_type=JSON)


def _delete_cookies(response: Response) -> None:
    response.delete_cookie(COOKIE_NAME, httponly=True, samesite="lax")
    # A browser ignores a cookie with this name that is not secure.
    response.delete_cookie(TLS_COOKIE_NAME, secure=True, httponly=True, samesite="lax")
