"""Orders as guests place them: sound, until a test changes something."""

import json
from decimal import Decimal
from typing import Any

from restaurant_system.models.order import NewOrder


def an_item(**changes: object) -> dict[str, Any]:
    """State one line of an order."""
    return {"name": "Margherita", "quantity": 1, "price": Decimal("9.50")} | changes


def a_statement(**changes: object) -> dict[str, Any]:
    """State an order, as it is when its JSON has been read."""
    sound = {"customer_name": "Ada Lovelace", "order_type": "takeout", "items": [an_item()]}
    return sound | changes


def an_order(**changes: object) -> NewOrder:
    """Build an order."""
    return NewOrder.model_validate(a_statement(**changes))


def a_body(**changes: object) -> bytes:
    """Write an order down as a client sends it."""
    return json.dumps(a_statement(**changes), default=float).encode()
