"""Remove from a parsed JSON body what its model cannot accept, so that refusing it costs little.

A body of 64 KiB can have 7,000 unknown fields, or 20,000 entries of a list that may have 20.
Validating and reporting each one takes many times as long as parsing the body.
"""

import functools
from typing import NamedTuple, TypeAlias

from pydantic import BaseModel

from restaurant_system.web.validation_errors import MAX_FIELD_ERRORS

Json: TypeAlias = object  # as jiter returns it: dict, list, str, int, Decimal, bool, None


class Bounds(NamedTuple):
    """The names of all fields that a model has anywhere, and the length of its longest list."""

    fields: frozenset[str]
    max_list_length: int


class Trimmed(NamedTuple):
    """A trimmed body, with the numbers of fields and of list entries that were removed."""

    value: Json
    fields: int = 0
    entries: int = 0


def trim(parsed: Json, model: type[BaseModel]) -> Trimmed:
    """Return a parsed body without unknown fields and list entries that are certain to be refused.

    All fields that the model has anywhere stay, as does one unknown field more than are reported,
    and of each list one entry more than the model's longest list may have. So a valid body is
    unchanged, and an invalid one stays invalid.
    """
    trimmer = _Trimmer(_bounds_of(model))
    value = trimmer.trim(parsed)
    return Trimmed(value, trimmer.fields, trimmer.entries)


class _Trimmer:
    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._unknown_left = MAX_FIELD_ERRORS + 1
        self.fields = 0
        self.entries = 0

    def trim(self, value: Json) -> Json:
        if isinstance(value, dict):
            return self._trim_fields(value)
        if isinstance(value, list):
            length = self._bounds.max_list_length + 1
            self.entries += max(0, len(value) - length)
            return [self.trim(each) for each in value[:length]]
        return value

    def _trim_fields(self, value: dict[str, Json]) -> dict[str, Json]:
        fields = self._bounds.fields
        unknown = [name for name in value if name not in fields]
        kept = unknown[: self._unknown_left]
        self._unknown_left -= len(kept)
        self.fields += len(unknown) - len(kept)
        known = {name: self.trim(each) for name, each in value.items() if name in fields}
        return known | dict.fromkeys(kept)


@functools.cache
def _bounds_of(model: type[BaseModel]) -> Bounds:
    return _bounds_in(model.model_json_schema())


def _bounds_in(schema: Json) -> Bounds:
    """Return the bounds of a JSON Schema and all of its parts."""
    if isinstance(schema, list):
        parts, names, longest = schema, frozenset[str](), 0
    elif isinstance(schema, dict):
        parts, names = list(schema.values()), frozenset(schema.get("properties", ()))
        longest = schema.get("maxItems", 0)
    else:
        return Bounds(frozenset(), 0)
    inner = [_bounds_in(part) for part in parts]
    return Bounds(
        names.union(*(bounds.fields for bounds in inner)),
        max([longest, *(bounds.max_list_length for bounds in inner)]),
    )
