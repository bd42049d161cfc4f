"""What is wrong with a request, field by field, in words for whoever wrote it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

BODY = "body"
MAX_FIELD_ERRORS = (
    50  # faults in one response; a client that breaks more rules is not helped by more
)
MAX_FIELD_LENGTH = 64  # characters of a field's path in a response
UNKNOWN = "(unknown)"


@dataclass(frozen=True, slots=True)
class FieldError:
    """One broken rule: the path of the field, and what it must be.

    A field that is not known here was named by the client, and is not logged by that name.
    """

    field: str
    message: str
    is_known: bool = True

    def __post_init__(self) -> None:
        """Cut a path that is too long, because a client may choose the names of unknown fields."""
        if len(self.field) > MAX_FIELD_LENGTH:
            object.__setattr__(self, "field", f"{self.field[: MAX_FIELD_LENGTH - 1]}…")


Context = Mapping[str, Any]

# pydantic's error types (https://docs.pydantic.dev/latest/errors/validation_errors/) in our words.
SENTENCES: dict[str, Callable[[Context], str]] = {
    "missing": lambda _: "is required",
    "extra_forbidden": lambda _: "is not a field that is known here",
    "string_type": lambda _: "must be a string",
    "int_type": lambda _: "must be a whole number",
    "bool_type": lambda _: "must be true or false",
    "int_parsing": lambda _: "must be a whole number",
    "tuple_type": lambda _: "must be a list",
    "model_type": lambda _: "must be an object",
    "enum": lambda context: f"must be {context['expected']}",
    "greater_than_equal": lambda context: f"must be at least {context['ge']}",
    "less_than_equal": lambda context: f"must be at most {context['le']}",
    "string_too_short": lambda context: f"must have {_at_least(context, 'character')}",
    "string_too_long": lambda context: f"must have at most {context['max_length']} characters",
    "too_short": lambda context: f"must have {_at_least(context, 'entry')}",
    "too_long": lambda context: f"must have at most {context['max_length']} entries",
    "string_pattern_mismatch": lambda _: (
        "may contain only letters, digits, spaces, hyphens and apostrophes"
    ),
    "value_error": lambda context: str(context["error"]),
}


def _at_least(context: Context, noun: str) -> str:
    least = context["min_length"]
    return f"at least one {noun}" if least == 1 else f"at least {least} {noun}s"


def field_errors(errors: Sequence[Any], *, skip: int = 0) -> list[FieldError]:
    """Put pydantic's `errors()` into our words; `skip` leaves out the first parts of each path.

    A list whose entries are faulty is not called too short as well: pydantic counts the sound ones.
    """
    places = [tuple(error["loc"])[skip:] for error in errors]
    return [
        FieldError(
            ".".join(str(part) for part in place) or BODY,
            _sentence(error),
            is_known=error["type"] != "extra_forbidden",
        )
        for error, place in zip(errors, places, strict=True)
        if not (error["type"] == "too_short" and _has_inner_fault(place, places))
    ]


def known_fields(faults: Sequence[FieldError]) -> list[str]:
    """Return the names of known fields, each once; `UNKNOWN` stands for all others."""
    return sorted({fault.field if fault.is_known else UNKNOWN for fault in faults})


def _has_inner_fault(place: tuple[Any, ...], places: Sequence[tuple[Any, ...]]) -> bool:
    return any(len(other) > len(place) and other[: len(place)] == place for other in places)


def _sentence(error: Mapping[str, Any]) -> str:
    sentence = SENTENCES.get(error["type"])
    return sentence(error.get("ctx", {})) if sentence else str(error["msg"])
