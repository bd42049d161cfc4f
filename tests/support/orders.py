"""Make valid orders, with changes where a test needs them."""

import json
from decimal import Decimal
from typing import Any

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
