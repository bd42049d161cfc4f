"""Parts of an order that several platforms send in the same way."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, TypeAlias

from restaurant_system.integrations.payload import Node, Sourced
from restaurant_system.models.fields import MAX_ITEM_NAME

Draft: TypeAlias = dict[str, Any]  # a part of an order, whose leaves may be `Sourced`

ADD, REMOVE, CHOICE, INSTRUCTION = "add", "remove", "choice", "instruction"
NO_NAME = "(no name)"
NO = re.compile(r"no\s+([^\W\d][^\d]*)", re.IGNORECASE)  # not "No. 5 sauce", "No 7 sauce"
# After "no", these begin a name or an answer, such as "No bake cheesecake" and "No preference".
NOT_INGREDIENTS = frozenset(
    {
        *("bake", "change", "changes", "choice", "fuss", "idea", "limit", "modification"),
        *("modifications", "more", "name", "need", "one", "option", "options", "preference"),
        *("preferences", "problem", "rush", "selection", "special", "thank", "thanks"),
    }
)
TABLE_NUMBER = re.compile(r"[1-9][0-9]{0,3}", re.ASCII)
UNITS = {"KG": "kg", "G": "g", "LB": "lb", "OZ": "oz", "L": "l", "ML": "ml", "GAL": "gal"}


class Charges:
    """Fees, taxes and discounts of an order; those with one name are one charge."""

    def __init__(self) -> None:
        self._amounts: dict[str, Sourced] = {}

    def add(self, name: str, amount: Decimal | None, source: Node) -> None:
        """Add an amount; 0 and a missing one are no charge."""
        if not amount:
            return
        known = self._amounts.get(name)
        self._amounts[name] = (
            source.sourced(amount) if known is None else Sourced(known.value + amount, known.source)
        )

    def deduct(self, name: str, amount: Decimal | None, source: Node) -> None:
        """Add a discount, which platforms send with or without a minus sign."""
        self.add(name, None if amount is None else -abs(amount), source)

    def add_rest(self, name: str, total: Decimal | None, named: Decimal, source: Node) -> None:
        """Add what a total of fees has beyond those that the platform names."""
        self.add(name, max((total or Decimal(0)) - named, Decimal(0)), source)

    def deduct_rest(self, name: str, total: Decimal | None, named: Decimal, source: Node) -> None:
        """Add what a total of discounts has beyond those that the platform names."""
        self.deduct(name, max(abs(total or Decimal(0)) - abs(named), Decimal(0)), source)

    def total(self) -> Decimal:
        """Return the sum of the charges."""
        return sum((each.value for each in self._amounts.values()), Decimal(0))

    def draft(self) -> list[Draft] | None:
        """Return the charges of the order, `None` without any."""
        charges = [
            {"name": Sourced(name, amount.source), "amount": amount}
            for name, amount in self._amounts.items()
            if amount.value
        ]
        return charges or None


def table(label: Sourced) -> Draft:
    """Return the table of an order: its number, or else its label; the counter without either."""
    text = label.value
    if text is None:
        return {"handoff": "counter"}
    if TABLE_NUMBER.fullmatch(text):
        return {"table_number": Sourced(int(text), label.source)}
    return {"table": label}


def total_of(items: Iterable[Sourced]) -> Decimal:
    """Return the sum of drafts of items, or of modifiers."""
    return sum((_total(each.value) for each in items), Decimal(0))


def _total(item: Draft) -> Decimal:
    price, quantity = (_plain(item.get(name)) for name in ("price", "quantity"))
    unit = (price or Decimal(0)) + total_of(item.get("modifiers") or ())
    return Decimal(unit * (1 if quantity is None else quantity))


def _plain(value: Any) -> Any:  # noqa: ANN401 - of a draft
    return value.value if isinstance(value, Sourced) else value


def joined(parts: Sequence[Sourced], separator: str) -> Sourced:
    """Return the texts that are there as one; its source is the first of them."""
    present = [each for each in parts if each.value is not None]
    if not present:
        return Sourced(None, parts[0].source if parts else "")
    return Sourced(separator.join(each.value for each in present), present[0].source)


def notes(*parts: Sourced) -> Sourced:
    """Return texts as the lines of a note; equal ones once."""
    return joined([*{each.value: each for each in parts}.values()], "\n")


def labelled(label: str, text: Sourced) -> Sourced:
    """Return a text after a label, such as "Covers: 4"."""
    return text if text.value is None else Sourced(f"{label}: {text.value}", text.source)


def cutlery(included: Node) -> Sourced:
    """Return the line of a note that says whether cutlery is wanted."""
    flag = included.flag()
    words = {True: "Cutlery: yes", False: "Cutlery: no", None: None}
    return included.sourced(words[flag])


def full_name(first: Node, last: Node) -> Sourced:
    """Return the first and the last name of a person."""
    return joined([first.line(), last.line()], " ")


def of_own_delivery(by_type: Draft, part: Node, read: Callable[[Node], Sourced]) -> Sourced:
    """Read an address to which the restaurant itself delivers; another one is not needed here."""
    is_own = by_type.get("handoff") == "own_delivery"
    return read(part) if is_own else part.sourced(None)


def phone(number: Node, code: Node) -> Sourced:
    """Return a phone number, with the code that the one who calls it must enter.

    A code may come alone, where all customers of a platform have one number.
    """
    pin = code.line()
    parts = [number.line(), Sourced(pin.value and f"PIN {pin.value}", pin.source)]
    return joined(parts, ", ")


def option(
    name: Sourced,
    *,
    kind: str = CHOICE,
    quantity: Sourced | None = None,
    price: Sourced | None = None,
    source: Node,
    modifiers: list[Sourced] | None = None,
) -> Sourced:
    """Return a modifier.

    Where the platform does not say what kind it is, a free one such as "No onions" removes
    something.
    """
    is_free = (price is None or (price.value or 0) <= 0) and not modifiers
    removed = _removed(name.value) if (kind == CHOICE and is_free) or kind == REMOVE else None
    if removed is not None:
        kind, name = REMOVE, Sourced(removed, name.source)
    draft: Draft = {"name": name, "kind": kind, "modifiers": modifiers or None}
    if quantity is not None and quantity.value != 1:
        draft["quantity"] = quantity
    if price is not None and price.value:
        draft["price"] = price
    return source.sourced(draft)


def _removed(name: str | None) -> str | None:
    """Return what "No onions" removes, and `None` for any other name."""
    match = NO.fullmatch(name or "")
    if match is None:
        return None
    rest = match[1]
    return None if rest.split()[0].strip(",.!").lower() in NOT_INGREDIENTS else rest


def choices(options: Sequence[tuple[Sourced, Sourced]]) -> list[Sourced]:
    """Return options, each given with the name of its group, as modifiers of one item.

    One whose name occurs in several groups keeps that of its group: "Left half: Ham". One without
    a name stays so.
    """
    groups: defaultdict[str | None, set[str | None]] = defaultdict(set)
    for group, each in options:
        groups[_folded(each.value["name"])].add(_folded(group))
    return [
        _in_group(group, each)
        if group.value is not None
        and each.value["name"].value is not None
        and len(groups[_folded(each.value["name"])]) > 1
        else each
        for group, each in options
    ]


def _in_group(group: Sourced, choice: Sourced) -> Sourced:
    """Return an option with the name of its group, which is an instruction if it is too long."""
    name = labelled(group.value, choice.value["name"])
    if len(name.value) <= MAX_ITEM_NAME:
        return Sourced({**choice.value, "name": name}, choice.source)
    inner = [*(choice.value["modifiers"] or ()), *instruction(group)]
    return Sourced({**choice.value, "modifiers": inner}, choice.source)


def _folded(name: Sourced) -> str | None:
    return None if name.value is None else str(name.value).casefold()


def instruction(text: Sourced) -> list[Sourced]:
    """Return a text as a modifier, none if it is missing."""
    return [] if text.value is None else [Sourced({"name": text, "kind": INSTRUCTION}, text.source)]


def called(name: Sourced, sku: Sourced | None = None) -> Sourced:
    """Return the name of an item or option; one without is called by its id, if it has one."""
    if name.value is not None:
        return name
    return Sourced((sku and sku.value) or NO_NAME, name.source)


def share_of(quantity: Decimal | None, unit: str | None = None) -> Decimal | None:
    """Return the weight or share of a piece that a quantity is, `None` for a number of pieces.

    A negative quantity, which is refused, is none.
    """
    if quantity is None or quantity <= 0:
        return None
    return quantity if unit is not None or quantity != quantity.to_integral_value() else None


def by_weight(name: Sourced, quantity: Decimal, unit: str | None = None) -> Sourced:
    """Return the name of a piece with its weight or share, such as "Ribeye (0.350 kg)"."""
    amount = f"{quantity:f}"
    if unit is not None:
        if quantity == round(quantity, 3) != quantity.to_integral_value():
            amount = f"{quantity:.3f}"  # so that 0.35 and 0.350 are one weight
        amount = f"{amount} {UNITS.get(unit.upper(), unit)}"
    return Sourced(f"{called(name).value} ({amount})", name.source)


def price_of_piece(
    price: Decimal | None,
    share: Decimal | None,
    modifiers: Sequence[Sourced],
    decimals: int,
    total: Decimal | None = None,
) -> Decimal | None:
    """Return the price of a piece of what is sold by weight, or without a share the price.

    The prices of its modifiers become those of the share, too. All together are the platform's
    total, or else the share of the sum, which is rounded once.
    """
    if price is None or share is None:
        return price
    if total is None:
        total = rounded((price + total_of(modifiers)) * share, decimals)
    for each in _with_inner(modifiers):
        own = each.value.get("price")
        if own is not None:
            each.value["price"] = Sourced(rounded(own.value * share, decimals), own.source)
    return rest_of(total, modifiers)


def rest_of(total: Decimal, modifiers: Sequence[Sourced]) -> Decimal:
    """Return what of a total is the price of the item itself.

    Modifiers that would cost more than the total become free: the item costs it all.
    """
    rest = total - total_of(modifiers)
    if rest >= 0:
        return rest
    for each in _with_inner(modifiers):
        each.value.pop("price", None)
    return total


def _with_inner(modifiers: Iterable[Sourced]) -> Iterator[Sourced]:
    for each in modifiers:
        yield each
        yield from _with_inner(each.value.get("modifiers") or ())


def rounded(amount: Decimal, decimals: int) -> Decimal:
    """Round an amount half up to the decimals of its currency."""
    return amount.quantize(Decimal(1).scaleb(-decimals), ROUND_HALF_UP)
