"""Read a JSON body into a model, and report its faults in one response."""

import re
from http import HTTPStatus
from typing import TypeVar

import jiter
from pydantic import BaseModel, ValidationError

from restaurant_system.web import excess
from restaurant_system.web.excess import Json, Trimmed
from restaurant_system.web.headers import TYPE, Headers, first
from restaurant_system.web.problem import Refusal
from restaurant_system.web.validation_errors import BODY, MAX_FIELD_ERRORS, FieldError, field_errors

JSON = "application/json"
BROKEN = "The body breaks a rule."
DUPLICATE = re.compile(r'Detected duplicate key "(?P<key>.*)" at line', re.DOTALL)

M = TypeVar("M", bound=BaseModel)


def read_json(headers: Headers, body: bytes, model: type[M]) -> M:
    """Read a body as a `model`; raises `Refusal` with 415, or with 400 and each fault.

    Numbers with a point are read as `Decimal`; a key that comes twice, NaN and Infinity are faults.
    """
    media_type = (first(TYPE, headers) or b"").split(b";")[0].strip().lower()
    if media_type != JSON.encode():
        raise Refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"Send the body as {JSON}.")
    return parse_json(body, model)


def read_optional_json(headers: Headers, body: bytes, model: type[M]) -> M:
    """Like `read_json`, but no body at all means a `model` with nothing stated."""
    return read_json(headers, body, model) if body else model()


def parse_json(body: bytes, model: type[M]) -> M:
    """Read `body` as a `model`; raises `Refusal` with the faults.

    Values that can only be faulty are dropped before the validation, because pydantic reports each
    of them at many times the cost of parsing it.
    """
    parsed = _parsed(body)
    has_excess = body.count(b",") > MAX_FIELD_ERRORS  # what has fewer values is checked as it is
    trimmed = excess.drop(parsed, model) if has_excess else Trimmed(parsed)
    try:
        return model.model_validate(trimmed.value)
    except ValidationError as error:
        raise _refusal(error, trimmed) from None


def _parsed(body: bytes) -> Json:
    try:
        return jiter.from_json(
            body, allow_inf_nan=False, catch_duplicate_keys=True, float_mode="decimal"
        )
    except ValueError as error:
        raise Refusal(HTTPStatus.BAD_REQUEST, BROKEN, [_syntax_fault(str(error))]) from None


def _refusal(error: ValidationError, trimmed: Trimmed) -> Refusal:
    errors = error.errors(include_url=False, include_input=False)
    unlisted = trimmed.fields
    if not any(each["type"] == "too_long" for each in errors):  # which stands for all entries
        unlisted += trimmed.entries
    return Refusal(HTTPStatus.BAD_REQUEST, BROKEN, field_errors(errors), unlisted=unlisted)


def _syntax_fault(reason: str) -> FieldError:
    duplicate = DUPLICATE.search(reason)
    if duplicate is not None:
        return FieldError(duplicate["key"], "is stated twice", is_known=False)
    if "InvalidOperation" in reason:  # an exponent that `Decimal` cannot hold
        return FieldError(BODY, "has a number beyond all bounds")
    return FieldError(BODY, f"is not valid JSON: {reason}")
