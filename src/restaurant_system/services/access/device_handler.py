"""The HTTP routes of enrolled devices, of signing in with a PIN on them, and of PINs."""

from datetime import timedelta
from http import HTTPStatus
from typing import Annotated

from fastapi import Path
from pydantic import AfterValidator, BaseModel, StringConstraints
from starlette.requests import Request
from starlette.responses import Response

from restaurant_system.database.connection import Database
from restaurant_system.database.devices import Device
from restaurant_system.errors import NotAllowed, NotSignedIn
from restaurant_system.models.access import (
    MAX_PIN_LENGTH,
    Caller,
    Capability,
    Role,
    clean_pin,
)
from restaurant_system.models.audit import Actor
from restaurant_system.models.fields import StrictModel
from restaurant_system.services.access.administration import Devices, Users
from restaurant_system.services.access.browser_sessions import BrowserSessions, SessionResponse
from restaurant_system.services.access.passwords import Passwords
from restaurant_system.services.access.pins import Pins
from restaurant_system.services.access.request_fields import Name, Time
from restaurant_system.services.access.sign_in import SignIn
from restaurant_system.web.access_checks import CLIENT
from restaurant_system.web.access_control import caller_of, credential_in, identify
from restaurant_system.web.api import Feature
from restaurant_system.web.cookies import DEVICE, cookie_in, set_cookie
from restaurant_system.web.guarded_router import PUBLIC, GuardedRouter
from restaurant_system.web.json_body import read_body
from restaurant_system.web.openapi import (
    BODY_PROBLEMS,
    ENROL_PROBLEMS,
    PIN_PROBLEMS,
    PROBLEMS,
    for_people,
    request_body,
)
from restaurant_system.web.request_checks import ConcurrencyLimit

MAX_CONCURRENT = 4  # PINs that are verified or set; each takes a core for a tenth of a second
LAST_ID = 2**63 - 1  # of a bigint
# The longest that browsers keep a cookie; each use of the device renews it.
TOKEN_LIFETIME = timedelta(days=400)

Pin = Annotated[str, StringConstraints(max_length=MAX_PIN_LENGTH), AfterValidator(clean_pin)]


class NameAndPin(StrictModel):
    """The body that opens a session on a device."""

    name: Name
    pin: Annotated[str, StringConstraints(min_length=1, max_length=MAX_PIN_LENGTH)]


class NewPin(StrictModel):
    """A PIN, or null to remove it."""

    pin: Pin | None


class NewPinOfUser(NewPin):
    """A PIN of the user with this name."""

    name: Name


class NewDevice(StrictModel):
    """The body that enrols the device that sends it."""

    name: Name


class ThisDeviceResponse(BaseModel):
    """The device that calls, null if it is not enrolled, and the people who have a PIN."""

    name: str | None
    people: list[str]


class DeviceResponse(BaseModel):
    """An enrolled device; `is_this` if it is the one that calls."""

    id: int
    name: str
    enrolled_at: Time
    last_used_at: Time | None
    is_this: bool


class DevicesResponse(BaseModel):
    """All enrolled devices by name."""

    devices: list[DeviceResponse]


class PinUserResponse(BaseModel):
    """A person who may sign in; `is_refused` after too many wrong PINs."""

    name: str
    role: Role
    has_pin: bool
    is_refused: bool


class PinsResponse(BaseModel):
    """All people who may sign in, by name."""

    people: list[PinUserResponse]


