"""Fit the quantities and amounts of an order's draft to those of our orders.

The total stays that of the platform: what rounding takes away becomes a charge. An amount beyond
our bounds is left as it is, so that its validation names the fault.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import ROUND_FLOOR, Decimal
from typing import Any

from restaurant_system.integrations.draft import (
    Draft,
    by_weight,
    joined,
    price_of_piece,
    rounded,
    share_of,
    total_of,
)
from restaurant_system.integrations.payload import Sourced
from restaurant_system.models.currency import Currency
from restaurant_system.models.money import MAX_AMOUNT
from restaurant_system.models.order import MAX_CHARGES, MAX_ITEMS
from restaurant_system.models.order_items import (
    MAX_MODIFIER_QUANTITY,
    MAX_MODIFIERS,
    MAX_QUANTITY,
)


def fit_amounts(order: Draft, currency: Currency) -> Draft:
    """Return a draft of an order with whole quantities and with amounts of the currency."""
    items: Sourced | None = order.get("items")
    if items is None:
        return order
    charges: list[Draft] = [dict(each) for each in order.get("charges") or ()]
    pieces = [_in_pieces(each, currency) for each in items.value]
    total = _total(pieces, charges)
    charges += [each for each in map(_as_discount, pieces) if each is not None]
    for charge in charges:
        _round(charge, "amount", currency)
    charges = [each for each in charges if each["amount"].value]
    fitted = [
        each
        for piece in pieces
        for each in _split_quantity(_with_rounded_prices(piece, currency), MAX_QUANTITY, MAX_ITEMS)
    ]
    missing = _rounded(_rounded(total, currency) - _total(fitted, charges), currency)
    if missing:
        source = items.source
        charges.append({"name": Sourced("Rounding", source), "amount": Sourced(missing, source)})
    return {
        **order,
        "items": Sourced(_without_empty(fitted) or fitted, items.source),
        "charges": _few(charges) or None,
        "amount_due": _amount_due(order, currency),
    }


def _total(items: Iterable[Sourced], charges: Iterable[Mapping[str, Sourced]]) -> Decimal:
    amounts = (each["amount"].value for each in charges)
    return total_of(items) + sum((each or Decimal(0) for each in amounts), Decimal(0))


def _few(charges: list[Draft]) -> list[Draft]:
    """Return at most as many charges as an order may have: the last is all the others in one."""
    if len(charges) <= MAX_CHARGES:
        return charges
    *most, last = charges[:MAX_CHARGES]
    others = [last, *charges[MAX_CHARGES:]]
    amount = sum((each["amount"].value for each in others), Decimal(0))
    return [
        *most,
        {
            "name": joined([each["name"] for each in others], ", "),
            "amount": Sourced(amount, last["amount"].source),
        },
    ]


def _amount_due(order: Draft, currency: Currency) -> Sourced | None:
    due: Sourced | None = order.get("amount_due")
    if due is None or due.value is None:
        return due
    return Sourced(_rounded(due.value, currency) if due.value >= 0 else None, due.source)


def _quantity(part: Sourced) -> Any:  # noqa: ANN401 - a number or None
    quantity = part.value.get("quantity")
    return quantity.value if isinstance(quantity, Sourced) else quantity


def _without_empty(parts: Sequence[Sourced]) -> list[Sourced]:
    """Return items or modifiers without those of which there are none."""
    return [each for each in parts if _quantity(each) != 0]


def _in_pieces(part: Sourced, currency: Currency) -> Sourced:
    """Return an item or modifier whose quantity is whole: a fraction is in its name."""
    draft: Draft = dict(part.value)
    inner = [_in_pieces(each, currency) for each in draft.get("modifiers") or ()]
    draft["modifiers"] = inner or None
    quantity: Sourced | None = draft.get("quantity")
    if quantity is None or not isinstance(quantity.value, Decimal):
        return Sourced(draft, part.source)
    whole = quantity.value.to_integral_value(ROUND_FLOOR)  # -0.5 is not 0, which is left out
    if share_of(quantity.value) is not None:
        price: Sourced | None = draft.get("price")
        amount = None if price is None else price.value
        of_piece = price_of_piece(amount, quantity.value, inner, currency.decimals)
        draft["name"] = by_weight(draft["name"], quantity.value)
        draft["price"] = price and Sourced(of_piece, price.source)
        whole = Decimal(1)
    draft["quantity"] = Sourced(int(whole), quantity.source)
    return Sourced(draft, part.source)


def _as_discount(item: Sourced) -> Draft | None:
    """Move a negative price of an item into a charge with its name."""
    price: Sourced | None = item.value.get("price")
    if price is None or price.value is None or price.value >= 0:
        return None
    quantity = _quantity(item)
    item.value["price"] = Sourced(Decimal(0), price.source)
    amount = price.value * (1 if quantity is None else quantity)
    return {"name": item.value["name"], "amount": Sourced(amount, price.source)}


def _with_rounded_prices(item: Sourced, currency: Currency) -> Sourced:
    """Return an item or modifier, and the modifiers in it, with prices of the currency."""
    draft: Draft = dict(item.value)
    _round(draft, "price", currency)
    modifiers = [
        each
        for modifier in _without_empty(draft.get("modifiers") or ())
        for each in _split_quantity(
            _with_rounded_prices(modifier, currency), MAX_MODIFIER_QUANTITY, MAX_MODIFIERS
        )
    ]
    draft["modifiers"] = modifiers or None
    return Sourced(draft, item.source)


def _split_quantity(part: Sourced, limit: int, most: int) -> Iterator[Sourced]:
    """Yield an item or modifier, several times if there are more of it than one may have."""
    quantity = _quantity(part)
    if not isinstance(quantity, int) or not limit < quantity <= limit * most:
        yield part
        return
    source = part.value["quantity"].source
    while quantity > 0:
        count = min(quantity, limit)
        yield Sourced({**part.value, "quantity": Sourced(count, source)}, part.source)
        quantity -= count


def _round(draft: Draft, field: str, currency: Currency) -> None:
    """Round an amount that has more decimals than the currency."""
    amount = draft.get(field)
    if isinstance(amount, Sourced) and isinstance(amount.value, Decimal):
        draft[field] = Sourced(_rounded(amount.value, currency), amount.source)


def _rounded(amount: Decimal, currency: Currency) -> Decimal:
    """Return an amount with the decimals of the currency; one beyond all bounds as it is."""
    return rounded(amount, currency.decimals) if abs(amount) <= MAX_AMOUNT else amount
