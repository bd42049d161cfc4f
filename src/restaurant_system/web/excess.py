"""Drop what a model cannot accept from a parsed body, so that refusing a body costs little.

A body of 64 KiB has room for 7,000 unknown fields or 20,000 entries of a list of 20. Validating and
reporting each one takes many times as long as parsing the body.
"""

import functools
from typing import NamedTuple, TypeAlias

from pydantic import BaseModel

from restaurant_system.web.validation_errors import MAX_FIELD_ERRORS

Json: TypeAlias = object  # as jiter returns it: dict, list, str, int, Decimal, bool, None


class Bounds(NamedTuple):
    """What any object or list in a body of a model may have at most."""

    fields: frozenset[str]
    longest_list: int


class Trimmed(NamedTuple):
    """A parsed body without excess, and how much was dropped."""

    value: Json
    fields: int = 0
    entries: int = 0


def drop(parsed: Json, model: type[BaseModel]) -> Trimmed:
    """Return `parsed` without excess.

    Kept are all fields that the model knows anywhere, the first unknown ones (one more than are
    reported), and of each list one entry more than the longest list of the model may have: what is
    valid stays as it is, and what is not stays invalid.
    """
    dropping = _Dropping(_bounds_of(model))
    value = dropping.kept(parsed)
    return Trimmed(value, dropping.fields, dropping.entries)


class _Dropping:
    """One pass over one body."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._unknown_left = MAX_FIELD_ERRORS + 1
        self.fields = 0
        self.entries = 0

    def kept(self, value: Json) -> Json:
        if isinstance(value, dict):
            return self._fields_of(value)
        if isinstance(value, list):
            most = self._bounds.longest_list + 1
            self.entries += max(0, len(value) - most)
            return [self.kept(each) for each in value[:most]]
        return value

    def _fields_of(self, value: dict[str, Json]) -> dict[str, Json]:
        fields = self._bounds.fields
        unknown = [name for name in value if name not in fields]
        listed = unknown[: self._unknown_left]
        self._unknown_left -= len(listed)
        self.fields += len(unknown) - len(listed)
        known = {name: self.kept(each) for name, each in value.items() if name in fields}
        return known | dict.fromkeys(listed)


@functools.cache
def _bounds_of(model: type[BaseModel]) -> Bounds:
    return _bounds_in(model.model_json_schema())


def _bounds_in(schema: Json) -> Bounds:
    """Collect the names and the longest list of a JSON Schema and all of its parts."""
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
        max([longest, *(bounds.longest_list for bounds in inner)]),
    )
