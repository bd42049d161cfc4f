"""Describe what is wrong with a request, field by field, for the author of the client."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from restaurant_system.validation_messages import message_of

BODY = "body"
MAX_FIELD_ERRORS = (
    50  # faults in one response; a client that breaks more rules is not helped by more
)
MAX_FIELD_LENGTH = 64  # characters of a field's path in a response
UNKNOWN = "(unknown)"
NAME_CHARACTERS = "may contain only letters, digits, spaces, hyphens and apostrophes"


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


def field_errors(errors: Sequence[Any], *, skip: int = 0) -> list[FieldError]:
    """Put pydantic's `errors()` into our words; `skip` leaves out the first parts of each path.

    A list whose entries are faulty is not called too short as well: pydantic counts the sound ones.
    """
    places = [tuple(error["loc"])[skip:] for error in errors]
    return [
        FieldError(
            ".".join(str(part) for part in place) or BODY,
            _message(error),
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


def _message(error: Mapping[str, Any]) -> str:
    return NAME_CHARACTERS if error["type"] == "string_pattern_mismatch" else message_of(error)
