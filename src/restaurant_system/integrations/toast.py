"""Toast: the orders webhook of its point of sale.

https://doc.toasttab.com/doc/devguide/devOrdersWebhookRef.html. Toast sends the whole order at each
update, so nothing is read that changes after an order was placed: payments, tips, statuses, and
estimated times.
"""

from collections.abc import Iterator, Sequence
from decimal import Decimal

from restaurant_system.integrations.draft import (
    ADD,
    CHOICE,
    INSTRUCTION,
    REMOVE,
    Charges,
    Draft,
    by_weight,
    called,
    choices,
    full_name,
    joined,
    labelled,
    notes,
    of_own_delivery,
    option,
    rest_of,
    rounded,
    share_of,
    table,
)
from restaurant_system.integrations.payload import Node, Sourced
from restaurant_system.integrations.platform import (
    CancellationDraft,
    Meaning,
    Nothing,
    OrderDraft,
    Platform,
)
from restaurant_system.integrations.signatures import TimestampedHmac
from restaurant_system.models.currency import Currency

EVENTS = {"order_updated", "channel_order_updated"}
NO_UNIT = "NONE"
SPECIAL_REQUEST = "SPECIAL_REQUEST"
KINDS_BY_PRE_MODIFIER = {"NO": REMOVE, "EXTRA": ADD, "ADD": ADD}
BEHAVIORS = {"DINE_IN": "dine_in", "TAKE_OUT": "takeout", "DELIVERY": "delivery"}


def read(payload: Node, currency: Currency) -> Meaning:
    """Read the event of an order that was placed, changed or voided."""
    event = payload["eventType"].line().value
    if event is not None and event not in EVENTS:
        return Nothing(f"The event {event} neither places nor cancels an order.")
    order = payload["details"]["order"] if event is not None else payload
    external = order["guid"].line()
    if _is_void(order) or _is_emptied(order):
        return CancellationDraft(external)
    return OrderDraft({**_order(order, currency), "external_id": external})


def _order(order: Node, currency: Currency) -> Draft:
    checks = [each for each in order["checks"].entries() if not _is_void(each)]
    customer = next((each["customer"] for each in checks if each["customer"].value), Node(None))
    delivery, curbside = order["deliveryInfo"], order["curbsidePickupInfo"]
    names = [full_name(customer["firstName"], customer["lastName"])]
    names += [each["tabName"].line() for each in checks]
    by_type = _by_type(order)
    return {
        **by_type,
        "customer_name": next((each for each in names if each.value is not None), names[0]),
        "phone": customer["phone"].line(),
        "delivery_address": of_own_delivery(by_type, delivery, _address),
        "items": order["checks"].sourced(_items(checks, currency)),
        "notes": notes(
            delivery["notes"].text(),
            labelled("Vehicle", _vehicle(curbside)),
            curbside["notes"].text(),
            labelled("Covers", order["numberOfGuests"].line()),
        ),
        "reference": order["displayNumber"].line(),
        "ready_at": order["promisedDate"].time(),
        "charges": _charges(checks),
    }


def _is_void(part: Node) -> bool:
    return bool(part["voided"].flag() or part["deleted"].flag())


def _is_emptied(order: Node) -> bool:
    """Tell whether all that an order contained was voided, check by check or item by item."""
    checks = order["checks"].entries()
    parts = [
        _is_void(part)
        for check in checks
        for part in ([check] if _is_void(check) else check["selections"].entries())
    ]
    return bool(parts) and all(parts)


def _by_type(order: Node) -> Draft:
    """Return the type of an order, from its dining option or else from what it contains."""
    behavior, curbside = order["diningOption"]["behavior"], order["curbsidePickupInfo"]
    place = order["table"]["name"].line()
    kind = BEHAVIORS.get(behavior.line().value)
    if kind is None and not behavior.is_missing:
        behavior.add_fault(f"must be one of {', '.join(BEHAVIORS)}")
    if kind == "delivery" or (kind is None and order["deliveryInfo"].value):
        is_courier = bool(order["deliveryServiceInfo"].value)
        return {
            "order_type": "delivery",
            "handoff": "courier" if is_courier else "own_delivery",
        }
    if kind == "dine_in" or (kind is None and order["table"].value):
        return {"order_type": "dine_in", **table(place)}
    is_curbside = bool(curbside.value) or order["diningOption"]["curbside"].flag()
    return {"order_type": "takeout", "handoff": "curbside" if is_curbside else "counter"}


def _address(delivery: Node) -> Sourced:
    names = ("address1", "address2", "city", "state", "zipCode")
    return joined([delivery[name].line() for name in names], ", ")


def _vehicle(curbside: Node) -> Sourced:
    parts = [curbside["transportColor"].line(), curbside["transportDescription"].line()]
    return joined(parts, " ")


def _items(checks: Sequence[Node], currency: Currency) -> list[Sourced]:
    """Return the items of all checks, each with its check if there are several."""
    has_several = len(checks) > 1
    return [
        _item(each, _eater(check if has_several else Node(None), each), currency)
        for check in checks
        for each in check["selections"].entries()
        if not _is_void(each)
    ]


def _eater(check: Node, selection: Node) -> Sourced:
    """Return the check and the seat for which an item is."""
    number, tab = check["displayNumber"].line(), check["tabName"].line()
    parts = [
        tab if number.value is None else Sourced(f"Check {number.value}", number.source),
        labelled("Seat", selection["seatNumber"].line()),
    ]
    return joined(parts, ", ")