class DeviceHandler:
    """Enrols devices, signs people in on them with a PIN, and sets PINs."""

    def __init__(
        self, database: Database, passwords: Passwords, sign_in: SignIn, pins: Pins
    ) -> None:
        self._database = database
        self._passwords = passwords
        self._sessions = BrowserSessions(sign_in)
        self._pins = pins
        self._devices = Devices(database)
        self._limit = ConcurrencyLimit(MAX_CONCURRENT)

    def feature(self) -> Feature:
        """Return the routes of devices and PINs."""
        router = GuardedRouter(tags=["devices"])
        self._add_routes_of_this_device(router)
        self._add_routes_of_managers(router)
        return Feature(router)

    def _add_routes_of_this_device(self, router: GuardedRouter) -> None:
        router.add_api_route(
            "/device",
            self.show,
            methods=["GET"],
            requires=PUBLIC,
            summary="The device that calls, and who may sign in with a PIN on it",
            operation_id="device",
            responses=PROBLEMS,
        )
        router.add_api_route(
            "/device/session",
            self.open,
            methods=["POST"],
            requires=PUBLIC,
            response_model=SessionResponse,
            summary="Sign in with a PIN, on an enrolled device",
            operation_id="sign_in_with_pin",
            responses=PIN_PROBLEMS,
            openapi_extra=request_body(NameAndPin),
        )
        router.add_api_route(
            "/session/pin",
            self.set_own_pin,
            methods=["PUT"],
            requires=PUBLIC,
            status_code=HTTPStatus.NO_CONTENT,
            summary="Set the own PIN, after signing in with the password",
            operation_id="set_own_pin",
            responses=BODY_PROBLEMS,
            openapi_extra=request_body(NewPin) | for_people(),
        )

    def _add_routes_of_managers(self, router: GuardedRouter) -> None:
        router.add_api_route(
            "/devices",
            self.enrol,
            methods=["POST"],
            requires=Capability.ADMINISTER,
            status_code=HTTPStatus.NO_CONTENT,
            summary="Enrol the device that calls, and sign the manager out of it",
            operation_id="enrol_device",
            responses=ENROL_PROBLEMS,
            openapi_extra=request_body(NewDevice) | for_people(Capability.ADMINISTER),
        )
        router.add_api_route(
            "/devices",
            self.list_devices,
            methods=["GET"],
            requires=Capability.ADMINISTER,
            summary="All enrolled devices",
            operation_id="devices",
            responses=PROBLEMS,
        )
        router.add_api_route(
            "/devices/{device_id}",
            self.remove,
            methods=["DELETE"],
            requires=Capability.ADMINISTER,
            status_code=HTTPStatus.NO_CONTENT,
            summary="Remove a device, and end the sessions on it",
            operation_id="remove_device",
            responses=PROBLEMS,
        )
        router.add_api_route(
            "/pins",
            self.list_pins,
            methods=["GET"],
            requires=Capability.ADMINISTER,
            summary="Who has a PIN",
            operation_id="pins",
            responses=PROBLEMS,
        )
        router.add_api_route(
            "/pins",
            self.set_pin,
            methods=["PUT"],
            requires=Capability.ADMINISTER,
            status_code=HTTPStatus.NO_CONTENT,
            summary="Set the PIN of a user",
            operation_id="set_pin",
            responses=BODY_PROBLEMS,
            openapi_extra=request_body(NewPinOfUser),
        )

    async def show(self, request: Request) -> ThisDeviceResponse:
        """Return the device that calls; staff are named to enrolled devices only."""
        device = await self._device(request)
        if device is None:
            return ThisDeviceResponse(name=None, people=[])
        people = [user.name for user in await self._pins.people() if user.pin_hash is not None]
        return ThisDeviceResponse(name=device.name, people=people)

    async def open(self, request: Request) -> Response:
        """Open a session with a PIN, in place of the one that the browser has."""
        body = await read_body(request, NameAndPin)
        device = await self._device(request)
        async with self._limit:
            signed_in = await self._pins.sign_in(
                device,
                body.name,
                body.pin,
                request.scope[CLIENT],
                request_id=request.scope["request_id"],
            )
        response = await self._sessions.start(request, signed_in)
        token = cookie_in(request.headers.raw, DEVICE) or b""
        _set_device_cookie(response, request, token.decode("ascii"))
        return response

    async def set_own_pin(self, request: Request) -> Response:
        """Set the PIN of the person who calls."""
        caller = await identify(request.scope)
        if caller.name is None:
            raise NotSignedIn
        if caller.role is None:
            raise NotAllowed("A program has no PIN; people sign in at /sign-in.")
        if caller.device is not None:
            raise NotAllowed("Sign in with the password to set the PIN; a PIN does not suffice.")
        body = await read_body(request, NewPin)
        return await self._set_pin(request, caller, caller.name, body.pin)

    async def enrol(self, request: Request) -> Response:
        """Enrol the device whose browser sends the request."""
        caller, session = caller_of(request), credential_in(request.headers.raw)
        if caller.role is None or session is None:
            raise NotAllowed("Enrol a device in its own browser, signed in there as a manager.")
        body = await read_body(request, NewDevice)
        token = await self._administer_devices(request).enrol(
            body.name, session=session, previous=await self._device(request)
        )
        response = Response(status_code=HTTPStatus.NO_CONTENT)
        _set_device_cookie(response, request, token)
        return await self._sessions.end(request, response)

    async def list_devices(self, request: Request) -> DevicesResponse:
        """Return all enrolled devices."""
        this = await self._device(request)
        found = [
            DeviceResponse(
                id=each.id,
                name=each.name,
                enrolled_at=each.enrolled_at,
                last_used_at=each.last_used_at,
                is_this=this is not None and each.id == this.id,
            )
            for each in await self._devices.list()
        ]
        return DevicesResponse(devices=found)

    async def remove(
        self, request: Request, device_id: Annotated[int, Path(ge=1, le=LAST_ID)]
    ) -> Response:
        """Remove a device."""
        await self._administer_devices(request).remove(device_id)
        return Response(status_code=HTTPStatus.NO_CONTENT)

    async def list_pins(self) -> PinsResponse:
        """Return who has a PIN."""
        people = [
            PinUserResponse(
                name=user.name,
                role=user.role,
                has_pin=user.pin_hash is not None,
                is_refused=self._pins.is_refused(user),
            )
            for user in await self._pins.people()
        ]
        return PinsResponse(people=people)

    async def set_pin(self, request: Request) -> Response:
        """Set the PIN of a user."""
        body = await read_body(request, NewPinOfUser)
        return await self._set_pin(request, caller_of(request), body.name, body.pin)

    async def _set_pin(self, request: Request, by: Caller, name: str, pin: str | None) -> Response:
        users = Users(
            self._database,
            self._passwords,
            by=_actor(request, by),
            request_id=request.scope["request_id"],
            credential=None if by.name is None else credential_in(request.headers.raw),
        )
        async with self._limit:
            await users.set_pin(name, pin)
        return Response(status_code=HTTPStatus.NO_CONTENT)

    async def _device(self, request: Request) -> Device | None:
        token = cookie_in(request.headers.raw, DEVICE)
        return None if token is None else await self._devices.find(token)

    def _administer_devices(self, request: Request) -> Devices:
        by = _actor(request, caller_of(request))
        return Devices(self._database, by=by, request_id=request.scope["request_id"])


def _actor(request: Request, caller: Caller) -> Actor:
    return Actor(caller.name, caller.role, request.scope[CLIENT])


def _set_device_cookie(response: Response, request: Request, token: str) -> None:
    set_cookie(response, request, DEVICE, token, max_age=TOKEN_LIFETIME.total_seconds())
