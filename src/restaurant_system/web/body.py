"""Reading a JSON body into a model, with every fault of it in one answer."""

import re
from http import HTTPStatus
from typing import TypeVar

import jiter
from pydantic import BaseModel, ValidationError

from restaurant_system.web.faults import BODY, Fault, faults_of
from restaurant_system.web.headers import TYPE, Headers, first
from restaurant_system.web.problem import Refusal

JSON = "application/json"
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
    """Read `body` as a `model`; raises `Refusal` with each fault."""
    try:
        stated = jiter.from_json(
            body, allow_inf_nan=False, catch_duplicate_keys=True, float_mode="decimal"
        )
        return model.model_validate(stated)
    except ValidationError as error:
        faults = faults_of(error.errors(include_url=False, include_input=False))
    except ValueError as error:
        faults = [_syntax_fault(str(error))]
    raise Refusal(HTTPStatus.BAD_REQUEST, "The body breaks a rule.", faults)


def _syntax_fault(reason: str) -> Fault:
    duplicate = DUPLICATE.search(reason)
    if duplicate is not None:
        return Fault(duplicate["key"], "is stated twice", is_known=False)
    if "InvalidOperation" in reason:  # an exponent that `Decimal` cannot hold
        return Fault(BODY, "has a number beyond all bounds")
    return Fault(BODY, f"is not valid JSON: {reason}")
