"""Deliverect: its notification to a point of sale or a kitchen display.

https://developers.deliverect.com/reference/post-orders-webhook. A cancellation is the same order
with another status and, since September 2024, the same `_id`, which a kitchen display receives as
`orderId`. `channelOrderId` is no id here: a channel may use it again 48 hours after pickup.
"""

from collections.abc import Mapping
from decimal import Decimal

from restaurant_system.integrations.draft import (
    Charges,
    Draft,
    cutlery,
    instruction,
    joined,
    labelled,
    notes,
    of_own_delivery,
    option,
    phone,
    table,
    total_of,
)
from restaurant_system.integrations.payload import Node, Sourced
from restaurant_system.integrations.platform import (
    CancellationDraft,
    Meaning,
    OrderDraft,
    Platform,
)
from restaurant_system.integrations.signatures import BodyHmac
from restaurant_system.models.currency import Currency

CANCELLED_STATUSES = {100, 110}
PICKUP, DELIVERY, EAT_IN, CURBSIDE, DRIVE_THROUGH = 1, 2, 3, 4, 5
ORDER_TYPES: Mapping[object, Draft] = {
    PICKUP: {"order_type": "takeout", "handoff": "counter"},
    DELIVERY: {"order_type": "delivery", "handoff": "courier"},
    EAT_IN: {"order_type": "dine_in"},
    CURBSIDE: {"order_type": "takeout", "handoff": "curbside"},
    DRIVE_THROUGH: {"order_type": "takeout", "handoff": "drive_through"},
}
RESTAURANT = "restaurant"  # the courier of an order that the restaurant delivers
CHARGES = {
    "deliveryCost": "Delivery fee",
    "serviceCharge": "Service charge",
    "bagFee": "Bag fee",
    "tip": "Tip",
    "driverTip": "Driver tip",
}
MAX_DECIMALS = 4


def read(payload: Node, currency: Currency) -> Meaning:
    """Read an order or its cancellation."""
    if payload["status"].integer() in CANCELLED_STATUSES:
        return CancellationDraft(_external_id(payload))
    return OrderDraft(_order(payload, currency))


def _external_id(payload: Node) -> Sourced:
    return _either(payload["_id"], payload["orderId"]).line()


def _order(payload: Node, currency: Currency) -> Draft:
    customer, address = payload["customer"], payload["deliveryAddress"]
    by_type = _by_type(payload)
    decimals = _decimals(payload, currency)
    items = [_item(each, decimals) for each in payload["items"].entries()]
    return {
        **by_type,
        "customer_name": _either(customer["name"], payload["customerName"]).line(),
        "phone": phone(customer["phoneNumber"], customer["phoneAccessCode"]),
        "delivery_address": of_own_delivery(by_type, address, _address),
        "items": payload["items"].sourced(items),
        "notes": notes(
            payload["note"].text(),
            customer["note"].text(),
            address["extraAddressInfo"].text(),
            cutlery(_cutlery(payload)),
            labelled("Covers", payload["numberOfCustomers"].line()),
            _unused_table(payload, by_type),
        ),
        "reference": payload["channelOrderDisplayId"].line(),
        "external_id": _external_id(payload),
        "ready_at": payload["pickupTime"].time(),
        "charges": _charges(payload, decimals, total_of(items)),
        "amount_due": _amount_due(payload, decimals),
    }


def _by_type(payload: Node) -> Draft:
    kind = payload["orderType"]
    known = ORDER_TYPES.get(kind.integer())
    if known is None:
        kind.add_fault("must be 1 (pickup), 2 (delivery), 3 (eat in), 4 or 5 (drive through)")
        return {"order_type": kind.sourced(None)}
    by_type = dict(known)
    if by_type["order_type"] == "dine_in":
        by_type |= table(payload["table"].line())
    if by_type["order_type"] == "delivery" and _courier(payload) == RESTAURANT:
        by_type["handoff"] = "own_delivery"
    return by_type


