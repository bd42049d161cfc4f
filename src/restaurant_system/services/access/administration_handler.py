"""The HTTP routes by which managers administer users and API keys.

Users and keys are named in bodies, never in paths, because paths are logged.
"""

from http import HTTPStatus
from typing import Annotated

from pydantic import (
    AfterValidator,
    BaseModel,
    Field,
    PlainValidator,
    StringConstraints,
    WithJsonSchema,
)
from starlette.requests import Request
from starlette.responses import Response

from restaurant_system.database.connection import Database
from restaurant_system.error_texts import ErrorText
from restaurant_system.errors import NotAllowed
from restaurant_system.models.access import (
    MAX_PASSWORD_LENGTH,
    MIN_PASSWORD_LENGTH,
    SCOPES,
    Capability,
    Credential,
    Role,
    clean_password,
    new_password,
)
from restaurant_system.models.fields import StrictModel, invalid_value
from restaurant_system.services.access.administration import ApiKeys, Users
from restaurant_system.services.access.passwords import Passwords
from restaurant_system.services.access.request_fields import Name, Time
from restaurant_system.web.access_control import credential_in, is_controlled
from restaurant_system.web.actors import administrator_of
from restaurant_system.web.api import Feature
from restaurant_system.web.guarded_router import GuardedRouter
from restaurant_system.web.json_body import read_body
from restaurant_system.web.openapi import (
    ADD_PROBLEMS,
    CHANGE_PROBLEMS,
    DISABLE_USER_PROBLEMS,
    PROBLEMS,
    request_body,
)
from restaurant_system.web.request_checks import ConcurrencyLimit

MAX_CONCURRENT = 4  # passwords that are set; each takes a core for a tenth of a second


def _scope(value: object) -> Capability:
    for scope in SCOPES:
        if scope == value:
            return scope
    raise invalid_value(ErrorText(f"must be one of {', '.join(SCOPES)}", "scope_unknown"))


NewPassword = Annotated[
    str,
    StringConstraints(strip_whitespace=False, max_length=MAX_PASSWORD_LENGTH),
    AfterValidator(clean_password),
    Field(
        examples=["correct horse battery"],
        json_schema_extra={"format": "password", "minLength": MIN_PASSWORD_LENGTH},
    ),
]
Scope = Annotated[Capability, WithJsonSchema({"type": "string", "enum": [*SCOPES]})]
UserName = Annotated[Name, Field(examples=["Anna"])]
KeyName = Annotated[Name, Field(examples=["Till 3"])]
Scopes = Annotated[
    list[Annotated[Scope, PlainValidator(_scope)]],
    Field(min_length=1, max_length=len(SCOPES), examples=[["place_orders", "read_orders"]]),
]


class NewUser(StrictModel):
    """A person who may sign in; a password is generated if there is none."""

    name: UserName
    role: Annotated[Role, Field(strict=False)]
    password: NewPassword | None = None


class UserReset(StrictModel):
    """The name of a user, and a new password; one is generated if there is none."""

    name: UserName
    password: NewPassword | None = None


class NamedUser(StrictModel):
    """The name of a user, in upper or lower case."""

    name: UserName


class NewKey(StrictModel):
    """A program that may call, and what it may do."""

    name: KeyName
    scopes: Scopes


class NamedKey(StrictModel):
    """The name of an API key, in upper or lower case."""

    name: KeyName


class UserResponse(BaseModel):
    """A person who may sign in, unless disabled."""

    name: str
    role: Role
    created_at: Time
    disabled_at: Time | None
    has_pin: bool


class UsersResponse(BaseModel):
    """All users by name."""

    users: list[UserResponse]


class PasswordResponse(BaseModel):
    """A user with a new password: it is shown once if it was generated, else null."""

    name: Annotated[str, Field(examples=["Anna"])]
    password: Annotated[str | None, Field(examples=["abcd-efgh-jkmn-pqrs"])]


class KeyResponse(BaseModel):
    """A program that may call, unless its key is disabled."""

    name: str
    scopes: list[Scope]
    created_at: Time
    disabled_at: Time | None


class KeysResponse(BaseModel):
    """All API keys by name; the keys themselves are not stored."""

    api_keys: list[KeyResponse]


class SecretKeyResponse(BaseModel):
    """An API key, shown once; it is sent as `Authorization: Bearer KEY`."""

    key: Annotated[str, Field(examples=["rsk_…"])]


