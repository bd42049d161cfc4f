"""Keep the session of a browser in a cookie."""

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from restaurant_system.models.access import Caller, Capability, CredentialKind, Role
from restaurant_system.services.access.sign_in import SignedIn, SignIn
from restaurant_system.web.access_checks import CLIENT
from restaurant_system.web.access_control import ACCESS_CONTROL, credential_in
from restaurant_system.web.cookies import SESSION, delete_cookie, set_cookie
from restaurant_system.web.json_body import JSON


class SessionResponse(BaseModel):
    """Who calls, null without a session, and what the caller may do.

    `device` is the name of the device on which the person has signed in with a PIN, else null.
    """

    name: str | None
    role: Role | None
    capabilities: list[Capability]
    device: str | None


class BrowserSessions:
    """Starts and ends the session of the browser that sends a request."""

    def __init__(self, sign_in: SignIn) -> None:
        self._sign_in = sign_in

    async def start(self, request: Request, signed_in: SignedIn) -> Response:
        """Return a response with a new session, in place of the one that the browser has."""
        await self._end(request)
        response = describe(signed_in.caller)
        lifetime = signed_in.lifetime.total_seconds()
        set_cookie(response, request, SESSION, signed_in.token, max_age=lifetime)
        return response

    async def end(self, request: Request, response: Response) -> Response:
        """End the session, if there is one; return a response that deletes the cookie."""
        await self._end(request)
        delete_cookie(response, SESSION)
        return response

    async def _end(self, request: Request) -> None:
        credential = credential_in(request.headers.raw)
        if credential is None or credential.kind is not CredentialKind.SESSION:
            return
        await self._sign_in.sign_out(
            credential, request.scope[CLIENT], request_id=request.scope["request_id"]
        )
        control = request.scope[ACCESS_CONTROL]
        if control is not None:
            control.forget(credential)


def describe(caller: Caller) -> Response:
    """Return who calls, and what the caller may do."""
    session = SessionResponse(
        name=caller.name,
        role=caller.role,
        capabilities=sorted(caller.capabilities),
        device=caller.device,
    )
    return Response(session.model_dump_json(), media_type=JSON)
