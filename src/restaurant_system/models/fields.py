"""What the models of input from outside share: strictness, and the types of their texts."""

import re
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    StringConstraints,
    ValidationError,
    WithJsonSchema,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import (
    CoreSchema,
    ErrorDetails,
    InitErrorDetails,
    PydanticCustomError,
    core_schema,
)

from restaurant_system.error_texts import ErrorText
from restaurant_system.models.text import (
    LINE_BREAKS,
    character_name,
    is_visible,
    refused_character,
    shows_itself,
)

INVISIBLE = ErrorText("must have at least one visible character", "invisible")


class StrictModel(BaseModel):
    """Input from outside: immutable, strings trimmed, no type coercion, no unknown fields."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        str_strip_whitespace=True,
        hide_input_in_errors=True,
    )


def is_absent(value: object) -> bool:
    """Return whether an optional field counts as not sent: null, or a text of blanks."""
    return value is None or (isinstance(value, str) and not value.strip())


def invalid_value(text: ErrorText) -> PydanticCustomError:
    """Make an error to be raised by a validator, or for a list of errors."""
    return PydanticCustomError(text.code or "value_error", str(text), dict(text.params))


def error_details(error: ValidationError) -> list[InitErrorDetails]:
    """Return pydantic's errors in the form in which they can be raised again."""
    return [
        {"type": _as_custom_error(each), "loc": each["loc"], "input": None}
        for each in error.errors(include_url=False)
    ]


def _as_custom_error(error: ErrorDetails) -> PydanticCustomError:
    return PydanticCustomError(error["type"], error["msg"], error.get("ctx"))


def without_unset(fields: Mapping[str, Any], optional: AbstractSet[str]) -> dict[str, Any]:
    """Return fields without those of the optional ones that have no value."""
    return {
        name: value
        for name, value in fields.items()
        if name not in optional or value not in (None, [], ())
    }


def _none_if_absent(value: object) -> object:
    return None if is_absent(value) else value


def _printable_text(value: str) -> str:
    """Refuse control and format characters other than line breaks and tabs."""
    return value if _is_plain(value) else _checked(value, allowed=LINE_BREAKS)


def _name(value: str) -> str:
    """Refuse control and format characters, and a name that shows nothing."""
    if _is_plain(value):
        return value
    if not is_visible(value):
        raise invalid_value(INVISIBLE)
    return _checked(value)


def _is_plain(text: str) -> bool:
    """Return whether a text is certainly valid, as most are; it is trimmed and not empty."""
    return text.isascii() and text.isprintable()


def _checked(value: str, allowed: str = "") -> str:
    refused = refused_character(value, allowed=allowed)
    if refused is not None:
        name = character_name(refused)
        if shows_itself(refused):
            message = f"must not contain {name} here"
            raise invalid_value(ErrorText(message, "character_refused", character=name))
        message = f"must not contain the character {name} here"
        raise invalid_value(ErrorText(message, "hidden_character_refused", character=name))
    return value


def _empty_if_null(value: object) -> object:
    return () if value is None else value


def _channel(value: str) -> str:
    if not CHANNEL.fullmatch(value):
        message = "must have 1 to 32 lower-case letters of a to z, digits, and _ . -"
        raise invalid_value(ErrorText(message, "channel_invalid"))
    return value


CHANNEL = re.compile(r"[a-z0-9_.-]{1,32}", re.ASCII)


# Before optional fields, because many programs send an empty text, or null, for what is absent.
@dataclass(frozen=True)
class _Before:
    """Converts a value before its validation; `describe` adds what is converted to its schema."""

    convert: Callable[[object], object]
    describe: Callable[[JsonSchemaValue], JsonSchemaValue]

    def __get_pydantic_core_schema__(
        self, source: object, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_before_validator_function(self.convert, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return self.describe(handler(schema))


def _or_blank(schema: JsonSchemaValue) -> JsonSchemaValue:
    return {"anyOf": [*schema["anyOf"], BLANK]}


def _or_null(schema: JsonSchemaValue) -> JsonSchemaValue:
    return schema | {"type": [schema["type"], "null"]}


BLANK = {"type": "string", "pattern": r"^\s*$"}
EMPTY_IS_NONE = _Before(_none_if_absent, _or_blank)
NULL_IS_EMPTY = _Before(_empty_if_null, _or_null)

# Characters of texts.
MAX_ITEM_NAME = 120
MAX_NOTES = 500
MIN_ADDRESS, MAX_ADDRESS = 5, 300
MAX_ALLERGY_NOTE = 200
MAX_TABLE_LABEL = 20
MAX_REFERENCE = 64
MAX_PHONE = 40
MAX_DINER = 50
MAX_SKU = 64

ItemName = Annotated[
    str, StringConstraints(min_length=1, max_length=MAX_ITEM_NAME), AfterValidator(_name)
]
Notes = Annotated[str, StringConstraints(max_length=MAX_NOTES), AfterValidator(_printable_text)]
Reason = Annotated[str, StringConstraints(max_length=200), AfterValidator(_printable_text)]
ChangedBy = Annotated[str, StringConstraints(min_length=1, max_length=100), AfterValidator(_name)]
Address = Annotated[
    str,
    StringConstraints(min_length=MIN_ADDRESS, max_length=MAX_ADDRESS),
    AfterValidator(_printable_text),
]
AllergyNote = Annotated[
    str,
    StringConstraints(min_length=1, max_length=MAX_ALLERGY_NOTE),
    AfterValidator(_printable_text),
]
TableLabel = Annotated[
    str, StringConstraints(min_length=1, max_length=MAX_TABLE_LABEL), AfterValidator(_name)
]
Reference = Annotated[
    str, StringConstraints(min_length=1, max_length=MAX_REFERENCE), AfterValidator(_name)
]
Channel = Annotated[
    str,
    AfterValidator(_channel),
    WithJsonSchema({"type": "string", "pattern": "^[a-z0-9_.-]{1,32}$"}),
]
ExternalId = Annotated[str, StringConstraints(min_length=1, max_length=128), AfterValidator(_name)]
Phone = Annotated[str, StringConstraints(min_length=1, max_length=MAX_PHONE), AfterValidator(_name)]
Diner = Annotated[str, StringConstraints(min_length=1, max_length=MAX_DINER), AfterValidator(_name)]
Sku = Annotated[str, StringConstraints(min_length=1, max_length=MAX_SKU), AfterValidator(_name)]
