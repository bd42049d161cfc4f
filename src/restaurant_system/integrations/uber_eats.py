"""Uber Eats: orders of its API version 2, and its events.

https://developer.uber.com/docs/eats/references/api/v2/get-eats-order-orderid. A webhook of Uber
names an order, which must be fetched from `meta.resource_href`; what is sent here is that order.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal

from restaurant_system.integrations.draft import (
    REMOVE,
    Charges,
    Draft,
    choices,
    cutlery,
    full_name,
    instruction,
    joined,
    labelled,
    notes,
    of_own_delivery,
    option,
    phone,
    total_of,
)
from restaurant_system.integrations.payload import Node, Sourced
from restaurant_system.integrations.platform import (
    CancellationDraft,
    Meaning,
    Nothing,
    OrderDraft,
    Platform,
)
from restaurant_system.integrations.signatures import BodyHmac
from restaurant_system.models.currency import Currency
from restaurant_system.models.text import folded_text

CANCELLING_EVENTS = {"orders.cancel", "orders.failure"}
CANCELLED_STATES = {"CANCELED", "CANCELLED", "DENIED"}
ORDER_TYPES: Mapping[object, Draft] = {
    "PICK_UP": {"order_type": "takeout", "handoff": "counter"},
    "DINE_IN": {"order_type": "dine_in", "handoff": "counter"},
    "DELIVERY_BY_UBER": {"order_type": "delivery", "handoff": "courier"},
    "DELIVERY_BY_RESTAURANT": {"order_type": "delivery", "handoff": "own_delivery"},
}
OTHER = "OTHER"
FEES = {
    "delivery_fee": "Delivery fee",
    "small_order_fee": "Small order fee",
    "bag_fee": "Bag fee",
    "pick_and_pack_fee": "Pick and pack fee",
}


def read(payload: Node, currency: Currency) -> Meaning:
    """Read an order, or an event about one."""
    event = payload["event_type"].line()
    if event.value is not None:
        return _read_event(payload, event)
    state = payload["current_state"].line().value
    if state in CANCELLED_STATES:
        return CancellationDraft(payload["id"].line())
    if state == "FINISHED":
        return Nothing("The order is finished.")
    return OrderDraft(_order(payload, currency))


def _read_event(payload: Node, event: Sourced) -> Meaning:
    meta = payload["meta"]
    if event.value in CANCELLING_EVENTS:
        return CancellationDraft(meta["resource_id"].line())
    if event.value.endswith("notification"):
        payload["event_type"].add_fault(
            "announces an order that it does not contain; fetch the order from meta.resource_href"
            " and send it here, signed in the same way"
        )
    return Nothing(f"The event {event.value} neither places nor cancels an order.")


def _order(payload: Node, currency: Currency) -> Draft:
    eater, cart, charges = payload["eater"], payload["cart"], payload["payment"]["charges"]
    kind = payload["type"]
    by_type = ORDER_TYPES.get(kind.line().value)
    if by_type is None:
        kind.add_fault(f"must be one of {', '.join(map(str, ORDER_TYPES))}")
        by_type = {"order_type": kind.sourced(None)}
    delivery = eater["delivery"]
    eaters = _names_of_eaters(payload)
    cash = _money(charges["cash_amount_due"], currency)
    items = [_item(each, currency, eaters) for each in cart["items"].entries()]
    return {
        **by_type,
        "customer_name": full_name(eater["first_name"], eater["last_name"]),
        "phone": phone(eater["phone"], eater["phone_code"]),
        "delivery_address": of_own_delivery(by_type, delivery["location"], _address),
        "items": cart["items"].sourced(items),
        "allergy_note": _allergy_note(_parts(cart["items"])),
        "notes": notes(
            cart["special_instructions"].text(),
            of_own_delivery(by_type, delivery["notes"], Node.text),
            cutlery(payload["packaging"]["disposable_items"]["should_include"]),
        ),
        "reference": payload["display_id"].line(),
        "external_id": payload["id"].line(),
        "ready_at": payload["estimated_ready_for_pickup_at"].time(),
        "charges": _charges(charges, currency, total_of(items)),
        "amount_due": charges["cash_amount_due"].sourced(cash or None),
    }


def _names_of_eaters(payload: Node) -> Mapping[object, Sourced]:
    """Return the names of those who eat by their ids, if there are several; no two are equal."""
    eaters = payload["eaters"].entries()
    names: dict[object, Sourced] = {}
    taken: Counter[str] = Counter()
    for eater in eaters if len(eaters) > 1 else ():
        name = full_name(eater["first_name"], eater["last_name"])
        if name.value is not None:
            folded = folded_text(name.value)
            taken[folded] += 1
            if taken[folded] > 1:
                name = Sourced(f"{name.value} ({taken[folded]})", name.source)
        names[eater["id"].line().value] = name
    return names


def _address(location: Node) -> Sourced:
    names = ("business_name", "unit_number", "street_address", "street_address_two", "city")
    return joined(
        [*(location[name].line() for name in names), location["postal_code"].line()], ", "
    )


def _item(item: Node, currency: Currency, eaters: Mapping[object, Sourced]) -> Sourced:
    eater = item["eater_id"].line()
    external, own = item["external_data"].line(), item["id"].line()
    draft: Draft = {
        "name": item["title"].line(),
        "quantity": item["quantity"].sourced(item["quantity"].number()),
        "price": _price(item["price"], currency),
        "notes": notes(_allergies(item), item["special_instructions"].text()),
        "guest": eaters.get(eater.value),
        "sku": own if external.value is None else external,
        "modifiers": _modifiers(item, currency) or None,
    }
    return item.sourced(draft)


def _price(price: Node, currency: Currency) -> Sourced:
    """Return the price without modifiers; older payloads do not tell it apart."""
    base = price["base_unit_price"]
    unit = price["unit_price"] if base.is_missing else base
    return unit["amount"].sourced(_money(unit, currency))


def _modifiers(item: Node, currency: Currency) -> list[Sourced]:
    options = []
    for group in item["selected_modifier_groups"].entries():
        name = group["title"].line()
        options += [(name, _modifier(each, currency)) for each in group["selected_items"].entries()]
        options += [
            (name, option(each["title"].line(), kind=REMOVE, source=each))
            for each in group["removed_items"].entries()
        ]
    return choices(options)


def _modifier(item: Node, currency: Currency) -> Sourced:
    quantity = item["quantity"]
    return option(
        item["title"].line(),
        quantity=quantity.sourced(quantity.number()),
        price=_price(item["price"], currency),
        source=item,
        modifiers=[
            *_modifiers(item, currency),
            *instruction(_allergies(item)),
            *instruction(item["special_instructions"].line()),
        ],
    )


def _parts(items: Node) -> Iterator[Node]:
    """Yield items and their options of all levels."""
    for item in items.entries():
        yield item
        for group in item["selected_modifier_groups"].entries():
            yield from _parts(group["selected_items"])


def _allergies(part: Node) -> Sourced:
    """Return what a customer is allergic to, as it is written at one item or option."""
    requests = [*map(_allergen, _allergens(part)), _allergy_instructions(part)]
    return labelled("Allergies", joined(requests, ", "))


def _allergy_note(parts: Iterable[Node]) -> Sourced:
    """Return the allergens of all items and options, each once.

    The types of Uber come first, then what customers have written, the short before the long, so
    that a note that is too long keeps as many as possible.
    """
    known = list(parts)
    allergens = [each for part in known for each in _allergens(part)]
    allergens.sort(key=lambda each: len(each["freeform_text"].line().value or ""))
    requests = [*map(_allergen, allergens), *map(_allergy_instructions, known)]
    distinct: dict[str, Sourced] = {}
    for each in requests:
        distinct.setdefault(folded_text(each.value or ""), each)
    return joined([*distinct.values()], ", ")


def _allergens(part: Node) -> list[Node]:
    return part["special_requests"]["allergy"]["allergens_to_exclude"].entries()


def _allergen(allergen: Node) -> Sourced:
    """Return the type of an allergen, and its name; of "OTHER" the name alone."""
    kind, name = allergen["type"].line(), allergen["freeform_text"].line()
    if kind.value == OTHER and name.value is not None:
        return name
    return joined([kind, name], " ")


def _allergy_instructions(part: Node) -> Sourced:
    return part["special_requests"]["allergy"]["allergy_instructions"].line()


def _charges(charges: Node, currency: Currency, items: Decimal) -> list[Draft] | None:
    found = Charges()
    for name, label in FEES.items():
        found.add(label, _money(charges[name], currency), charges[name])
    fees = charges["total_fee"]
    found.add_rest("Fees", _money(fees, currency), found.total(), fees)
    found.add("Tip", _money(charges["tip"], currency), charges["tip"])
    promotions = charges["total_promo_applied"]
    found.deduct("Promotion", _money(promotions, currency), promotions)
    tax, total = _money(charges["tax"], currency), _money(charges["total"], currency)
    if total != items + found.total():  # else the prices include the tax
        found.add("Tax", tax, charges["tax"])
    return found.draft()


def _money(money: Node, currency: Currency) -> Decimal | None:
    if money.is_missing:
        return None
    money["currency_code"].check_currency(currency)
    return money["amount"].minor_units(currency.decimals)


PLATFORM = Platform("uber_eats", BodyHmac("x-uber-signature"), read)
