"""Read the payload of a platform: every value knows its path, so that a fault can name it."""

import re
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple, TypeAlias

from restaurant_system.error_texts import ErrorText
from restaurant_system.models.currency import Currency
from restaurant_system.models.text import LINE_BREAKS, is_visible, without_refused

Json: TypeAlias = object  # as jiter returns it: dict, list, str, int, Decimal, bool, None
FieldPath: TypeAlias = tuple[str | int, ...]

SPACES = re.compile(r"\s+")
OTHER_LINE_BREAKS = re.compile("[\v\f\x1c-\x1f\x85\u2028\u2029]")
NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?", re.ASCII)
MAX_DIGITS = 12  # before the decimal point, and after it
MAX_DIGITS_OF_TEXT = 128  # of a number that is an id, or another text
ROOT = "body"


class Fault(NamedTuple):
    """What is wrong with a value of a payload, and its path there."""

    path: str
    message: ErrorText


class Sourced(NamedTuple):
    """A value of our order, and the path of the value in the payload from which it comes."""

    value: Any
    source: str


class Node:
    """A value of a payload, which may be missing.

    A method that finds a value of another type than it returns adds a fault, and returns what it
    returns for a missing value; so one pass over a payload finds all faults.
    """

    __slots__ = ("_faults", "path", "value")

    def __init__(self, value: Json, path: str = "", faults: list[Fault] | None = None) -> None:
        self.value = value
        self.path = path
        self._faults: list[Fault] = [] if faults is None else faults

    @property
    def faults(self) -> list[Fault]:
        """The faults that were found in the whole payload so far."""
        return self._faults

    @property
    def is_missing(self) -> bool:
        """Whether there is no value: no such field, null, or a text that shows nothing."""
        return self.value is None or (isinstance(self.value, str) and not is_visible(self.value))

    def __getitem__(self, name: str) -> "Node":
        """Return a field of an object; a missing one if there is none."""
        path = f"{self.path}.{name}" if self.path else name
        if isinstance(self.value, dict):
            return Node(self.value.get(name), path, self._faults)
        if not self.is_missing:
            self.add_fault("must be an object")
        return Node(None, path, self._faults)

    def entries(self) -> list["Node"]:
        """Return the entries of a list, none for a missing one."""
        if isinstance(self.value, list):
            return [
                Node(each, f"{self.path}.{index}", self._faults)
                for index, each in enumerate(self.value)
                if each is not None
            ]
        if not self.is_missing:
            self.add_fault("must be a list")
        return []

    def text(self) -> Sourced:
        """Return a trimmed text, or a number as one; `None` without a visible character.

        Characters that no text of an order may contain are dropped. They show nothing; a customer
        does not know that they are there, and has paid.
        """
        if self.is_missing:
            return Sourced(None, self.path)
        if type(self.value) is int or isinstance(self.value, Decimal):
            number = self._bounded(Decimal(self.value), MAX_DIGITS_OF_TEXT)
            return Sourced(None if number is None else _digits(number), self.path)
        if isinstance(self.value, str):
            text = OTHER_LINE_BREAKS.sub("\n", self.value)
            text = without_refused(text, allowed=LINE_BREAKS).strip()
            return Sourced(text if is_visible(text) else None, self.path)
        self.add_fault("must be a string")
        return Sourced(None, self.path)

    def line(self) -> Sourced:
        """Return a text or a number in one line: each run of spaces becomes one space."""
        text = self.text()
        return text if text.value is None else Sourced(SPACES.sub(" ", text.value), self.path)

    def number(self) -> Decimal | None:
        """Return a number, or a text that is one."""
        value = self.value
        if isinstance(value, str) and NUMBER.fullmatch(value.strip()):
            value = Decimal(value.strip())
        if type(value) is int or isinstance(value, Decimal):
            return self._bounded(Decimal(value), MAX_DIGITS)
        if not self.is_missing:
            self.add_fault("must be a number")
        return None

    def _bounded(self, number: Decimal, most: int) -> Decimal | None:
        """Return a number with at most so many digits before and after the decimal point."""
        exponent = number.as_tuple().exponent
        if number.adjusted() <= most and isinstance(exponent, int) and exponent >= -most:
            return number
        self.add_fault("is a number beyond all bounds")
        return None

    def integer(self) -> int | None:
        """Return a whole number."""
        number = self.number()
        if number is None:
            return None
        if number != number.to_integral_value():
            self.add_fault("must be a whole number")
            return None
        return int(number)

    def flag(self) -> bool | None:
        """Return a boolean."""
        if isinstance(self.value, bool):
            return self.value
        if not self.is_missing:
            self.add_fault("must be true or false")
        return None

    def time(self) -> Sourced:
        """Return a time as RFC 3339 has it; it must have a UTC offset."""
        text = self.text()
        if text.value is None:
            return text
        try:
            moment = datetime.fromisoformat(text.value)
        except ValueError:
            moment = None
        if moment is None or moment.tzinfo is None:
            self.add_fault("must be a time with its UTC offset, such as 2026-11-28T20:00:00Z")
            return Sourced(None, self.path)
        return Sourced(moment.isoformat(), self.path)

    def sourced(self, value: Any) -> Sourced:  # noqa: ANN401 - of any field of an order
        """Return a value of our order that comes from this one."""
        return Sourced(value, self.path)

    def minor_units(self, decimals: int) -> Decimal | None:
        """Return an amount of money that is a whole number of minor units, such as cents."""
        number = self.integer()
        return None if number is None else Decimal(number).scaleb(-decimals)

    def check_currency(self, currency: Currency) -> None:
        """Add a fault if this is the code of another currency than the configured one."""
        code = self.line().value
        if code is not None and currency.code is not None and code.upper() != currency.code:
            self.add_fault(
                f"is another currency than that of this restaurant, which is {currency.code}"
            )

    def add_fault(self, message: str) -> None:
        """Add a fault of this value, unless it has one."""
        path = self.path or ROOT
        if all(each.path != path for each in self._faults):
            self._faults.append(Fault(path, ErrorText(message)))


def plain_values(draft: Mapping[str, Any]) -> tuple[dict[str, Any], dict[FieldPath, str]]:
    """Split a draft of an order into its values, and the source of each by its path in the order.

    Values that are `None` are left out; their sources are not.
    """
    sources: dict[FieldPath, str] = {}
    values: dict[str, Any] = _plain(draft, (), sources)
    return values, sources


def order_path(field: str) -> FieldPath:
    """Return a path in an order from its notation, such as `items.0.price`."""
    return tuple(int(part) if part.isdecimal() else part for part in field.split("."))


def source_of(path: FieldPath, sources: Mapping[FieldPath, str]) -> str:
    """Return the source of a value of an order, or of the nearest part around it that has one."""
    for length in range(len(path), 0, -1):
        source = sources.get(path[:length])
        if source is not None:
            return source
    return ROOT


def _digits(number: Decimal) -> str:
    """Return a number in digits, a whole one without a decimal point."""
    whole = number.to_integral_value()
    return f"{whole if number == whole else number:f}"


def _plain(draft: Any, at: FieldPath, sources: dict[FieldPath, str]) -> Any:  # noqa: ANN401 - JSON
    if isinstance(draft, Sourced):
        sources[at] = draft.source or ROOT
        return _plain(draft.value, at, sources)
    if isinstance(draft, Mapping):
        values = {name: _plain(each, (*at, name), sources) for name, each in draft.items()}
        return {name: value for name, value in values.items() if value is not None}
    if isinstance(draft, list):
        return [_plain(each, (*at, index), sources) for index, each in enumerate(draft)]
    return draft