class AdministrationHandler:
    """Adds, lists, disables and resets users and API keys for managers."""

    def __init__(self, database: Database, passwords: Passwords) -> None:
        self._database = database
        self._passwords = passwords
        self._limit = ConcurrencyLimit(MAX_CONCURRENT)

    def feature(self) -> Feature:
        """Return the routes of users and API keys."""
        router = GuardedRouter(tags=["users and API keys"])
        self._add_routes_of_users(router)
        self._add_routes_of_keys(router)
        return Feature(router)

    def _add_routes_of_users(self, router: GuardedRouter) -> None:
        router.add_api_route(
            "/users",
            self.list_users,
            methods=["GET"],
            requires=Capability.ADMINISTER,
            summary="All users",
            operation_id="users",
            responses=PROBLEMS,
        )
        router.add_api_route(
            "/users",
            self.add_user,
            methods=["POST"],
            requires=Capability.ADMINISTER,
            status_code=HTTPStatus.CREATED,
            summary="Add a user",
            operation_id="add_user",
            responses=ADD_PROBLEMS,
            openapi_extra=request_body(NewUser),
        )
        router.add_api_route(
            "/users/disable",
            self.disable_user,
            methods=["POST"],
            requires=Capability.ADMINISTER,
            status_code=HTTPStatus.NO_CONTENT,
            summary="Disable a user, and end the user's sessions",
            operation_id="disable_user",
            responses=DISABLE_USER_PROBLEMS,
            openapi_extra=request_body(NamedUser),
        )
        router.add_api_route(
            "/users/reset",
            self.reset_user,
            methods=["POST"],
            requires=Capability.ADMINISTER,
            summary="Give a user a new password and no PIN; end sessions, and that it is disabled",
            operation_id="reset_user",
            responses=CHANGE_PROBLEMS,
            openapi_extra=request_body(UserReset),
        )

    def _add_routes_of_keys(self, router: GuardedRouter) -> None:
        router.add_api_route(
            "/api-keys",
            self.list_keys,
            methods=["GET"],
            requires=Capability.ADMINISTER,
            summary="All API keys",
            operation_id="api_keys",
            responses=PROBLEMS,
        )
        router.add_api_route(
            "/api-keys",
            self.add_key,
            methods=["POST"],
            requires=Capability.ADMINISTER,
            status_code=HTTPStatus.CREATED,
            summary="Add an API key",
            operation_id="add_api_key",
            responses=ADD_PROBLEMS,
            openapi_extra=request_body(NewKey),
        )
        router.add_api_route(
            "/api-keys/disable",
            self.disable_key,
            methods=["POST"],
            requires=Capability.ADMINISTER,
            status_code=HTTPStatus.NO_CONTENT,
            summary="Disable an API key",
            operation_id="disable_api_key",
            responses=CHANGE_PROBLEMS,
            openapi_extra=request_body(NamedKey),
        )
        router.add_api_route(
            "/api-keys/reset",
            self.reset_key,
            methods=["POST"],
            requires=Capability.ADMINISTER,
            summary="Replace an API key, and enable it",
            operation_id="reset_api_key",
            responses=CHANGE_PROBLEMS,
            openapi_extra=request_body(NamedKey),
        )

    async def list_users(self) -> UsersResponse:
        """Return all users."""
        found = [
            UserResponse(
                name=user.name,
                role=user.role,
                created_at=user.created_at,
                disabled_at=user.disabled_at,
                has_pin=user.pin_hash is not None,
            )
            for user in await Users(self._database, self._passwords).list()
        ]
        return UsersResponse(users=found)

    async def add_user(self, request: Request) -> PasswordResponse:
        """Add a user."""
        users = self._users(request)
        body = await read_body(request, NewUser)
        password = body.password or new_password()
        async with self._limit:
            name = await users.add(body.name, body.role, password)
        return PasswordResponse(name=name, password=None if body.password else password)

    async def disable_user(self, request: Request) -> Response:
        """Disable a user, but not the last manager: no manager could undo it over HTTP."""
        users = self._users(request)
        body = await read_body(request, NamedUser)
        await users.disable(body.name, keep_a_manager=True)
        return Response(status_code=HTTPStatus.NO_CONTENT)

    async def reset_user(self, request: Request) -> PasswordResponse:
        """Give a user a new password."""
        users = self._users(request)
        body = await read_body(request, UserReset)
        password = body.password or new_password()
        async with self._limit:
            name = await users.reset(body.name, password)
        return PasswordResponse(name=name, password=None if body.password else password)

    async def list_keys(self) -> KeysResponse:
        """Return all API keys."""
        found = [
            KeyResponse(
                name=key.name,
                scopes=[*key.scopes],
                created_at=key.created_at,
                disabled_at=key.disabled_at,
            )
            for key in await ApiKeys(self._database).list()
        ]
        return KeysResponse(api_keys=found)

    async def add_key(self, request: Request) -> SecretKeyResponse:
        """Add an API key."""
        keys = self._keys(request)
        body = await read_body(request, NewKey)
        scopes = list(dict.fromkeys(body.scopes))
        return SecretKeyResponse(key=await keys.add(body.name, scopes))

    async def disable_key(self, request: Request) -> Response:
        """Disable an API key."""
        keys = self._keys(request)
        body = await read_body(request, NamedKey)
        await keys.disable(body.name)
        return Response(status_code=HTTPStatus.NO_CONTENT)

    async def reset_key(self, request: Request) -> SecretKeyResponse:
        """Replace an API key."""
        keys = self._keys(request)
        body = await read_body(request, NamedKey)
        return SecretKeyResponse(key=await keys.reset(body.name))

    def _users(self, request: Request) -> Users:
        return Users(
            self._database,
            self._passwords,
            by=administrator_of(request),
            request_id=request.scope["request_id"],
            credential=_credential_of_administrator(request),
        )

    def _keys(self, request: Request) -> ApiKeys:
        return ApiKeys(
            self._database,
            by=administrator_of(request),
            request_id=request.scope["request_id"],
            credential=_credential_of_administrator(request),
        )


def _credential_of_administrator(request: Request) -> Credential:
    """Return the session or the key of the caller, which must be known to change who may call.

    Else everybody who reaches a service without access control could prepare for the day when
    access is controlled.
    """
    credential = credential_in(request.headers.raw)
    if credential is None or not is_controlled(request):
        raise NotAllowed(
            "This service does not know who calls; use the commands `users` and `api-keys` on its"
            " machine."
        )
    return credential
