"""The menu: sections of items, their variations, and groups of modifiers to choose from."""

from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import datetime, time
from enum import StrEnum
from functools import cached_property
from typing import Annotated, Any, NamedTuple, Self

from pydantic import (
    Field,
    PlainValidator,
    ValidationError,
    model_validator,
)
from pydantic_core import InitErrorDetails

from restaurant_system.models.fields import MAX_ITEM_NAME, ItemName, Notes, Sku, StrictModel
from restaurant_system.models.money import ZERO, Price, PriceChange
from restaurant_system.models.order_items import ModifierKind
from restaurant_system.models.tables import MAX_TABLES, TableEntry, labels_of
from restaurant_system.models.text import folded_text

MAX_PREP_SECONDS = 24 * 60 * 60
SECTION_SEPARATOR = " / "


class Day(StrEnum):
    """A day of the week, in the order of `datetime.weekday`."""

    MONDAY = "mon"
    TUESDAY = "tue"
    WEDNESDAY = "wed"
    THURSDAY = "thu"
    FRIDAY = "fri"
    SATURDAY = "sat"
    SUNDAY = "sun"


DAYS = tuple(Day)


def _wall_clock(value: object) -> time:
    """Convert HH:MM, from 00:00 to 23:59."""
    try:
        return datetime.strptime(str(value), "%H:%M").time()  # noqa: DTZ007 - a time of every day
    except ValueError:
        raise ValueError('must be a time of day such as "11:30"') from None


MenuSku = Annotated[Sku, Field(min_length=1)]
WallClock = Annotated[time, PlainValidator(_wall_clock)]


class Fault(NamedTuple):
    """A broken rule: the path of the value, and what the value must be."""

    path: tuple[str | int, ...]
    message: str


class Hours(StrictModel):
    """Days, and a time of day from `start` until before `end`, at the restaurant's wall clock.

    An `end` that is not after `start` is one on the next day.
    """

    days: Annotated[tuple[Annotated[Day, Field(strict=False)], ...], Field(strict=False)] = DAYS
    start: WallClock = Field(alias="from")
    end: WallClock = Field(alias="to")

    def cover(self, local: datetime) -> bool:
        """Return whether a local time is within these hours."""
        now, today = local.time(), DAYS[local.weekday()]
        if self.start < self.end:
            return today in self.days and self.start <= now < self.end
        yesterday = DAYS[local.weekday() - 1]
        return (today in self.days and now >= self.start) or (
            yesterday in self.days and now < self.end
        )

    def __str__(self) -> str:
        """Return the hours as a person reads them."""
        times = f"{self.start:%H:%M} to {self.end:%H:%M}"
        return times if self.days == DAYS else f"{times} ({', '.join(self.days)})"


Opening = Annotated[tuple[Hours, ...], Field(strict=False, min_length=1)]


class ModifierOption(StrictModel):
    """A modifier that may be chosen, and its price; `default` options are chosen beforehand."""

    name: ItemName
    price: PriceChange = ZERO
    default: bool = False
    kind: Annotated[ModifierKind, Field(strict=False)] = ModifierKind.ADD
    available: bool = True

    @cached_property
    def folded_name(self) -> str:
        """The name in the form in which names are compared."""
        return folded_text(self.name)


class ModifierGroup(StrictModel):
    """Options of which an item has at least `min` and at most `max`.

    Without a `max` it is the number of options.
    """

    name: ItemName
    min: int = Field(default=0, ge=0, le=50)
    max: int = Field(default=0, ge=1, le=50)
    options: Annotated[tuple[ModifierOption, ...], Field(min_length=1, max_length=50, strict=False)]

    @model_validator(mode="before")
    @classmethod
    def _default_max(cls, value: Any) -> Any:  # noqa: ANN401 - any input
        if (
            isinstance(value, dict)
            and "max" not in value
            and isinstance(value.get("options"), list)
        ):
            return {**value, "max": len(value["options"])}
        return value

    @model_validator(mode="after")
    def _counts_agree(self) -> Self:
        _refuse(
            [
                *_duplicates(("options", "name"), "option", (each.name for each in self.options)),
                *(
                    [Fault(("max",), f"must be at least min, {self.min}")]
                    if self.max < self.min
                    else ()
                ),
                *(
                    [Fault(("options",), f"must not have more than {self.max} defaults, the max")]
                    if sum(each.default for each in self.options) > self.max
                    else ()
                ),
            ]
        )
        return self


