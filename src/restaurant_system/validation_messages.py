"""Describe pydantic's validation errors in one plain sentence each, without the refused value."""

from collections.abc import Callable, Mapping
from typing import Any

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
    "int_parsing": lambda _: WHOLE_NUMBER,
    "int_from_float": lambda _: WHOLE_NUMBER,
    "float_type": lambda _: NUMBER,
    "float_parsing": lambda _: NUMBER,
    "finite_number": lambda _: "must be a finite number",
    "bool_type": lambda _: BOOLEAN,
    "bool_parsing": lambda _: BOOLEAN,
    "tuple_type": lambda _: "must be a list",
    "model_type": lambda _: "must be an object",
    "enum": lambda context: f"must be {context['expected']}",
    "literal_error": lambda context: f"must be {context['expected']}",
    "greater_than": lambda context: f"must be above {_number(context['gt'])}",
    "greater_than_equal": lambda context: f"must be at least {_number(context['ge'])}",
    "less_than_equal": lambda context: f"must be at most {_number(context['le'])}",
    "string_too_short": lambda context: f"must have {_at_least(context, 'character')}",
    "string_too_long": lambda context: f"must have at most {context['max_length']} characters",
    "too_short": lambda context: f"must have {_at_least(context, 'entry')}",
    "too_long": lambda context: (
        f"must have at most {context['max_length']} {context.get('noun', 'entries')}"
    ),
    "value_error": lambda context: str(context["error"]),
}


def message_of(error: Mapping[str, Any]) -> str:
    """Return what the value must be, as the rest of a sentence that begins with its name."""
    message = MESSAGES.get(error["type"])
    return message(error.get("ctx", {})) if message else str(error["msg"])


def _at_least(context: Context, noun: str) -> str:
    least = context["min_length"]
    return f"at least one {noun}" if least == 1 else f"at least {least} {noun}s"


def _number(bound: Any) -> object:  # noqa: ANN401 - int, float or Decimal
    """Return a whole number without decimals."""
    return int(bound) if bound == int(bound) else bound
