"""Describe what is wrong with a request, field by field, for the author of the client."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from restaurant_system.error_texts import ErrorText
from restaurant_system.validation_messages import message_of

BODY = "body"
MAX_FIELD_ERRORS = 50  # in one response; a list of more would not help
MAX_FIELD_LENGTH = 240  # characters of a field's path in a response
UNKNOWN = "(unknown)"


@dataclass(frozen=True, slots=True)
class FieldError:
    """One broken rule: the path of the field, and what its value must be.

    The name of an unknown field was chosen by the client, and must not be logged.
    """

    field: str
    message: ErrorText
    is_known: bool = True

    def __post_init__(self) -> None:
        """Truncate a long path, which a client may choose for an unknown field."""
        if len(self.field) > MAX_FIELD_LENGTH:
            object.__setattr__(self, "field", f"{self.field[: MAX_FIELD_LENGTH - 1]}…")


def field_errors(errors: Sequence[Any], *, skip: int = 0) -> list[FieldError]:
    """Translate pydantic's `errors()`, without the first `skip` parts of each path.

    A list with invalid entries is not reported as too short, too: pydantic counts the valid ones.
    """
    paths = [tuple(error["loc"])[skip:] for error in errors]
    return [
        FieldError(
            ".".join(str(part) for part in path) or BODY,
            message_of(error),
            is_known=error["type"] != "extra_forbidden",
        )
        for error, path in zip(errors, paths, strict=True)
        if not (error["type"] == "too_short" and _has_inner_error(path, paths))
    ]


def loggable_fields(errors: Sequence[FieldError]) -> list[str]:
    """Return the names of the known fields, each once; `UNKNOWN` stands for all others."""
    return sorted({error.field if error.is_known else UNKNOWN for error in errors})


def _has_inner_error(path: tuple[Any, ...], paths: Sequence[tuple[Any, ...]]) -> bool:
    return any(len(other) > len(path) and other[: len(path)] == path for other in paths)
