"""What of the menu can be ordered at a moment, and whether an order agrees with the menu.

An order names what it wants by `sku` or by name. An item's name that another section has too is
written with its section: "Cocktails / Margherita". A variation is named with its item:
"Margherita (Large)". What people have marked as sold out is stored by the sku, or else by the name
with its section, so that no change of another item affects it.

Spelling as in `folded_text` makes no difference, unless the menu has several spellings: then an
exact one means its own item, and any other all of them.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Generic, TypeVar
from zoneinfo import ZoneInfo

from restaurant_system.error_texts import ErrorText
from restaurant_system.models.clock import rfc_3339
from restaurant_system.models.menu import (
    Hours,
    Menu,
    MenuItem,
    MenuSection,
    ModifierGroup,
    ModifierOption,
    full_name,
    variation_name,
)
from restaurant_system.models.text import folded_text

T = TypeVar("T")


class Reason(StrEnum):
    """Why something on the menu cannot be ordered."""

    MENU = "menu"  # the menu file says so
    SOLD_OUT = "sold_out"
    HOURS = "hours"


@dataclass(frozen=True, slots=True)
class Limit:
    """How many portions are left until a time, or until people change it; 0 means sold out."""

    remaining: int
    until: datetime | None = None

    def holds_at(self, moment: datetime) -> bool:
        """Return whether the limit has not ended at a moment."""
        return self.until is None or moment < self.until


@dataclass(frozen=True, slots=True)
class State:
    """Whether something can be ordered at a moment, with the limit that holds then."""

    reason: Reason | None = None
    limit: Limit | None = None
    hours: Sequence[Hours] = ()

    @property
    def is_available(self) -> bool:
        """Return whether it can be ordered."""
        return self.reason is None

    def fault_of(self, name: str) -> ErrorText:
        """Return why something with this name cannot be ordered, as the rest of a sentence."""
        match self.reason:
            case Reason.SOLD_OUT:
                if self.limit is None or self.limit.until is None:
                    return ErrorText(f"is sold out ({name})", "sold_out", name=name)
                until = rfc_3339(self.limit.until)
                message = f"is sold out until {until} ({name})"
                return ErrorText(message, "sold_out_until", name=name, until=until)
            case Reason.HOURS:
                hours = " and from ".join(map(str, self.hours))
                message = f"is served only from {hours} ({name})"
                return ErrorText(message, "not_served_then", name=name, hours=hours)
            case _:
                message = f"is not available; the menu has it as unavailable ({name})"
                return ErrorText(message, "unavailable_on_menu", name=name)


@dataclass(frozen=True, slots=True)
class Product:
    """An item of the menu, or one of its variations.

    `keys` identify it in the database, the best first; `limit_keys` are those of everything that
    limits it: itself, and the item of a variation. `aliases` are all names that it is found by,
    `name` is the one that no other product has. `price` is `None` for an
    item that is ordered as one of its variations. A plain product can be ordered at any time, with
    nothing to choose, unless it is limited.
    """

    keys: Sequence[str]
    limit_keys: Sequence[str]
    name: str
    aliases: Sequence[str]
    sku: str | None
    price: Decimal | None
    is_offered: bool
    hours: Sequence[Hours]
    groups: Sequence[ModifierGroup]
    variations: Sequence["Product"] = ()
    is_plain: bool = field(init=False)

    def __post_init__(self) -> None:
        """Compute once what each order needs."""
        is_plain = self.is_offered and self.price is not None and not (self.hours or self.groups)
        object.__setattr__(self, "is_plain", is_plain)

    def is_named(self, name: str) -> bool:
        """Return whether a name is one of its names, in whatever spelling."""
        return name in self.aliases or folded_text(name) in map(folded_text, self.aliases)

    @property
    def reference(self) -> str:
        """Return by what an order names it: its sku, or else its name."""
        return self.name if self.sku is None else self.sku


def product_keys(sku: str | None, name: str) -> tuple[str, ...]:
    """Return the keys of a product with a sku, if it has one, and a name with its section.

    What was set before it had a sku stays in force, and so does what was set under another name.
    """
    by_name = f"name:{name}"
    return (by_name,) if sku is None else (f"sku:{sku}", by_name)


def option_key(name: str) -> str:
    """Return the key of the options of a name, in whatever groups they are."""
    return f"option:{name}"


class Catalogue:
    """The products of a menu, by sku, by name and by position."""

    def __init__(self, menu: Menu) -> None:
        self.menu = menu
        self._groups = {group.name: group for group in menu.modifier_groups}
        self.has_hours = any(
            section.hours or any(item.hours for item in section.items) for section in menu.sections
        )
        shared = menu.shared_names()
        self.items: list[list[Product]] = [
            [self._item(section, item, shared) for item in section.items]
            for section in menu.sections
        ]
        self._products_by_key = {key: each for each in self.products for key in each.keys}
        self._by_name = _BySpelling(
            (alias, each) for each in self.products for alias in each.aliases
        )
        self._by_sku = _BySpelling(
            (each.sku, each) for each in self.products if each.sku is not None
        )
        options = [option.name for group in menu.modifier_groups for option in group.options]
        self._options = _BySpelling((name, name) for name in options)
        self._option_keys = {option_key(name) for name in options}

    def named(self, name: str) -> tuple[Product, ...]:
        """Return the products of a name: several if sections share it, none if it is unknown."""
        return self._by_name.get(name)

    def with_sku(self, sku: str) -> tuple[Product, ...]:
        """Return the product of a sku; several only if it is like several, none if unknown."""
        return self._by_sku.get(sku)

    def options(self, name: str) -> tuple[str, ...]:
        """Return the option of a name, as the menu writes it: several only if it is like several.

        Without such an option in any group there is none.
        """
        return self._options.get(name)

    def has(self, key: str) -> bool:
        """Return whether the menu still has what a key identifies."""
        return key in self._products_by_key or key in self._option_keys

    def reference(self, key: str) -> tuple[str, str]:
        """Return by what a request names what a key identifies: `sku`, `name` or `option`."""
        if (product := self._products_by_key.get(key)) is not None:
            return ("name" if product.sku is None else "sku"), product.reference
        kind, _, name = key.partition(":")
        return kind, name

    @property
    def products(self) -> Iterator[Product]:
        """Yield every product: each item, followed by its variations."""
        for section in self.items:
            for item in section:
                yield from (item, *item.variations)

    def _item(self, section: MenuSection, item: MenuItem, shared: set[str]) -> Product:
        hours = item.hours or section.hours or ()
        groups = [self._groups[name] for name in item.modifier_groups]

        def product(
            name: str, sku: str | None, price: Decimal | None, *, is_offered: bool
        ) -> Product:
            with_section = full_name(section.name, name)
            aliases = (name, with_section) if name in shared else (name,)
            name = aliases[-1] if sku is None else name
            keys = product_keys(sku, with_section)
            return Product(keys, keys, name, aliases, sku, price, is_offered, hours, groups)

        whole = product(item.name, item.sku, item.price, is_offered=item.available)
        variations = [
            product(
                variation_name(item.name, each.name),
                each.sku,
                each.price,
                is_offered=item.available and each.available,
            )
            for each in item.variations
        ]
        return replace(
            whole,
            variations=[replace(each, limit_keys=(*each.keys, *whole.keys)) for each in variations],
        )


class _BySpelling(Generic[T]):
    """What the menu has by its spelling there, and by other spellings of it."""

    def __init__(self, entries: Iterable[tuple[str, T]]) -> None:
        self._exact: dict[str, tuple[T, ...]] = {}
        self._folded: dict[str, tuple[T, ...]] = {}
        for name, value in entries:
            for found, key in ((self._exact, name), (self._folded, folded_text(name))):
                if value not in (known := found.get(key, ())):
                    found[key] = (*known, value)

    def get(self, name: str) -> tuple[T, ...]:
        """Return what a spelling means: what is spelled so, or else all that are like it."""
        return self._exact.get(name) or self._folded.get(folded_text(name), ())


class Offer:
    """The products of a catalogue, with the limits that people have set."""

    def __init__(
        self, catalogue: Catalogue, limits: Mapping[str, Limit], timezone: ZoneInfo
    ) -> None:
        self.catalogue = catalogue
        self.limits = limits
        self._timezone = timezone

    def state(self, product: Product, moment: datetime) -> State:
        """Return whether a product can be ordered at a moment."""
        if not product.is_offered:
            return State(Reason.MENU)
        limit = self._limit(product, moment)
        if limit is not None and limit.remaining == 0:
            return State(Reason.SOLD_OUT, limit)
        if product.hours:
            local = moment.astimezone(self._timezone)
            if not any(each.cover(local) for each in product.hours):
                return State(Reason.HOURS, limit, product.hours)
        for group in product.groups:
            if group.min > 0 and not self._has_options(group, moment):
                return State(Reason.SOLD_OUT)
        if product.price is None:
            return self._state_of_variations(product, moment, limit)
        return State(limit=limit)

    def option_state(self, option: ModifierOption, moment: datetime) -> State:
        """Return whether an option can be chosen at a moment."""
        if not option.available:
            return State(Reason.MENU)
        limit = self.limit(option_key(option.name), moment)
        is_sold_out = limit is not None and limit.remaining == 0
        return State(Reason.SOLD_OUT if is_sold_out else None, limit)

    def changes_at(self, moment: datetime) -> datetime | None:
        """Return when something may next change by itself: a limit ends, or hours begin or end."""
        ends = [
            limit.until
            for limit in self.limits.values()
            if limit.until is not None and limit.until > moment
        ]
        if self.catalogue.has_hours:  # to the minute
            second = moment.timestamp() // 60 * 60 + 60
            ends.append(datetime.fromtimestamp(second, moment.tzinfo))
        return min(ends, default=None)

    def _has_options(self, group: ModifierGroup, moment: datetime) -> bool:
        return any(self.option_state(option, moment).is_available for option in group.options)

    def _state_of_variations(
        self, product: Product, moment: datetime, limit: Limit | None
    ) -> State:
        states = [self.state(each, moment) for each in product.variations]
        if any(each.is_available for each in states):
            return State(limit=limit)
        first = next((each for each in states if each.reason is Reason.SOLD_OUT), states[0])
        return replace(first, limit=limit)

    def _limit(self, product: Product, moment: datetime) -> Limit | None:
        """Return the stricter limit of a product and of its item."""
        found = [
            limit for key in product.limit_keys if (limit := self.limit(key, moment)) is not None
        ]
        return min(found, key=lambda limit: limit.remaining, default=None)

    def limit(self, key: str, moment: datetime) -> Limit | None:
        """Return the limit of a key that holds at a moment."""
        limit = self.limits.get(key)
        return limit if limit is not None and limit.holds_at(moment) else None


def names(products: Iterable[Product]) -> str:
    """Return by what orders name these products, for a sentence."""
    return ", ".join(repr(each.reference) for each in products)