def _unused_table(payload: Node, by_type: Draft) -> Sourced:
    """Return the line of a note with the table of an order that is not eaten there."""
    place = payload["table"].line()
    if by_type["order_type"] == "dine_in":
        return Sourced(None, place.source)
    return labelled("Table", place)


def _courier(payload: Node) -> object:
    courier = payload["courier"]
    name = courier if isinstance(courier.value, str) else courier["deliveryBy"]
    return (name.line().value or "").lower()


def _cutlery(payload: Node) -> Node:
    packaging = payload["packaging"]["includeCutlery"]
    return payload["includeCutlery"] if packaging.is_missing else packaging


def _decimals(payload: Node, currency: Currency) -> int:
    """Return the number of decimals of the amounts in this payload."""
    node = payload["decimalDigits"]
    decimals = node.integer()
    if decimals is None:
        return currency.decimals
    if not 0 <= decimals <= MAX_DECIMALS:
        node.add_fault(f"must be from 0 to {MAX_DECIMALS}")
        return currency.decimals
    return decimals


def _address(address: Node) -> Sourced:
    street = joined([address["street"].line(), address["streetNumber"].line()], " ")
    town = joined([address["postalCode"].line(), address["city"].line()], " ")
    return joined([street, address["area"].line(), town, address["country"].line()], ", ")


def _item(item: Node, decimals: int) -> Sourced:
    price = item["price"]
    draft: Draft = {
        "name": _name(item),
        "quantity": item["quantity"].sourced(_quantity(item)),
        "price": price.sourced(price.minor_units(decimals) or Decimal(0)),
        "notes": _remark(item).text(),
        "guest": item["guest"].line(),
        "sku": item["plu"].line(),
        "modifiers": _modifiers(item, decimals) or None,
    }
    return item.sourced(draft)


def _name(item: Node) -> Sourced:
    """Return the name for the kitchen, if there is one."""
    name = item["kitchenName"].line()
    return item["name"].line() if name.value is None else name


def _remark(item: Node) -> Node:
    return _either(item["remark"], item["itemRemark"])


def _either(of_register: Node, of_display: Node) -> Node:
    """Return what a point of sale receives, or else what a kitchen display receives."""
    return of_display if of_register.is_missing and not of_display.is_missing else of_register


def _quantity(item: Node) -> Decimal | None:
    quantity = item["quantity"]
    return Decimal(1) if quantity.is_missing else quantity.number()


def _modifiers(item: Node, decimals: int) -> list[Sourced]:
    return [
        option(
            _name(each),
            quantity=each["quantity"].sourced(_quantity(each)),
            price=each["price"].sourced(each["price"].minor_units(decimals)),
            source=each,
            modifiers=[*_modifiers(each, decimals), *instruction(_remark(each).line())],
        )
        for each in item["subItems"].entries()
    ]


def _charges(payload: Node, decimals: int, items: Decimal) -> list[Draft] | None:
    found = Charges()
    for name, label in CHARGES.items():
        found.add(label, payload[name].minor_units(decimals), payload[name])
    fees = found.total()
    for discount in payload["discounts"].entries():
        label = discount["name"].line().value or "Discount"
        found.deduct(label, discount["amount"].minor_units(decimals), discount["amount"])
    total = payload["discountTotal"]
    found.deduct_rest("Discount", total.minor_units(decimals), found.total() - fees, total)
    paid = payload["payment"]["amount"].minor_units(decimals)
    if paid != items + found.total():  # else the prices include the taxes
        for tax in payload["taxes"].entries():
            found.add("Tax", tax["total"].minor_units(decimals), tax["total"])
    return found.draft()


def _amount_due(payload: Node, decimals: int) -> Sourced:
    """Return what is still to be paid: nothing is, unless the order says so."""
    payment = payload["payment"]
    amount = payment["amount"] if payment["due"].is_missing else payment["due"]
    is_paid = payload["orderIsAlreadyPaid"].flag()
    due = amount.minor_units(decimals) if is_paid is False else None
    return amount.sourced(due or None)


PLATFORM = Platform("deliverect", BodyHmac("x-server-authorization-hmac-sha256"), read)