class Variation(StrictModel):
    """A size or another form of an item, with its own price."""

    name: ItemName
    price: Price
    sku: MenuSku | None = None
    available: bool = True


class MenuItem(StrictModel):
    """An item on the menu; one that is not available is shown, but cannot be ordered.

    An item without a price of its own is ordered as one of its variations.
    """

    name: ItemName
    price: Price | None = None
    sku: MenuSku | None = None
    available: bool = True
    description: Notes | None = None
    allergens: Annotated[tuple[ItemName, ...], Field(strict=False, max_length=30)] = ()
    prep_seconds: int | None = Field(default=None, ge=0, le=MAX_PREP_SECONDS)
    station: ItemName | None = None
    hours: Opening | None = None
    variations: Annotated[tuple[Variation, ...], Field(strict=False)] = ()
    modifier_groups: Annotated[tuple[ItemName, ...], Field(strict=False)] = ()

    @model_validator(mode="after")
    def _has_a_price(self) -> Self:
        missing = self.price is None and not self.variations
        _refuse(
            [
                *(
                    [Fault(("price",), "must be a number, unless the item has variations")]
                    if missing
                    else ()
                ),
                *_duplicates(
                    ("variations", "name"), "variation", (each.name for each in self.variations)
                ),
                *_duplicates(("modifier_groups",), "modifier group", self.modifier_groups),
            ]
        )
        return self


def variation_name(item: str, variation: str) -> str:
    """Return the name by which a variation of an item is ordered."""
    return f"{item} ({variation})"


def full_name(section: str, name: str) -> str:
    """Return the name of an item or a variation with its section."""
    return f"{section}{SECTION_SEPARATOR}{name}"


class MenuSection(StrictModel):
    """A named group of menu items; its hours are those of its items without hours."""

    name: ItemName
    items: Annotated[tuple[MenuItem, ...], Field(min_length=1, strict=False)]
    hours: Opening | None = None

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        _refuse(_duplicates(("items", "name"), "item", (item.name for item in self.items)))
        return self


