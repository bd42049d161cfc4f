"""Parse and validate a JSON body, and report all of its errors in one response."""

import contextlib
import re
from http import HTTPStatus
from typing import TypeVar

import jiter
from pydantic import BaseModel, ValidationError
from starlette.requests import Request

from restaurant_system.error_texts import ErrorText
from restaurant_system.web.headers import CONTENT_TYPE, Headers, first_value
from restaurant_system.web.json_repair import repaired
from restaurant_system.web.json_trimming import Json, Trimmed, trim
from restaurant_system.web.problem import Refusal
from restaurant_system.web.validation_errors import (
    BODY,
    MAX_FIELD_ERRORS,
    FieldError,
    field_errors,
)

JSON = "application/json"
INVALID_BODY = ErrorText("The body breaks a rule.", "invalid_request")
# pydantic's error for a list, and ours for a tree of modifiers, which stand for all excess entries.
OF_EXCESS = frozenset({"too_long", "too_many_modifiers"})
DUPLICATE_KEY = re.compile(r'Detected duplicate key "(?P<key>.*)" at line', re.DOTALL)

M = TypeVar("M", bound=BaseModel)


def read_any_json(headers: Headers, body: bytes) -> Json:
    """Return a body of any structure; raises `Refusal` with 415, or with 400 and the error.

    Texts that make it invalid are repaired. Numbers, duplicate keys, NaN and Infinity are as for
    `read_json`.
    """
    _check_media_type(headers)
    try:
        return _parse(body)
    except Refusal:
        with contextlib.suppress(Refusal):
            return _parse(repaired(body))
        raise


def read_json(headers: Headers, body: bytes, model: type[M], context: object = None) -> M:
    """Return a body as a `model`; raises `Refusal` with 415, or with 400 and the field errors.

    `context` is that of the validation, such as a currency. Numbers with a decimal point become
    `Decimal`. Duplicate keys, NaN and Infinity are errors.
    """
    _check_media_type(headers)
    return parse_json(body, model, context)


async def read_body(request: Request, model: type[M]) -> M:
    """Read the body of a request as `read_json` does."""
    return read_json(request.headers.raw, await request.body(), model)


def read_optional_json(headers: Headers, body: bytes, model: type[M]) -> M:
    """Return a body as `read_json` does; an empty body is a `model` with default values."""
    return read_json(headers, body, model) if body else model()


def parse_json(body: bytes, model: type[M], context: object = None) -> M:
    """Return a body as a `model`; raises `Refusal` with the field errors.

    A large body is trimmed before it is validated, because pydantic takes many times as long to
    report an excess value as to parse it.
    """
    parsed = _parse(body)
    may_have_excess = body.count(b",") > MAX_FIELD_ERRORS
    trimmed = trim(parsed, model) if may_have_excess else Trimmed(parsed)
    try:
        return model.model_validate(trimmed.value, context=context)
    except ValidationError as error:
        raise _refusal(error, trimmed) from None


def _check_media_type(headers: Headers) -> None:
    media_type = (first_value(CONTENT_TYPE, headers) or b"").split(b";")[0].strip().lower()
    if media_type != JSON.encode():
        detail = ErrorText(f"Send the body as {JSON}.", "unsupported_media_type")
        raise Refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, detail)


def _parse(body: bytes) -> Json:
    try:
        return jiter.from_json(
            body, allow_inf_nan=False, catch_duplicate_keys=True, float_mode="decimal"
        )
    except ValueError as error:
        errors = [_syntax_error(str(error))]
        raise Refusal(HTTPStatus.BAD_REQUEST, INVALID_BODY, errors) from None


def _refusal(error: ValidationError, trimmed: Trimmed) -> Refusal:
    errors = error.errors(include_url=False, include_input=False)
    unlisted = trimmed.fields
    if not any(each["type"] in OF_EXCESS for each in errors):
        unlisted += trimmed.entries
    return Refusal(HTTPStatus.BAD_REQUEST, INVALID_BODY, field_errors(errors), unlisted=unlisted)


def _syntax_error(reason: str) -> FieldError:
    duplicate = DUPLICATE_KEY.search(reason)
    if duplicate is not None:
        message = ErrorText("occurs twice", "duplicate_key")
        return FieldError(duplicate["key"], message, is_known=False)
    if "InvalidOperation" in reason:  # an exponent that `Decimal` cannot hold
        message = ErrorText("has a number beyond all bounds", "number_out_of_bounds")
        return FieldError(BODY, message)
    return FieldError(BODY, ErrorText(f"is not valid JSON: {reason}", "json_invalid"))
