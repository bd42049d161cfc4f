"""Describe pydantic's validation errors in one plain sentence each, without the refused value."""

from collections.abc import Callable, Mapping
from typing import Any

from restaurant_system.error_texts import FIELD_CODES, ErrorText, Param

Context = Mapping[str, Any]

WHOLE_NUMBER = "must be a whole number"
NUMBER = "must be a number"
BOOLEAN = "must be true or false"

# By pydantic's error types (https://docs.pydantic.dev/latest/errors/validation_errors/).
MESSAGES: dict[str, Callable[[Context], str]] = {
    "missing": lambda _: "is required",
    "extra_forbidden": lambda _: "is not a field that is known here",
    "string_type": lambda _: "must be a string",
    "path_type": lambda _: "must be a path",
    "int_type": lambda _: WHOLE_NUMBER,
    "float_type": lambda _: NUMBER,
    "finite_number": lambda _: "must be a finite number",
    "bool_type": lambda _: BOOLEAN,
    "tuple_type": lambda _: "must be a list",
    "model_type": lambda _: "must be an object",
    "enum": lambda context: f"must be {context['expected']}",
    "greater_than": lambda context: f"must be above {_number(context['gt'])}",
    "greater_than_equal": lambda context: f"must be at least {_number(context['ge'])}",
    "less_than_equal": lambda context: f"must be at most {_number(context['le'])}",
    "string_too_short": lambda context: f"must have {_at_least(context, 'character')}",
    "string_too_long": lambda context: f"must have at most {context['max_length']} characters",
    "too_short": lambda context: f"must have {_at_least(context, 'entry')}",
    "too_long": lambda context: f"must have at most {context['max_length']} entries",
    "value_error": lambda context: str(context["error"]),
}
# Types that mean the same to the author of a client.
SAME = {
    "int_parsing": "int_type",
    "int_from_float": "int_type",
    "float_parsing": "float_type",
    "bool_parsing": "bool_type",
    "literal_error": "enum",
}


def message_of(error: Mapping[str, Any]) -> ErrorText:
    """Return what the value must be, as the rest of a sentence that begins with its name.

    The sentence has a code unless the error is of a type that no request can have.
    """
    code: str = SAME.get(error["type"], error["type"])
    context: Context = error.get("ctx", {})
    message = MESSAGES.get(code)
    text = message(context) if message else str(error["msg"])
    if code not in FIELD_CODES:
        return ErrorText(text)
    return ErrorText(text, code, **{name: _param(context[name]) for name in FIELD_CODES[code]})


def _at_least(context: Context, noun: str) -> str:
    least = context["min_length"]
    return f"at least one {noun}" if least == 1 else f"at least {least} {noun}s"


def _number(bound: Any) -> Any:  # noqa: ANN401 - int, float or Decimal
    """Return a whole number without decimals."""
    return int(bound) if bound == int(bound) else bound


def _param(value: Any) -> Param:  # noqa: ANN401 - of a context
    """Return a value of a context as a page fills it in: a list without "and" and "or"."""
    if isinstance(value, str):
        return value.replace(" or ", ", ")
    return value if isinstance(value, int) else float(value)
