"""Compare an order with the menu: what is sold out, what must be chosen, and what it costs."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import IntEnum
from typing import NamedTuple

from restaurant_system.error_texts import ErrorText
from restaurant_system.models.access import UNGUARDED, Caller, Capability
from restaurant_system.models.menu import ModifierGroup, ModifierOption
from restaurant_system.models.menu_offer import (
    Limit,
    Offer,
    Product,
    Reason,
    State,
    names,
    option_key,
)
from restaurant_system.models.money import json_number
from restaurant_system.models.order import NewOrder
from restaurant_system.models.order_items import Modifier, ModifierKind, OrderItem
from restaurant_system.models.text import folded_text

CHOSEN = frozenset({ModifierKind.ADD, ModifierKind.CHOICE})


class MenuRules(IntEnum):
    """How much of the menu an order must agree with; each includes the ones before it.

    Before `PUBLIC`, what an order names by a name alone is only checked for what is sold out.
    """

    AVAILABILITY = 1  # nothing that is sold out
    CHOICES = 2  # and a name means one item; an item with a sku has what must be chosen
    PRICES = 3  # and an item with a sku costs what the menu says
    NAMES = 4  # and an item with a sku has the name of the menu
    PUBLIC = 5  # and nothing else can be ordered, or lowers what is to be paid


def rules_for(caller: Caller | None) -> MenuRules:
    """Return the rules for the orders of a caller; `None` is a platform.

    The customers of a platform have paid its prices. A caller that may move orders may set prices.
    Without access control it is unknown which caller that is, so that the prices of the menu hold.
    A program with an API key is trusted with discounts, an anonymous caller with nothing.
    """
    if caller is None:
        return MenuRules.AVAILABILITY
    if caller is UNGUARDED:
        return MenuRules.PRICES
    if caller.is_anonymous:
        return MenuRules.PUBLIC
    return MenuRules.CHOICES if caller.may(Capability.MOVE_ORDERS) else MenuRules.NAMES


@dataclass(frozen=True, slots=True)
class OrderFault:
    """A disagreement of an order with the menu: the path of the field, and what is wrong."""

    field: str
    message: ErrorText


class Choice(NamedTuple):
    """Something that an order may take, with the keys of the limits that count it."""

    name: str
    keys: Sequence[str]


@dataclass(frozen=True, slots=True)
class Portions:
    """Portions of something that is counted, as a part of an order has them.

    They are of the first choice of which enough is left; a name that sections share has several.
    """

    field: str
    quantity: int
    choices: Sequence[Choice]


@dataclass(frozen=True, slots=True)
class CheckedOrder:
    """What is wrong with an order, and what of it is counted."""

    faults: Sequence[OrderFault]
    portions: Sequence[Portions]


NO_DIFFERENCE = CheckedOrder((), ())


def moment_of(order: NewOrder, now: datetime) -> datetime:
    """Return when an order is to be ready; one that was to be ready before is made now."""
    return now if order.ready_at is None else max(order.ready_at, now)


def check(offer: Offer, order: NewOrder, now: datetime, rules: MenuRules) -> CheckedOrder:
    """Compare an order with what is offered when it is to be ready."""
    comparison: _Comparison | None = None
    for position, item in enumerate(order.items):
        meant = _meant(offer, item)
        if meant.products or item.modifiers or rules is MenuRules.PUBLIC:
            if _agrees(offer, item, meant, rules):
                continue
            comparison = comparison or _Comparison(offer, moment_of(order, now), rules)
            comparison.add(item, meant, position)
    if rules is MenuRules.PUBLIC and (order.charges or order.amount_due is not None):
        comparison = comparison or _Comparison(offer, moment_of(order, now), rules)
        comparison.add_payment(order)
    return NO_DIFFERENCE if comparison is None else comparison.result()


class _Meant(NamedTuple):
    """What an item may mean: the product of its sku, or all of its name."""

    products: Sequence[Product]
    is_by_sku: bool


def _meant(offer: Offer, item: OrderItem) -> _Meant:
    if item.sku is not None and (products := offer.catalogue.with_sku(item.sku)):
        return _Meant(products, is_by_sku=True)
    return _Meant(offer.catalogue.named(item.name), is_by_sku=False)


def _agrees(offer: Offer, item: OrderItem, meant: _Meant, rules: MenuRules) -> bool:
    """Return whether an item certainly agrees with the menu, as most do, in a microsecond."""
    if len(meant.products) != 1:
        return False
    product = meant.products[0]
    has_menu_price = rules is MenuRules.PUBLIC or (meant.is_by_sku and rules >= MenuRules.PRICES)
    has_menu_name = rules is MenuRules.PUBLIC or (meant.is_by_sku and rules >= MenuRules.NAMES)
    return (
        product.is_plain
        and not item.modifiers
        and (not offer.limits or offer.limits.keys().isdisjoint(product.limit_keys))
        and (not has_menu_price or item.price == product.price)
        and (not has_menu_name or item.name in product.aliases)
        and (rules < MenuRules.PUBLIC or item.sku is None or meant.is_by_sku)
        and not (meant.is_by_sku and product.variations)
    )


class Allotment(NamedTuple):
    """How many portions an order takes, by key, and what is not left in sufficient number."""

    taken: Counter[str]
    faults: Sequence[OrderFault]


def allot(portions: Sequence[Portions], left: Mapping[str, Limit], moment: datetime) -> Allotment:
    """Choose what an order takes of what is left at the moment when it is to be ready."""
    taken = Counter[str]()
    faults = []
    for each in portions:
        counted = [_counted(choice, left, moment) for choice in each.choices]
        missing = [_missing(keys, left, taken, each.quantity) for keys in counted]
        chosen = missing.index(None) if None in missing else 0
        taken.update(dict.fromkeys(counted[chosen], each.quantity))
        if (limit := missing[chosen]) is not None:
            faults.append(OrderFault(each.field, _shortage(each.choices[chosen].name, limit)))
    return Allotment(taken, faults)


def _shortage(name: str, limit: Limit) -> ErrorText:
    if not limit.remaining:
        return State(Reason.SOLD_OUT, limit).fault_of(name)
    remaining = limit.remaining
    message = f"is more than what is left: {remaining} ({name})"
    return ErrorText(message, "too_few_left", name=name, remaining=remaining)


def _counted(choice: Choice, left: Mapping[str, Limit], moment: datetime) -> list[str]:
    """Return the keys of the limits of a choice that hold at a moment."""
    return [key for key in choice.keys if key in left and left[key].holds_at(moment)]


def _missing(
    keys: Sequence[str], left: Mapping[str, Limit], taken: Counter[str], quantity: int
) -> Limit | None:
    """Return the first limit of which less is left than a quantity, besides what was taken."""
    return next((left[key] for key in keys if taken[key] + quantity > left[key].remaining), None)


@dataclass(slots=True)
class _Ordered:
    """A product in an order, with how many options of each group are chosen."""

    product: Product
    quantity: int
    has_menu_price: bool
    has_only_options: bool
    chosen: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class _Comparison:
    """Collects the faults of one order."""

    offer: Offer
    moment: datetime
    rules: MenuRules
    faults: list[OrderFault] = field(default_factory=list)
    portions: list[Portions] = field(default_factory=list)

    def result(self) -> CheckedOrder:
        """Return what was found."""
        return CheckedOrder(self.faults, self.portions)

    def add(self, item: OrderItem, meant: _Meant, position: int) -> None:
        """Compare an item with what it may mean."""
        path = f"items.{position}"
        is_public = self.rules is MenuRules.PUBLIC
        if is_public and not self._is_on_menu(item, meant, path):
            return
        if not meant.products:  # typed, or of a platform
            for modifier, its_path, count in _flattened(item.modifiers, path):
                self._add_component(modifier, its_path, count * item.quantity)
            return
        found = self._resolve(item, meant, path)
        if not found:
            return
        product = found[0]
        self._count_products(
            [each for each in found if not is_public or each.groups == product.groups],
            item.quantity,
            path,
        )
        has_price = is_public or (meant.is_by_sku and self.rules >= MenuRules.PRICES)
        ordered = _Ordered(product, item.quantity, has_price, is_public)
        for modifier, its_path, count in _flattened(item.modifiers, path):
            self._add_modifier(ordered, modifier, its_path, count)
        if is_public or (meant.is_by_sku and self.rules >= MenuRules.CHOICES):
            self._check_groups(ordered, path)
        if has_price:
            self._check_price(f"{path}.price", item.price, product.price, product.name)

    def add_payment(self, order: NewOrder) -> None:
        """Refuse what would lower the amount that an anonymous caller has to pay."""
        for position, charge in enumerate(order.charges):
            if charge.amount < 0:
                message = "must not be negative; a discount needs an API key"
                fault = ErrorText(message, "discount_refused")
                self._refuse(f"charges.{position}.amount", fault)
        if order.amount_due is not None and order.amount_due < order.total_amount:
            message = "must not be below the total; leave it out, or use an API key"
            self._refuse("amount_due", ErrorText(message, "amount_due_below_total"))

    def _is_on_menu(self, item: OrderItem, meant: _Meant, path: str) -> bool:
        """Return whether an item of an anonymous caller is on the menu; refuse it if it is not."""
        if not meant.products:
            message = "is not on the menu; send the order_name or the sku of an item of GET /menu"
            self._refuse(f"{path}.name", ErrorText(message, "not_on_menu"))
            return False
        if item.sku is not None and not meant.is_by_sku:
            expected = names(meant.products)
            message = f"must be that of the menu: {expected}"
            self._refuse(f"{path}.sku", ErrorText(message, "sku_not_of_item", expected=expected))
            return False
        return True

    def _resolve(self, item: OrderItem, meant: _Meant, path: str) -> Sequence[Product]:
        """Return the products that an item may mean and that can be ordered."""
        candidates = meant.products
        if self.rules >= MenuRules.CHOICES:
            if meant.is_by_sku and len(candidates) > 1:
                choices = names(candidates)
                message = f"is like several; send one of {choices}"
                self._refuse(f"{path}.sku", ErrorText(message, "ambiguous", choices=choices))
                return ()
            if len({each.price for each in candidates}) > 1:
                choices = names(candidates)
                message = (
                    "is the name of several items with different prices;"
                    f" send the sku, or one of {choices}"
                )
                self._refuse(f"{path}.name", ErrorText(message, "several_prices", choices=choices))
                return ()
            if meant.is_by_sku:
                variations = candidates[0].variations
                candidates = [each for each in variations if each.is_named(item.name)] or candidates
            if candidates[0].price is None and (meant.is_by_sku or self.rules is MenuRules.PUBLIC):
                choices = names(each for whole in candidates for each in whole.variations)
                message = f"must be that of a variation: {choices}"
                fault = ErrorText(message, "variation_required", choices=choices)
                self._refuse(f"{path}.{'sku' if meant.is_by_sku else 'name'}", fault)
                return ()
            if (
                meant.is_by_sku
                and self.rules >= MenuRules.NAMES
                and not candidates[0].is_named(item.name)
            ):
                name = candidates[0].name
                message = f"must be {name!r}, the menu's name of the sku"
                self._refuse(f"{path}.name", ErrorText(message, "not_name_of_sku", name=name))
        return self._available(candidates, path)

    def _available(
        self, candidates: Sequence[Product], path: str, *, at_any_hour: bool = False
    ) -> Sequence[Product]:
        """Return the products that can be ordered; refuse the order if there are none."""
        states = [self.offer.state(each, self.moment) for each in candidates]
        found = [
            product
            for product, state in zip(candidates, states, strict=True)
            if state.is_available or (at_any_hour and state.reason is Reason.HOURS)
        ]
        if not found:
            self._refuse(path, states[0].fault_of(candidates[0].name))
        return found

    def _add_modifier(self, ordered: _Ordered, modifier: Modifier, path: str, count: int) -> None:
        """Compare a modifier, of which each piece has `count`, with the options of its item."""
        found = _option(ordered, modifier)
        if found is None:
            self._add_request(ordered, modifier, path, count)
            return
        group, option = found
        ordered.chosen[group.name] += count
        state = self.offer.option_state(option, self.moment)
        if not state.is_available:
            self._refuse(path, state.fault_of(option.name))
        self._count_option(option.name, count * ordered.quantity, path)
        if ordered.has_menu_price:
            self._check_price(f"{path}.price", modifier.price, option.price, option.name)

    def _add_request(self, ordered: _Ordered, modifier: Modifier, path: str, count: int) -> None:
        """Compare a modifier that is no option of its item: a request, as in the notes."""
        self._add_component(modifier, path, count * ordered.quantity)
        if ordered.has_only_options and modifier.kind in CHOSEN:
            message = "is not an option of the item; send a request with the kind instruction"
            self._refuse(f"{path}.name", ErrorText(message, "not_an_option"))
        elif ordered.has_menu_price and modifier.price < 0:
            message = "must not be negative; the menu has no such option"
            self._refuse(f"{path}.price", ErrorText(message, "price_of_request_negative"))

    def _add_component(self, modifier: Modifier, path: str, quantity: int) -> None:
        """Compare a modifier with the options of other items, or else with the items of a combo."""
        if modifier.kind not in CHOSEN:
            return
        options = self.offer.catalogue.options(modifier.name)
        for name in options:
            limit = self.offer.limit(option_key(name), self.moment)
            if limit is not None and limit.remaining == 0:
                self._refuse(path, State(Reason.SOLD_OUT, limit).fault_of(name))
            self._count_option(name, quantity, path)
        items = () if options else self.offer.catalogue.named(modifier.name)
        if items:
            self._count_products(self._available(items, path, at_any_hour=True), quantity, path)

    def _check_groups(self, ordered: _Ordered, path: str) -> None:
        for group in ordered.product.groups:
            count = ordered.chosen[group.name]
            if count > group.max:
                self._refuse(f"{path}.modifiers", _too_many(group, count))
            elif count < group.min and (count or self._free_defaults(group) < group.min):
                self._refuse(f"{path}.modifiers", _too_few(group))

    def _free_defaults(self, group: ModifierGroup) -> int:
        """Return how many options an item has without naming them: defaults that cost nothing."""
        return sum(
            option.default
            and option.price == 0
            and self.offer.option_state(option, self.moment).is_available
            for option in group.options
        )

    def _check_price(self, path: str, price: Decimal, right: Decimal | None, name: str) -> None:
        if price != right:
            message = f"must be {right}, the menu's price of {name!r}"
            shown = "" if right is None else json_number(right)
            fault = ErrorText(message, "price_differs_from_menu", name=name, price=shown)
            self._refuse(path, fault)

    def _count_products(self, products: Sequence[Product], quantity: int, path: str) -> None:
        self._count(path, quantity, [Choice(each.name, each.limit_keys) for each in products])

    def _count_option(self, name: str, quantity: int, path: str) -> None:
        self._count(path, quantity, [Choice(name, (option_key(name),))])

    def _count(self, path: str, quantity: int, choices: Sequence[Choice]) -> None:
        """Count portions if the first choice is limited; another one is chosen as they are sold."""
        if choices and _counted(choices[0], self.offer.limits, self.moment):
            self.portions.append(Portions(path, quantity, choices))

    def _refuse(self, path: str, message: ErrorText) -> None:
        self.faults.append(OrderFault(path, message))


def _too_many(group: ModifierGroup, count: int) -> ErrorText:
    name, most = group.name, group.max
    message = f"must have at most {most} of {name!r}, not {count}"
    return ErrorText(message, "too_many_options", group=name, max=most, count=count)


def _too_few(group: ModifierGroup) -> ErrorText:
    name, least = group.name, group.min
    options = ", ".join(repr(option.name) for option in group.options)
    message = f"must have at least {least} of {name!r}: {options}"
    return ErrorText(message, "too_few_options", group=name, min=least, options=options)


def _flattened(
    modifiers: Sequence[Modifier], path: str, count: int = 1
) -> Iterator[tuple[Modifier, str, int]]:
    """Yield the modifiers at all levels, each with its path and how many of it a piece has."""
    for position, each in enumerate(modifiers):
        its_path, its_count = f"{path}.modifiers.{position}", count * each.quantity
        yield each, its_path, its_count
        yield from _flattened(each.modifiers, its_path, its_count)


def _option(ordered: _Ordered, modifier: Modifier) -> tuple[ModifierGroup, ModifierOption] | None:
    """Return the option that a modifier means: the first in a group with room for it.

    The whole name decides, and whether something is left out; an option of the very kind of the
    modifier comes first.
    """
    name = folded_text(modifier.name)
    found = [
        (group, option)
        for group in ordered.product.groups
        for option in group.options
        if option.folded_name == name
        and (option.kind is ModifierKind.REMOVE) == (modifier.kind is ModifierKind.REMOVE)
    ]
    found.sort(key=lambda each: each[1].kind is not modifier.kind)
    with_room = (each for each in found if ordered.chosen[each[0].name] < each[0].max)
    return next(with_room, found[0] if found else None)
