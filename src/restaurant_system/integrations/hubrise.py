"""HubRise: its callbacks about orders, or an order alone.

https://www.hubrise.com/developers/api/orders and /callbacks. Amounts are texts with a currency
("9.00 EUR"), quantities are decimal texts ("2.0").
"""

import re
from collections.abc import Mapping
from decimal import Decimal

from restaurant_system.integrations.draft import (
    CHOICE,
    REMOVE,
    Charges,
    Draft,
    by_weight,
    called,
    choices,
    full_name,
    instruction,
    joined,
    labelled,
    notes,
    of_own_delivery,
    option,
    phone,
    price_of_piece,
    share_of,
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

CANCELLED_STATUSES = {"cancelled", "rejected", "delivery_failed"}
COOKED_STATUSES = {"awaiting_shipment", "awaiting_collection", "in_delivery", "completed"}
MONEY = re.compile(r"\s*(-?[0-9]+(?:\.[0-9]+)?)\s+([A-Za-z]{3})\s*", re.ASCII)
ORDER_TYPES: Mapping[object, Draft] = {
    "collection": {"order_type": "takeout", "handoff": "counter"},
    "eat_in": {"order_type": "dine_in", "handoff": "counter"},
    "delivery": {"order_type": "delivery", "handoff": "own_delivery"},
}
CASH = "cash"


def read(payload: Node, currency: Currency) -> Meaning:
    """Read an order, or the callback about one."""
    resource = payload["resource_type"].line().value
    if resource not in (None, "order"):
        return Nothing(f"The callback is about a {resource}.")
    order = payload if resource is None else payload["new_state"]
    status = order["status"].line().value
    external = order["id"].line()
    if external.value is None:
        external = payload["order_id"].line()
    if status in CANCELLED_STATUSES:
        return CancellationDraft(external)
    if status in COOKED_STATUSES:
        return Nothing(f"The order is {status}.")
    return OrderDraft({**_order(order, currency), "external_id": external})


def _order(order: Node, currency: Currency) -> Draft:
    customer, by_type = order["customer"], _by_type(order)
    items = [
        _item(each, order["deals"], currency)
        for each in order["items"].entries()
        if not each["deleted"].flag()
    ]
    charges = _charges(order, currency, items)
    return {
        **by_type,
        "customer_name": full_name(customer["first_name"], customer["last_name"]),
        "phone": phone(customer["phone"], customer["phone_access_code"]),
        "delivery_address": of_own_delivery(by_type, customer, _address),
        "items": order["items"].sourced(items),
        "notes": notes(
            order["customer_notes"].text(),
            order["seller_notes"].text(),
            customer["delivery_notes"].text(),
            *_loyalty(order),
        ),
        "reference": _reference(order),
        "ready_at": order["expected_time"].time(),
        "charges": charges.draft(),
        "amount_due": _amount_due(order, currency, total_of(items) + charges.total()),
    }


def _reference(order: Node) -> Sourced:
    code, ref = order["collection_code"].line(), order["ref"].line()
    return ref if code.value is None else code


def _by_type(order: Node) -> Draft:
    service = order["service_type"]
    known = ORDER_TYPES.get(service.line().value)
    if known is None:
        service.add_fault(f"must be one of {', '.join(map(str, ORDER_TYPES))}")
        return {"order_type": service.sourced(None)}
    if known["order_type"] == "delivery" and not order["delivery"]["carrier"].is_missing:
        return known | {"handoff": "courier"}
    return dict(known)


def _address(customer: Node) -> Sourced:
    town = joined([customer["postal_code"].line(), customer["city"].line()], " ")
    lines = [customer[name].line() for name in ("address_1", "address_2")]
    return joined([*lines, town, customer["state"].line()], ", ")


def _item(item: Node, deals: Node, currency: Currency) -> Sourced:
    sku, size = item["sku_ref"].line(), item["sku_name"].line()
    name = called(item["product_name"].line(), sku)
    if size.value is not None:
        name = Sourced(f"{name.value} ({size.value})", name.source)
    quantity, price = item["quantity"].number(), _money(item["price"], currency)
    share = share_of(quantity)
    if share is not None:
        name, quantity = by_weight(name, share), Decimal(1)
    options = choices(
        [
            (each["option_list_name"].line(), _option(each, currency))
            for each in item["options"].entries()
        ]
    )
    is_in_deal = not item["deal_line"].is_missing  # whose reduction is in the subtotal
    total = None if is_in_deal else _money(item["subtotal"], currency)
    price = price_of_piece(price, share, options, currency.decimals, total)
    draft: Draft = {
        "name": name,
        "quantity": item["quantity"].sourced(quantity),
        "price": item["price"].sourced(price),
        "notes": item["customer_notes"].text(),
        "sku": sku,
        "modifiers": [
            *options,
            *_deal(item["deal_line"], deals),
            *instruction(labelled("Loyalty points", item["points_used"].line())),
        ]
        or None,
    }
    return item.sourced(draft)


def _option(node: Node, currency: Currency) -> Sourced:
    quantity = node["quantity"]
    return option(
        node["name"].line(),
        kind=REMOVE if node["removed"].flag() else CHOICE,
        quantity=quantity.sourced(1 if quantity.is_missing else quantity.number()),
        price=node["price"].sourced(_money(node["price"], currency)),
        source=node,
    )


def _deal(line: Node, deals: Node) -> list[Sourced]:
    """Return the deal of an item as an instruction, so that its items stay together."""
    key = line["deal_key"].line()
    if key.value is None:
        return []
    parts = [deals[key.value]["name"].line(), line["label"].line()]
    return instruction(labelled(f"Deal {key.value}", joined(parts, ", ")))


def _loyalty(order: Node) -> list[Sourced]:
    return [
        labelled("Loyalty points", joined([each["delta"].line(), each["reason"].line()], ", "))
        for each in order["loyalty_operations"].entries()
    ]


def _charges(order: Node, currency: Currency, items: list[Sourced]) -> Charges:
    found = Charges()
    for charge in order["charges"].entries():
        if not charge["deleted"].flag():
            label = charge["name"].line().value or "Charge"
            found.add(label, _money(charge["price"], currency), charge["price"])
    for discount in order["discounts"].entries():
        if not discount["deleted"].flag():
            label = discount["name"].line().value or "Discount"
            found.deduct(label, _money(discount["price_off"], currency), discount["price_off"])
    # What deals take off items, and what rounding of shares has added, is in the total only.
    total = _money(order["total"], currency)
    if total is not None:
        rest = total - total_of(items) - found.total()
        found.add("Deals", rest, order["total"])
    return found


def _amount_due(order: Node, currency: Currency, total: Decimal) -> Sourced:
    """Return what the payments leave open; a payment in cash is yet to be made."""
    payments = [each for each in order["payments"].entries() if not each["deleted"].flag()]
    if not payments:
        return order["payments"].sourced(None)
    paid = [
        _money(each["amount"], currency) or Decimal(0)
        for each in payments
        if each["type"].line().value != CASH
    ]
    due = total - sum(paid, Decimal(0))
    return order["payments"].sourced(due if due > 0 else None)


def _money(node: Node, currency: Currency) -> Decimal | None:
    text = node.text().value
    if text is None:
        return None
    match = MONEY.fullmatch(text)
    if match is None:
        node.add_fault('must be an amount with its currency, such as "9.00 EUR"')
        return None
    Node(match[2], node.path, node.faults).check_currency(currency)
    return Decimal(match[1])


PLATFORM = Platform("hubrise", BodyHmac("x-hubrise-hmac-sha256"), read)
