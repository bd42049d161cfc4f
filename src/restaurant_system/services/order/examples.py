"""The example orders in the OpenAPI document: one of few fields, and one that uses almost all.

A time for `ready_at` would soon be too long ago.
"""

from pydantic import JsonValue

SIMPLE: dict[str, JsonValue] = {
    "customer_name": "John Doe",
    "order_type": "takeout",
    "items": [
        {"name": "Margherita Pizza", "quantity": 1, "price": 15.99},
        {"name": "Caesar Salad", "quantity": 1, "price": 8.99, "notes": "no onions"},
    ],
}
FULL: dict[str, JsonValue] = {
    "customer_name": "J. O'Neil-Smith, Jr.",
    "order_type": "delivery",
    "handoff": "own_delivery",
    "delivery_address": "1 Hoy St",
    "phone": "+44 20 7946 0000",
    "reference": "84H9B",
    "channel": "example_eats",
    "external_id": "0b0f2b6e-6d5c-4d0c-9c2e-3f5d1f4d7a10",
    "allergy_note": "peanuts",
    "items": [
        {
            "name": "Burger Menu",
            "quantity": 2,
            "price": 11,
            "sku": "MENU-7",
            "guest": "Alex R.",
            "course": 1,
            "notes": "well done",
            "modifiers": [
                {
                    "name": "Fries XL",
                    "kind": "choice",
                    "price": 1.5,
                    "modifiers": [{"name": "Ketchup", "quantity": 2, "price": 0.3}],
                },
                {"name": "Cheese", "kind": "remove", "price": -0.5},
                {"name": "Cut in half", "kind": "instruction"},
            ],
        }
    ],
    "notes": "Ring twice",
    "charges": [{"name": "Delivery fee", "amount": 2.5}, {"name": "Voucher", "amount": -5}],
    "amount_due": 22.7,
}
EXAMPLES: dict[str, JsonValue] = {
    "simple": {"summary": "A simple order", "value": SIMPLE},
    "full": {"summary": "An order of a platform, with almost all that it may have", "value": FULL},
}
