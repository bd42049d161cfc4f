"""Make valid orders, with changes where a test needs them."""

import json
from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Any
from uuid import uuid4

from pydantic import BaseModel

from restaurant_system.models.order import NewOrder


def make_item(**changes: object) -> dict[str, Any]:
    """Make the fields of an order item."""
    return {"name": "Margherita", "quantity": 1, "price": Decimal("9.50")} | changes


def make_order_fields(**changes: object) -> dict[str, Any]:
    """Make the fields of an order, as parsed from JSON."""
    sound = {"customer_name": "Ada Lovelace", "order_type": "takeout", "items": [make_item()]}
    return sound | changes


def make_order(**changes: object) -> NewOrder:
    """Make an order."""
    return NewOrder.model_validate(make_order_fields(**changes))


def make_order_body(**changes: object) -> bytes:
    """Make the JSON body of an order."""
    return json.dumps(make_order_fields(**changes), default=float).encode()


def make_complete_orders() -> list[NewOrder]:
    """Make an order of each type; together they set every field of an order and of its items."""
    return [
        make_order(order_type="takeout", handoff="curbside", **_complete()),
        make_order(order_type="dine_in", table_number=7, table="Terrace 3", **_complete()),
        make_order(order_type="delivery", delivery_address="12 Analytical Row", **_complete()),
    ]


def _complete() -> dict[str, Any]:
    item = make_item(
        notes="no onions", modifiers=[make_modifier()], guest="Eve", course=2, sku="M1"
    )
    return {
        "notes": "For the party",
        "items": [item, make_item()],
        "allergy_note": "peanuts",
        "reference": "84H9B",
        "channel": "example.eats",
        "external_id": uuid4().hex,
        "phone": "+44 20 7946 0000",
        "ready_at": "2024-12-16T12:00:05Z",
        "charges": [
            {"name": "Bag", "amount": Decimal("0.15")},
            {"name": "Voucher", "amount": Decimal("-5.50")},
        ],
        "amount_due": Decimal("4.35"),
    }


def make_modifier(**changes: object) -> dict[str, Any]:
    """Make the fields of a modifier with modifiers of its own, as parsed from JSON."""
    inner = {"name": "No \u00e9p\u00e9ron", "kind": "remove", "price": Decimal("-0.50")}
    outer = {"name": "Double cheese", "quantity": 2, "price": Decimal("1.20"), "modifiers": [inner]}
    return outer | changes


def unset_fields(models: Iterable[BaseModel]) -> set[str]:
    """Return the fields, as ``Class.field``, that are `None` or empty in all of these models.

    Models in fields and in lists of fields are included.
    """
    declared, present = set[str](), set[str]()
    for model in _with_parts(models):
        for name in type(model).model_fields:
            field = f"{type(model).__name__}.{name}"
            declared.add(field)
            if getattr(model, name) not in (None, (), "", {}):
                present.add(field)
    return declared - present


def _with_parts(values: Iterable[object]) -> Iterator[BaseModel]:
    for value in values:
        if isinstance(value, BaseModel):
            yield value
            yield from _with_parts(getattr(value, name) for name in type(value).model_fields)
        elif isinstance(value, list | tuple):
            yield from _with_parts(value)
