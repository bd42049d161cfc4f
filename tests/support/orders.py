"""Orders as guests place them: sound, until a test changes something."""

import json
from decimal import Decimal
from typing import Any

from restaurant_system.models.order import NewOrder


def make_item(**changes: object) -> dict[str, Any]:
    """State one line of an order."""
    return {"name": "Margherita", "quantity": 1, "price": Decimal("9.50")} | changes


def make_order_fields(**changes: object) -> dict[str, Any]:
    """State an order, as it is when its JSON has been read."""
    sound = {"customer_name": "Ada Lovelace", "order_type": "takeout", "items": [make_item()]}
    return sound | changes


def make_order(**changes: object) -> NewOrder:
    """Build an order."""
    return NewOrder.model_validate(make_order_fields(**changes))


def make_order_body(**changes: object) -> bytes:
    """Write an order down as a client sends it."""
    return json.dumps(make_order_fields(**changes), default=float).encode()
