"""Remove from a parsed JSON body what its model cannot accept, so that refusing it costs little.

A body of 256 KiB can have 28,000 unknown fields, or 80,000 entries of a list that may have 100.
Validating and reporting each one takes many times as long as parsing the body.
"""

import functools
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

from pydantic import BaseModel

from restaurant_system.web.validation_errors import MAX_FIELD_ERRORS

Json: TypeAlias = object  # as jiter returns it: dict, list, str, int, Decimal, bool, None
Schema: TypeAlias = Mapping[str, Any]


@dataclass(slots=True)
class Shape:
    """What a value may contain: the fields of an object, or the entries of a list.

    If it `is_open`, it may contain anything.
    """

    fields: "dict[str, Shape]" = field(default_factory=dict)
    entries: "Shape | None" = None
    max_entries: int = 0
    is_open: bool = False


# Keywords of a schema that says what a value may be.
DESCRIBING = {"type", "anyOf", "$ref", "enum", "const"}


class Trimmed(NamedTuple):
    """A trimmed body, with the numbers of fields and of list entries that were removed."""

    value: Json
    fields: int = 0
    entries: int = 0


def trim(parsed: Json, model: type[BaseModel]) -> Trimmed:
    """Return a parsed body without unknown fields and list entries that are certain to be refused.

    One unknown field more than are reported stays, and of each list one entry more than it may
    have; an object or a list in the place of another value becomes empty. So a valid body is
    unchanged, and an invalid one stays invalid.
    """
    trimmer = _Trimmer()
    value = trimmer.trim(parsed, _shape_of(model))
    return Trimmed(value, trimmer.fields, trimmer.entries)


class _Trimmer:
    def __init__(self) -> None:
        self._unknown_left = MAX_FIELD_ERRORS + 1
        self.fields = 0
        self.entries = 0

    def trim(self, value: Json, shape: Shape) -> Json:
        if shape.is_open:
            return value
        if isinstance(value, dict):
            return self._trim_fields(value, shape) if shape.fields else {}
        if isinstance(value, list):
            return self._trim_entries(value, shape)
        return value

    def _trim_entries(self, value: list[Json], shape: Shape) -> list[Json]:
        entries = shape.entries
        if entries is None:
            return []
        length = shape.max_entries + 1
        self.entries += max(0, len(value) - length)
        return [self.trim(each, entries) for each in value[:length]]

    def _trim_fields(self, value: dict[str, Json], shape: Shape) -> dict[str, Json]:
        fields = shape.fields
        unknown = [name for name in value if name not in fields]
        kept = unknown[: self._unknown_left]
        self._unknown_left -= len(kept)
        self.fields += len(unknown) - len(kept)
        known = {
            name: self.trim(each, fields[name]) for name, each in value.items() if name in fields
        }
        return known | dict.fromkeys(kept)


@functools.cache
def _shape_of(model: type[BaseModel]) -> Shape:
    schema = model.model_json_schema()
    return _Shapes(schema.get("$defs", {})).of(schema)


class _Shapes:
    """Makes the shapes of JSON Schemas; a recursive definition has one shape."""

    def __init__(self, definitions: Mapping[str, Schema]) -> None:
        self._definitions = definitions
        self._shapes: dict[str, Shape] = {}

    def of(self, schema: Schema) -> Shape:
        shape = Shape()
        self._fill(shape, schema)
        return shape

    def _fill(self, shape: Shape, schema: Schema) -> None:
        for alternative in schema.get("anyOf", ()):
            self._fill(shape, alternative)
        if "$ref" in schema:
            defined = self._defined(schema["$ref"].rpartition("/")[2])
            shape.fields, shape.entries = defined.fields, defined.entries
            shape.max_entries, shape.is_open = defined.max_entries, defined.is_open
        for name, of_field in schema.get("properties", {}).items():
            shape.fields[name] = self.of(of_field)
        if "items" in schema:
            shape.entries = self.of(schema["items"])
            shape.max_entries = schema.get("maxItems", sys.maxsize)
        is_any_object = schema.get("type") == "object" and "properties" not in schema
        if not schema.keys() & DESCRIBING or is_any_object:
            shape.is_open = True

    def _defined(self, name: str) -> Shape:
        if name not in self._shapes:
            self._shapes[name] = Shape()
            self._fill(self._shapes[name], self._definitions[name])
        return self._shapes[name]