class Menu(StrictModel):
    """The whole menu. Names of sections, of groups and of the items of a section are unique.

    SKUs are unique in the whole menu. With it come the tables that orders are brought to.
    """

    tables: Annotated[tuple[TableEntry, ...], Field(strict=False)] = ()
    sections: Annotated[tuple[MenuSection, ...], Field(strict=False)]
    modifier_groups: Annotated[tuple[ModifierGroup, ...], Field(strict=False)] = ()

    @model_validator(mode="after")
    def _refers_to_what_exists(self) -> Self:
        _refuse(
            [
                *_duplicates(
                    ("sections", "name"), "section", (section.name for section in self.sections)
                ),
                *_duplicates(
                    ("modifier_groups", "name"),
                    "modifier group",
                    (group.name for group in self.modifier_groups),
                ),
                *self._unknown_groups(),
                *self._repeated_skus(),
                *self._unusable_names(),
                *self._faults_of_tables(),
            ]
        )
        return self

    @cached_property
    def table_labels(self) -> tuple[str, ...]:
        """The tables, with those of ranges one by one."""
        return tuple(label for entry in self.tables for label in labels_of(entry))

    def _faults_of_tables(self) -> Iterator[Fault]:
        seen = set[str]()
        for place, entry in enumerate(self.tables):
            try:
                labels = list(labels_of(entry))
            except ValueError as error:
                yield Fault(("tables", place), str(error))
                continue
            if again := next((label for label in labels if label in seen), None):
                yield Fault(("tables", place), f"must not have the table {again!r} again")
            seen.update(labels)
        if len(seen) > MAX_TABLES:
            yield Fault(("tables",), f"must not have more than {MAX_TABLES} tables")

    def _unknown_groups(self) -> Iterator[Fault]:
        known = {group.name for group in self.modifier_groups}
        for path, item in self._items():
            for place, name in enumerate(item.modifier_groups):
                if name not in known:
                    yield Fault(
                        (*path, "modifier_groups", place),
                        f"must be the name of one of the modifier_groups, not {name!r}",
                    )

    def _repeated_skus(self) -> Iterator[Fault]:
        seen = set[str]()
        for path, sku in self._skus():
            if sku in seen:
                yield Fault((*path, "sku"), f"must not be {sku!r}, which another item has")
            seen.add(sku)

    def _unusable_names(self) -> Iterator[Fault]:
        """Yield a fault for each name that is too long for an order, or means something else."""
        shared, seen, seen_with_section = self.shared_names(), set[str](), set[str]()
        for path, section, name, sku in self._names():
            with_section = full_name(section, name)
            order_name = with_section if name in shared else name
            sent = name if sku is not None else order_name
            if len(sent) > MAX_ITEM_NAME:
                yield Fault(
                    (*path, "name"),
                    f"must be shorter: orders would name it {sent!r}, which is longer than"
                    f" {MAX_ITEM_NAME} characters",
                )
            if order_name in shared or order_name in seen or with_section in seen_with_section:
                yield Fault(
                    (*path, "name"),
                    f"must be another: orders would name it {order_name!r}, as another item or"
                    " variation",
                )
            seen.add(order_name)
            seen_with_section.add(with_section)

    def shared_names(self) -> set[str]:
        """Return the names that several items or variations have, such as those of two sections."""
        counts = Counter(name for _, _, name, _ in self._names())
        return {name for name, count in counts.items() if count > 1}

    def _names(self) -> Iterator[tuple[tuple[str | int, ...], str, str, str | None]]:
        """Yield path, section, name and sku of each item and variation, as orders name them."""
        for path, item in self._items():
            section = self.sections[int(path[1])].name
            yield path, section, item.name, item.sku
            for place, each in enumerate(item.variations):
                name = variation_name(item.name, each.name)
                yield (*path, "variations", place), section, name, each.sku

    def _items(self) -> Iterator[tuple[tuple[str | int, ...], MenuItem]]:
        for section_place, section in enumerate(self.sections):
            for place, item in enumerate(section.items):
                yield ("sections", section_place, "items", place), item

    def _skus(self) -> Iterator[tuple[tuple[str | int, ...], str]]:
        for path, item in self._items():
            if item.sku is not None:
                yield path, item.sku
            for place, variation in enumerate(item.variations):
                if variation.sku is not None:
                    yield (*path, "variations", place), variation.sku


def _duplicates(path: tuple[str, ...], kind: str, names: Iterable[str]) -> Iterator[Fault]:
    """Yield a fault for each name that an earlier entry of a list has.

    `path` is the field of the list, and the field of an entry that has its name.
    """
    field, *rest = path
    seen = set[str]()
    for place, name in enumerate(names):
        if name in seen:
            yield Fault((field, place, *rest), f"must not be {name!r}, as another {kind} is")
        seen.add(name)


def _refuse(faults: Iterable[Fault]) -> None:
    """Raise a `ValidationError` with all faults, each with the path of its value."""
    errors = [
        InitErrorDetails(
            type="value_error", ctx={"error": ValueError(message)}, loc=path, input=None
        )
        for path, message in faults
    ]
    if errors:
        raise ValidationError.from_exception_data("menu", errors)


NO_MENU = Menu(sections=())
