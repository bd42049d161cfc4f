"""Read the idempotency key of a request.

Two clients that send the same key for equal orders get one order; the second is answered with it,
and never cooked. So a key must be long enough to be unique: those of tills that count from 1 are
refused.
"""

import re
from http import HTTPStatus
from typing import Any

from restaurant_system.error_texts import ErrorText
from restaurant_system.web.headers import IDEMPOTENCY_KEY, Headers, all_values
from restaurant_system.web.problem import Refusal
from restaurant_system.web.validation_errors import FieldError

HEADER = "Idempotency-Key"
MIN_LENGTH, MAX_LENGTH = 16, 255
MAX_ACTION_KEY_LENGTH = 200  # the key of an action on an order is stored with a prefix
ACTION_KEY_RULE = (
    f"{MIN_LENGTH} to {MAX_ACTION_KEY_LENGTH} visible ASCII characters, such as a UUID"
)
SCHEMA: dict[str, Any] = {
    "type": "string",
    "minLength": MIN_LENGTH,
    "maxLength": MAX_LENGTH,
    "pattern": r"^[\x21-\x7e]*$",
}

_visible = re.compile(r"[\x21-\x7e]*")


def key_in(headers: Headers) -> str | None:
    """Return the idempotency key of a request, `None` without one; raises `Refusal`."""
    keys = all_values(IDEMPOTENCY_KEY, headers)
    if not keys:
        return None
    if len(keys) > 1:
        raise _refusal(ErrorText("must occur once", "key_repeated"))
    return checked_key(keys[0].decode("latin-1"))


def checked_key(key: str, *, max_length: int = MAX_LENGTH) -> str:
    """Return a key that is valid and long enough to be unique; raises `Refusal`."""
    if not MIN_LENGTH <= len(key) <= max_length or not _visible.fullmatch(key):
        least, most = MIN_LENGTH, max_length
        message = (
            f"must have {least} to {most} visible ASCII characters, so that no other client sends"
            " the same one; use a UUID"
        )
        raise _refusal(ErrorText(message, "key_invalid", min_length=least, max_length=most))
    return key


def action_key(header: str | None) -> str | None:
    """Return the key of an action on an order, `None` without one; raises `Refusal`."""
    return None if header is None else checked_key(header, max_length=MAX_ACTION_KEY_LENGTH)


def _refusal(fault: ErrorText) -> Refusal:
    invalid = ErrorText("A header breaks a rule.", "invalid_request")
    return Refusal(HTTPStatus.BAD_REQUEST, invalid, [FieldError(HEADER, fault)])
