"""What FastAPI cannot see by itself: bodies that we read, and errors that we answer."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, JsonValue

from restaurant_system.web.body import JSON
from restaurant_system.web.problem import MEDIA_TYPE
from restaurant_system.web.validation_errors import MAX_FIELD_ERRORS, MAX_FIELD_LENGTH

_PROBLEM = {
    "type": "object",
    "required": ["type", "title", "status", "detail", "request_id"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "request_id": {"type": "string"},
        "current_status": {"type": "string"},
        "processed_by": {"type": ["string", "null"]},
        "errors": {
            "type": "array",
            "maxItems": MAX_FIELD_ERRORS,
            "description": "The first faults; `detail` says how many more there are",
            "items": {
                "type": "object",
                "required": ["field", "message"],
                "properties": {
                    "field": {"type": "string", "maxLength": MAX_FIELD_LENGTH},
                    "message": {"type": "string"},
                },
            },
        },
    },
}


def _answer(description: str) -> dict[str, Any]:
    return {"description": description, "content": {MEDIA_TYPE: {"schema": _PROBLEM}}}


Responses = dict[int | str, dict[str, Any]]

PROBLEMS: Responses = {
    400: _answer("The request breaks a rule; each fault is listed"),
    404: _answer("There is no such order, or nothing at this address"),
    405: _answer("This address does not take that method"),
    413: _answer("The body is too large"),
    503: _answer("The database is away, or too much is under way; try again"),
    "4XX": _answer("The request cannot be served as it stands"),
    "5XX": _answer("Something went wrong on our side"),
}
BODY_PROBLEMS: Responses = {415: _answer("The body is of another content type"), **PROBLEMS}
MOVE_PROBLEMS: Responses = {
    409: _answer("The order cannot move there from where it stands"),
    **BODY_PROBLEMS,
}
OPEN_PROBLEMS: Responses = {
    403: _answer("A page of another site asks for it"),
    409: _answer("As many stations are open as are allowed"),
    **BODY_PROBLEMS,
}
PLACE_PROBLEMS: Responses = {
    422: _answer("The Idempotency-Key was used for another order"),
    **BODY_PROBLEMS,
}


def link_to(
    operation_id: str, order_number: str = "$response.body#/order_number"
) -> dict[str, Any]:
    """Document what may be asked next about an order whose number stands in an answer."""
    return {"operationId": operation_id, "parameters": {"order_number": order_number}}


def request_body(model: type[BaseModel], *, required: bool = True) -> dict[str, Any]:
    """Document a body that the endpoint reads by itself."""
    schema = model.model_json_schema()
    definitions = schema.pop("$defs", {})
    content = {JSON: {"schema": _inline(schema, definitions)}}
    return {"requestBody": {"required": required, "content": content}}


def header_parameter(name: str, description: str) -> dict[str, Any]:
    """Document a header that the endpoint reads by itself."""
    return {"name": name, "in": "header", "description": description, "schema": {"type": "string"}}


def _inline(schema: JsonValue, definitions: Mapping[str, JsonValue]) -> JsonValue:
    """Put each definition where it is referred to; none of ours refers to itself."""
    if isinstance(schema, list):
        return [_inline(part, definitions) for part in schema]
    if not isinstance(schema, dict):
        return schema
    reference = schema.get("$ref")
    if isinstance(reference, str):
        return _inline(definitions[reference.rsplit("/", 1)[-1]], definitions)
    return {key: _inline(value, definitions) for key, value in schema.items()}
