"""Open Delivery (Brazil): its orders and its events.

https://abrasel-nacional.github.io/docs. An event names an order, which must be fetched from
`orderURL`; what is sent here is that order, or an event that cancels it.
"""

from collections.abc import Mapping
from decimal import Decimal

from restaurant_system.integrations.draft import (
    Charges,
    Draft,
    by_weight,
    called,
    instruction,
    joined,
    labelled,
    notes,
    of_own_delivery,
    option,
    phone,
    price_of_piece,
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
from restaurant_system.integrations.signatures import BodyHmac
from restaurant_system.models.currency import Currency

CANCELLED = {"CANCELLED", "ORDER_CANCELLED"}
ANNOUNCED = "CREATED"
WHOLE_UNITS = {"UNIT", "UN"}
MERCHANT = "MERCHANT"


def read(payload: Node, currency: Currency) -> Meaning:
    """Read an order, or an event about one."""
    event = payload["eventType"].line().value
    if event in CANCELLED:
        return CancellationDraft(payload["orderId"].line())
    if event == ANNOUNCED:
        payload["eventType"].add_fault(
            "announces an order that it does not contain; fetch the order from orderURL and send it"
            " here, signed in the same way"
        )
    if event is not None:
        return Nothing(f"The event {event} neither places nor cancels an order.")
    return OrderDraft(_order(payload, currency))


def _order(order: Node, currency: Currency) -> Draft:
    customer, by_type = order["customer"], _by_type(order)
    address = order["delivery"]["deliveryAddress"]
    items = [_item(each, currency) for each in _in_order(order["items"])]
    return {
        **by_type,
        "customer_name": customer["name"].line(),
        "phone": phone(customer["phone"]["number"], customer["phone"]["extension"]),
        "delivery_address": of_own_delivery(by_type, address, _address),
        "items": order["items"].sourced(items),
        "notes": notes(
            order["extraInfo"].text(),
            address["reference"].text(),
            *(
                labelled("Change for", method["changeFor"].line())
                for method in order["payments"]["methods"].entries()
            ),
        ),
        "reference": order["displayId"].line(),
        "external_id": order["id"].line(),
        "ready_at": _ready_at(order),
        "charges": _charges(order, currency),
        "amount_due": _amount_due(order, currency),
    }


def _by_type(order: Node) -> Draft:
    kind = order["type"]
    match kind.line().value:
        case "DELIVERY":
            is_own = order["delivery"]["deliveredBy"].line().value == MERCHANT
            handoff = "own_delivery" if is_own else "courier"
            return {"order_type": "delivery", "handoff": handoff}
        case "TAKEOUT":
            return {"order_type": "takeout", "handoff": "counter"}
        case "INDOOR":
            indoor = order["indoor"]
            place = indoor["table"] if indoor["place"].is_missing else indoor["place"]
            return {"order_type": "dine_in", **table(place.line())}
        case _:
            kind.add_fault("must be one of DELIVERY, TAKEOUT, INDOOR")
            return {"order_type": kind.sourced(None)}


def _address(address: Node) -> Sourced:
    formatted = address["formattedAddress"].line()
    if formatted.value is not None:
        return formatted
    names = ("street", "number", "complement", "district", "city", "state", "postalCode")
    return joined([address[name].line() for name in names], ", ")


def _ready_at(order: Node) -> Sourced:
    """Return the time for which the order is; a delivery at once has none but its arrival."""
    scheduled = order["schedule"]["scheduledDateTimeStart"].time()
    if scheduled.value is not None:
        return scheduled
    takeout = order["takeout"]["takeoutDateTime"].time()
    return order["indoor"]["indoorDateTime"].time() if takeout.value is None else takeout


def _in_order(parts: Node) -> list[Node]:
    """Return items or options in the order of their indexes; those without one come last."""
    entries = parts.entries()
    indexes: Mapping[str, int | None] = {each.path: each["index"].integer() for each in entries}
    return sorted(entries, key=lambda each: (indexes[each.path] is None, indexes[each.path] or 0))


def _item(item: Node, currency: Currency) -> Sourced:
    sku, unit = item["externalCode"].line(), _unit(item)
    name = called(item["name"].line(), sku)
    quantity, price = item["quantity"].number(), _money(item["unitPrice"], currency)
    share = share_of(quantity, unit)
    if share is not None:
        name, quantity = by_weight(name, share, unit), Decimal(1)
    options = [_option(each, currency) for each in _in_order(item["options"])]
    total = _money(item["totalPrice"], currency)
    price = price_of_piece(price, share, options, currency.decimals, total)
    draft: Draft = {
        "name": name,
        "quantity": item["quantity"].sourced(quantity),
        "price": item["unitPrice"]["value"].sourced(price),
        "notes": item["specialInstructions"].text(),
        "sku": sku,
        "modifiers": options or None,
    }
    return item.sourced(draft)


def _unit(part: Node) -> str | None:
    """Return the unit of what is sold by weight or volume."""
    unit: str | None = part["unit"].line().value
    return None if unit is None or unit.upper() in WHOLE_UNITS else unit


def _option(node: Node, currency: Currency) -> Sourced:
    name, unit = node["name"].line(), _unit(node)
    quantity, price = node["quantity"].number(), _money(node["unitPrice"], currency)
    inner = [_option(each, currency) for each in _in_order(node["options"])]
    share = share_of(quantity, unit)
    if share is not None:
        name, quantity = by_weight(name, share, unit), Decimal(1)
        total = _money(node["totalPrice"], currency)
        price = price_of_piece(price, share, inner, currency.decimals, total)
    return option(
        name,
        quantity=node["quantity"].sourced(1 if quantity is None else quantity),
        price=node["unitPrice"]["value"].sourced(price),
        source=node,
        modifiers=[*inner, *instruction(node["specialInstructions"].line())],
    )


def _charges(order: Node, currency: Currency) -> list[Draft] | None:
    found = Charges()
    for fee in order["otherFees"].entries():
        label = fee["name"].line().value or fee["type"].line().value or "Fee"
        found.add(label, _money(fee["price"], currency), fee["price"]["value"])
    total_fees, total_discount = (order["total"][name] for name in ("otherFees", "discount"))
    found.add_rest("Fee", _money(total_fees, currency), found.total(), total_fees["value"])
    fees = found.total()
    for discount in order["discounts"].entries():
        target = discount["target"].line().value
        label = "Discount" if target in (None, "CART") else f"Discount ({target.lower()})"
        found.deduct(label, _money(discount["amount"], currency), discount["amount"]["value"])
    discounts = found.total() - fees
    found.deduct_rest(
        "Discount", _money(total_discount, currency), discounts, total_discount["value"]
    )
    return found.draft()


def _amount_due(order: Node, currency: Currency) -> Sourced:
    for method in order["payments"]["methods"].entries():
        method["currency"].check_currency(currency)
    pending = order["payments"]["pending"]
    return pending.sourced(pending.number() or None)


def _money(money: Node, currency: Currency) -> Decimal | None:
    if money.is_missing:
        return None
    money["currency"].check_currency(currency)
    return money["value"].number()


PLATFORM = Platform("open_delivery", BodyHmac("x-app-signature"), read)
