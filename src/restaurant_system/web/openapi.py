"""Document for OpenAPI what FastAPI does not see: bodies, error responses, and who may call."""

import functools
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, cast

from fastapi.routing import APIRoute
from pydantic import BaseModel, JsonValue
from starlette.routing import BaseRoute

from restaurant_system.error_texts import FIELD_CODES, PROBLEM_CODES
from restaurant_system.models.access import EVERYONE, UNGUARDED, Capability
from restaurant_system.web import cookies
from restaurant_system.web.access_control import AccessControl, GuardedRoute
from restaurant_system.web.json_body import JSON
from restaurant_system.web.origins import SAFE_METHODS
from restaurant_system.web.problem import MEDIA_TYPE
from restaurant_system.web.validation_errors import MAX_FIELD_ERRORS, MAX_FIELD_LENGTH


def _code(codes: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Return the schema of a code; the list of codes may grow, so it is no enumeration."""
    described = (
        f"`{code}` ({', '.join(params)})" if params else f"`{code}`"
        for code, params in sorted(codes.items())
    )
    return {
        "type": "string",
        "description": "What is wrong, with the names of its `params`; later versions may add codes"
        f" and change sentences, but keep these codes: {', '.join(described)}",
    }


_PARAMS = {
    "type": "object",
    "description": "The values in the sentence, by name",
    "additionalProperties": {"type": ["string", "number"]},
}
PROBLEM = {
    "type": "object",
    "required": ["type", "title", "status", "detail", "request_id"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "request_id": {"type": "string"},
        "current_status": {"type": "string"},
        "handed_over": {"type": "boolean"},
        "processed_by": {"type": ["string", "null"]},
        "code": _code(PROBLEM_CODES),
        "params": _PARAMS,
        "errors": {
            "type": "array",
            "maxItems": MAX_FIELD_ERRORS,
            "description": "The first errors; `detail` says how many more there are",
            "items": {
                "type": "object",
                "required": ["field", "message"],
                "properties": {
                    "field": {"type": "string", "maxLength": MAX_FIELD_LENGTH},
                    "message": {"type": "string"},
                    "code": _code(FIELD_CODES),
                    "params": _PARAMS,
                },
            },
        },
    },
}


def _problem_response(description: str) -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/Problem"}
    return {"description": description, "content": {MEDIA_TYPE: {"schema": schema}}}


Responses = dict[int | str, dict[str, Any]]

PROBLEMS: Responses = {
    400: _problem_response("The request is invalid; the errors are listed"),
    404: _problem_response("There is no such order, or no such path"),
    405: _problem_response("The path does not support the method"),
    413: _problem_response("The body is too large"),
    421: _problem_response("The host name is not served here"),
    503: _problem_response(
        "The database is unavailable, or too many requests are in progress; try again"
    ),
    "4XX": _problem_response("The request is refused"),
    "5XX": _problem_response("An internal error"),
}
BODY_PROBLEMS: Responses = {
    415: _problem_response("The body has an unsupported content type"),
    **PROBLEMS,
}
MOVE_PROBLEMS: Responses = {
    409: _problem_response("The order's status does not allow the change"),
    **BODY_PROBLEMS,
}
OPEN_PROBLEMS: Responses = {
    409: _problem_response("The maximum number of stations is open"),
    **BODY_PROBLEMS,
}
SIGN_IN_PROBLEMS: Responses = {
    401: _problem_response("The name or the password is wrong"),
    429: _problem_response("Too many wrong passwords; try again after the time in Retry-After"),
    **BODY_PROBLEMS,
}
PIN_PROBLEMS: Responses = {
    **BODY_PROBLEMS,
    401: _problem_response("The device is not enrolled, or the name or the PIN is wrong"),
    403: _problem_response("Too many wrong PINs of this person: the password is needed"),
    429: _problem_response("Too many wrong PINs on this device; try again after Retry-After"),
}
ENROL_PROBLEMS: Responses = {
    409: _problem_response("Another device has this name"),
    **BODY_PROBLEMS,
}
ADD_PROBLEMS: Responses = {
    409: _problem_response("The name is taken"),
    **BODY_PROBLEMS,
}
CHANGE_PROBLEMS: Responses = {
    **BODY_PROBLEMS,
    404: _problem_response("No user or API key has this name"),
}
DISABLE_USER_PROBLEMS: Responses = {
    409: _problem_response("This is the last manager"),
    **CHANGE_PROBLEMS,
}
DEAD_LETTER_PROBLEMS: Responses = {
    **BODY_PROBLEMS,
    404: _problem_response("There is no such dead letter"),
    409: _problem_response(
        "Another command or request uses the dead letters, they are too many for a request, or the"
        " dead letter cannot be requeued; the detail says which"
    ),
    503: _problem_response("The database or the broker is unavailable; try again"),
}
PRIVACY_PROBLEMS: Responses = {
    **DEAD_LETTER_PROBLEMS,
    404: _problem_response("There is no such order"),
    409: _problem_response(
        "An order has another name or phone, there are too many orders or dead letters for a"
        " request, another command or request uses the dead letters, or the database refuses to"
        " erase; the detail says which"
    ),
}
PLATFORM_PROBLEMS: Responses = {
    **BODY_PROBLEMS,
    401: _problem_response("The signature is missing, wrong, or too old"),
    404: _problem_response("No platform with this name is configured"),
    409: _problem_response(
        "The order is known with other contents, was cancelled before it arrived, or its status"
        " does not allow to cancel it"
    ),
}
PLACE_PROBLEMS: Responses = {
    409: _problem_response(
        "The order was cancelled before it arrived, or another one has its external_id"
    ),
    422: _problem_response("The Idempotency-Key was used for another order"),
    **BODY_PROBLEMS,
}


API_KEY, SESSION = "api_key", "session"
SECURITY_SCHEMES = {
    API_KEY: {
        "type": "http",
        "scheme": "bearer",
        "description": "The API key of a program, whose scopes allow what an operation requires",
    },
    SESSION: {
        "type": "apiKey",
        "in": "cookie",
        "name": cookies.SESSION,
        "description": "The session of a person, whose role allows what an operation requires;"
        f" POST /session sets the cookie, over TLS as {cookies.TLS_PREFIX}{cookies.SESSION}",
    },
}
NO_SCHEMES: Mapping[str, Any] = MappingProxyType({})
NOT_SIGNED_IN = _problem_response(
    "The request needs an API key or a session, or its API key is invalid"
)
NOT_ALLOWED = _problem_response(
    "The caller may not do this, or a page of another origin has sent the request"
)
LIMITED = _problem_response(
    "This address sends too many requests; `Retry-After` says when to retry"
)


def document_access(
    document: dict[str, Any],
    routes: Iterable[BaseRoute],
    control: AccessControl | None,
    schemes: Mapping[str, Any] = NO_SCHEMES,
) -> None:
    """Add to each operation what its guard requires, and how a caller is refused.

    An operation that needs no credentials, but has more for some callers, has them as an option.
    Without access control they are options everywhere. `schemes` are those of operations that
    check credentials of their own. The schema of problems is added, to which all responses refer.
    """
    components = document.setdefault("components", {})
    components["securitySchemes"] = {**SECURITY_SCHEMES, **schemes}
    components.setdefault("schemas", {})["Problem"] = PROBLEM
    for route in routes:
        if isinstance(route, APIRoute) and route.include_in_schema:
            guarded = cast("GuardedRoute", route.app)
            for method in route.methods or ():
                operation = document["paths"][route.path_format][method.lower()]
                _document_guard(operation, method, guarded.requires, control)


def _document_guard(
    operation: dict[str, Any],
    method: str,
    requires: Capability | None,
    control: AccessControl | None,
) -> None:
    """Document the guard of one operation; what is documented already stays."""
    anonymous = UNGUARDED if control is None else control.anonymous
    responses = operation["responses"]
    if "security" in operation:
        responses.setdefault("401", NOT_SIGNED_IN)
    elif requires is None:
        operation["security"] = []
    else:
        scopes = [] if requires in EVERYONE else [requires]
        operation["security"] = [{API_KEY: scopes}, {SESSION: scopes}]
        if anonymous.may(requires):
            operation["security"].insert(0, {})
        if control is not None:
            responses.setdefault("401", NOT_SIGNED_IN)
    is_refused = control is not None and requires is not None and requires not in EVERYONE
    if is_refused or method not in SAFE_METHODS:
        responses.setdefault("403", NOT_ALLOWED)
    responses.setdefault("429", LIMITED)


def link_to(
    operation_id: str, order_number: str = "$response.body#/order_number"
) -> dict[str, Any]:
    """Document a link to an operation on the order whose number is in the response."""
    return {"operationId": operation_id, "parameters": {"order_number": order_number}}


def for_people(requires: Capability | None = None) -> dict[str, Any]:
    """Document an operation that programs cannot call, whatever the scopes of their keys."""
    return {"security": [{SESSION: [] if requires is None else [requires]}]}


def request_body(
    model: type[BaseModel],
    *,
    required: bool = True,
    examples: Mapping[str, JsonValue] | None = None,
) -> dict[str, Any]:
    """Document a body that the endpoint parses itself, with examples by name."""
    media: dict[str, Any] = {"schema": _schema_of(model)}
    if examples is not None:
        media["examples"] = examples
    return {"requestBody": {"required": required, "content": {JSON: media}}}


@functools.cache
def _schema_of(model: type[BaseModel]) -> JsonValue:
    """Return the JSON Schema of a model without references; several services have the same."""
    schema = model.model_json_schema()
    definitions = schema.pop("$defs", {})
    return _inline(schema, definitions)


def header_parameter(
    name: str, description: str, schema: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Document a header that the endpoint reads itself."""
    schema = schema or {"type": "string"}
    return {"name": name, "in": "header", "description": description, "schema": schema}


def _inline(
    schema: JsonValue, definitions: Mapping[str, JsonValue], within: tuple[str, ...] = ()
) -> JsonValue:
    """Replace the references in a JSON Schema by their definitions.

    `within` are the names of the definitions around it. One that is recursive is not repeated.
    """
    if isinstance(schema, list):
        return [_inline(part, definitions, within) for part in schema]
    if not isinstance(schema, dict):
        return schema
    reference = schema.get("$ref")
    if isinstance(reference, str):
        name = reference.rsplit("/", 1)[-1]
        if name in within:
            return {"type": "object", "description": f"A {name}, like the one that contains it"}
        return _inline(definitions[name], definitions, (*within, name))
    return {key: _inline(value, definitions, within) for key, value in schema.items()}
