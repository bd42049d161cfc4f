"""DoorDash Marketplace: its order and cancellation webhooks.

https://developer.doordash.com/en-US/docs/marketplace: DoorDash does not sign a webhook; it sends a
token of the shop's choice in `Authorization`. Amounts are in cents, without a currency.
"""

import re
from collections.abc import Mapping

from restaurant_system.integrations.draft import (
    Charges,
    Draft,
    choices,
    cutlery,
    full_name,
    joined,
    notes,
    of_own_delivery,
    option,
)
from restaurant_system.integrations.payload import Node, Sourced
from restaurant_system.integrations.platform import (
    CancellationDraft,
    Meaning,
    Nothing,
    OrderDraft,
    Platform,
)
from restaurant_system.integrations.signatures import Token
from restaurant_system.models.currency import Currency

ORDER_TYPES: Mapping[object, Draft] = {
    "dx_delivery": {"order_type": "delivery", "handoff": "courier"},
    "mx_fleet_delivery": {"order_type": "delivery", "handoff": "own_delivery"},
    "pickup": {"order_type": "takeout", "handoff": "counter"},
}
CHARGES = {
    "tax": "Tax",
    "delivery_fee": "Delivery fee",
    "merchant_tip_amount": "Tip",
    "tip_amount": "Delivery tip",
}
# Types of events, in lower case and without the signs between their words. A cancellation may also
# come without an event, and then has no items.
NOT_LETTERS = re.compile(r"[\W_]+")
PLACING_EVENTS = {"ordercreate", "ordercreated", "ordercreation"}
CANCELLATION = re.compile(r"(order)?cancel(ed|led|ation|lation)?")
DENIED_CANCELLATION = re.compile(r"cancel.*(reject|deny|denied|decline|fail|undo|undone)")


def read(payload: Node, currency: Currency) -> Meaning:
    """Read an order, with or without the event around it, or a cancellation."""
    kind = payload["event"]["type"]
    event = NOT_LETTERS.sub("", kind.line().value or "").lower()
    order = payload if payload["order"].is_missing else payload["order"]
    external = order["external_order_id"].line()
    is_bare = not event and external.value is not None and order["categories"].is_missing
    if is_bare or CANCELLATION.fullmatch(event):
        return CancellationDraft(order["id"].line() if external.value is None else external)
    if event and event not in PLACING_EVENTS:
        if "cancel" in event and not DENIED_CANCELLATION.search(event):
            kind.add_fault("is an unknown kind of cancellation; look whether to cancel the order")
        return Nothing(f"The event {kind.line().value} neither places nor cancels an order.")
    return OrderDraft(_order(order, currency))


def _order(order: Node, currency: Currency) -> Draft:
    consumer, by_type = order["consumer"], _by_type(order)
    categories = order["categories"].entries()
    items = [item for each in categories for item in each["items"].entries()]
    return {
        **by_type,
        "customer_name": full_name(consumer["first_name"], consumer["last_name"]),
        "phone": consumer["phone"].line(),
        "delivery_address": of_own_delivery(by_type, order["delivery_address"], _address),
        "items": order["categories"].sourced([_item(each, currency) for each in items]),
        "notes": notes(
            order["order_special_instructions"].text(),
            order["address_instructions"].text(),
            cutlery(order["is_plastic_ware_option_selected"]),
        ),
        "reference": order["delivery_short_code"].line(),
        "external_id": order["id"].line(),
        "ready_at": order["estimated_pickup_time"].time(),
        "charges": _charges(order, currency),
    }


def _by_type(order: Node) -> Draft:
    fulfillment = order["fulfillment_type"]
    if fulfillment.is_missing:
        is_pickup = order["is_pickup"].flag()
        return ORDER_TYPES["pickup" if is_pickup else "dx_delivery"]
    known = ORDER_TYPES.get(fulfillment.line().value)
    if known is None:
        fulfillment.add_fault(f"must be one of {', '.join(map(str, ORDER_TYPES))}")
    return known or {"order_type": fulfillment.sourced(None)}


def _address(address: Node) -> Sourced:
    if isinstance(address.value, str):
        return address.line()
    names = ("subpremise", "street", "city", "state", "zip_code")
    return joined([address[name].line() for name in names], ", ")


def _item(item: Node, currency: Currency) -> Sourced:
    draft: Draft = {
        "name": item["name"].line(),
        "quantity": item["quantity"].sourced(item["quantity"].number()),
        "price": item["price"].sourced(item["price"].minor_units(currency.decimals)),
        "notes": item["special_instructions"].text(),
        "guest": item["consumer_name"].line(),
        "sku": item["merchant_supplied_id"].line(),
        "modifiers": _modifiers(item, currency) or None,
    }
    return item.sourced(draft)


def _modifiers(owner: Node, currency: Currency) -> list[Sourced]:
    """Return the options of an item or of an option, where the field has another name."""
    extras = [each for name in ("extras", "extra") for each in owner[name].entries()]
    return choices(
        [
            (extra["name"].line(), _modifier(each, currency))
            for extra in extras
            for each in extra["options"].entries()
        ]
    )


def _modifier(node: Node, currency: Currency) -> Sourced:
    return option(
        node["name"].line(),
        quantity=node["quantity"].sourced(node["quantity"].number()),
        price=node["price"].sourced(node["price"].minor_units(currency.decimals)),
        source=node,
        modifiers=_modifiers(node, currency),
    )


def _charges(order: Node, currency: Currency) -> list[Draft] | None:
    found = Charges()
    for name, label in CHARGES.items():
        found.add(label, order[name].minor_units(currency.decimals), order[name])
    for fee in order["custom_fee"].entries():
        label = str(fee["type"].line().value or "fee").replace("_", " ").capitalize()
        found.add(label, fee["price"].minor_units(currency.decimals), fee["price"])
    for discount in order["applied_discounts_details"].entries():
        amount = discount["total_discount_amount"]
        found.deduct("Discount", amount.minor_units(currency.decimals), amount)
    return found.draft()


PLATFORM = Platform("doordash", Token(), read)
