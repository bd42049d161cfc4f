"""Make valid orders, with changes where a test needs them."""

import json
from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Any

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
    complete = {"notes": "For the party", "items": [make_item(notes="no onions"), make_item()]}
    return [
        make_order(order_type="takeout", **complete),
        make_order(order_type="dine_in", table_number=7, **complete),
        make_order(order_type="delivery", delivery_address="12 Analytical Row", **complete),
    ]


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
