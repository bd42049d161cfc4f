"""The tables of the restaurant, as the menu file lists them: single ones, and ranges of them."""

import re
from collections.abc import Iterator
from typing import Annotated

from pydantic import BeforeValidator

from restaurant_system.models.fields import TableLabel

MAX_TABLES = 500
# The second one is the dash that people type between numbers.
RANGE = re.compile(
    r"(?P<prefix>.*?)(?P<first>[0-9]{1,4})\s*[-\u2013]\s*(?P<again>.*?)(?P<last>[0-9]{1,4})"
)


def _as_text(value: object) -> object:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


TableEntry = Annotated[TableLabel, BeforeValidator(_as_text)]


def labels_of(entry: str) -> Iterator[str]:
    """Yield the tables of an entry: `7` and `Bar` are one; `1-12`, `A1-A8` and `A1-8` are several.

    Raises `ValueError` for a range that ends before it starts.
    """
    found = RANGE.fullmatch(entry)
    if found is None or found["again"] not in {"", found["prefix"]}:
        yield entry
        return
    first, last = int(found["first"]), int(found["last"])
    if last < first:
        raise ValueError(f"must not end before {first}, where it starts")
    for number in range(first, last + 1):
        yield f"{found['prefix']}{number:0{len(found['first'])}}"