def _item(selection: Node, eater: Sourced, currency: Currency) -> Sourced:
    quantity = selection["quantity"]
    amount = Decimal(1) if quantity.is_missing else quantity.number()
    sku, unit = selection["item"]["guid"].line(), selection["unitOfMeasure"].line().value
    unit = None if unit == NO_UNIT else unit
    name = called(selection["displayName"].line(), sku)
    modifiers = _modifiers(selection)
    share = share_of(amount, unit)
    if share is not None:
        price = _price_of_piece(selection, share, modifiers, currency)
        name, amount = by_weight(name, share, unit), Decimal(1)
    else:
        price = _price(selection, amount)
    draft: Draft = {
        "name": name,
        "quantity": quantity.sourced(amount),
        "price": price,
        "guest": eater,
        "sku": sku,
        "modifiers": modifiers or None,
    }
    return selection.sourced(draft)


def _price_of_piece(
    selection: Node, share: Decimal, modifiers: Sequence[Sourced], currency: Currency
) -> Sourced:
    """Return the price of what is sold by weight, without its modifiers and discounts."""
    total, amount = _total(selection)
    unit = selection["receiptLinePrice"].number()
    if amount is not None:
        return total.sourced(rest_of(amount, modifiers))
    return total.sourced(None if unit is None else rounded(unit * share, currency.decimals))


def _total(part: Node) -> tuple[Node, Decimal | None]:
    """Return where the price of all is, and it, with modifiers and without discounts."""
    gross, net = part["preDiscountPrice"], part["price"]
    if not gross.is_missing:
        return gross, gross.number()
    amount = net.number()
    discounts = [each["discountAmount"].number() or Decimal(0) for each in _discounts(part)]
    return net, None if amount is None else amount + sum(map(abs, discounts), Decimal(0))


def _discounts(part: Node) -> Iterator[Node]:
    """Yield the discounts of a selection or modifier and of the modifiers in it."""
    yield from part["appliedDiscounts"].entries()
    for modifier in part["modifiers"].entries():
        if not _is_void(modifier):
            yield from _discounts(modifier)


def _price(selection: Node, quantity: Decimal | None) -> Sourced:
    """Return the price of one item without its modifiers and discounts; it is not rounded."""
    unit = selection["receiptLinePrice"]
    if not unit.is_missing:
        return unit.sourced(unit.number())
    total, amount = _total(selection)
    if amount is None or not quantity:
        return total.sourced(amount)
    return total.sourced(amount / quantity - _modifiers_total(selection))


def _modifiers_total(selection: Node) -> Decimal:
    return sum(
        (_total(each)[1] or Decimal(0))
        for each in selection["modifiers"].entries()
        if not _is_void(each)
    ) or Decimal(0)


def _modifiers(owner: Node) -> list[Sourced]:
    return choices(
        [
            (each["optionGroup"]["name"].line(), _modifier(each))
            for each in owner["modifiers"].entries()
            if not _is_void(each)
        ]
    )


def _modifier(modifier: Node) -> Sourced:
    name, pre = modifier["displayName"].line(), modifier["preModifier"]["name"].line()
    kind = CHOICE
    if modifier["selectionType"].line().value == SPECIAL_REQUEST:
        kind = INSTRUCTION
    elif pre.value is not None:
        kind = KINDS_BY_PRE_MODIFIER.get(pre.value.upper(), CHOICE)
        name = _with_pre_modifier(pre, name, kind)
    quantity = modifier["quantity"]
    count = Decimal(1) if quantity.is_missing else quantity.number()
    return option(
        name,
        kind=kind,
        quantity=quantity.sourced(count),
        price=modifier["price"].sourced(_own_price(modifier, count)),
        source=modifier,
        modifiers=_modifiers(modifier),
    )


def _with_pre_modifier(pre: Sourced, name: Sourced, kind: str) -> Sourced:
    """Return the name of a modifier with its pre-modifier, which Toast may have put there."""
    bare = called(name).value
    if bare.upper().startswith(f"{pre.value.upper()} "):
        bare = bare[len(pre.value) :].strip()
    return Sourced(bare if kind == REMOVE else f"{pre.value} {bare}", name.source)


def _own_price(modifier: Node, count: Decimal | None) -> Decimal | None:
    """Return the price of one modifier without those in it."""
    unit = modifier["receiptLinePrice"]
    if not unit.is_missing:
        return unit.number()
    _, price = _total(modifier)
    if price is None:
        return None
    return price / (count or 1) - _modifiers_total(modifier)


def _charges(checks: Sequence[Node]) -> list[Draft] | None:
    found = Charges()
    for check in checks:
        for charge in check["appliedServiceCharges"].entries():
            label = charge["name"].line().value or "Service charge"
            found.add(label, charge["chargeAmount"].number(), charge["chargeAmount"])
        selections = [each for each in check["selections"].entries() if not _is_void(each)]
        found_in = (each for selection in selections for each in _discounts(selection))
        for discount in (*check["appliedDiscounts"].entries(), *found_in):
            label = discount["name"].line().value or "Discount"
            found.deduct(label, discount["discountAmount"].number(), discount["discountAmount"])
        found.add("Tax", check["taxAmount"].number(), check["taxAmount"])
    return found.draft()


PLATFORM = Platform("toast", TimestampedHmac("toast-signature"), read)
