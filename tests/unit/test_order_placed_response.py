"""The response to a new order, which is serialized without pydantic."""

from decimal import Decimal

import pytest

from restaurant_system.models.access import UNGUARDED
from restaurant_system.services.order.handler import OrderPlaced, serialize
from restaurant_system.services.order.service import PlacedOrder

CENTS = ["0.01", "0.10", "1.00", "9.90", "24.98", "100.00", "99999.99", "199998.00"]


@pytest.mark.parametrize("link", [None, "/track/n/0a", "https://eat.example.com:8443/track/n/0a"])
@pytest.mark.parametrize("amount", CENTS)
def test_serialized_response_equals_that_of_the_documented_model(
    amount: str, link: str | None
) -> None:
    placed = PlacedOrder("ORD_20241216_1000", Decimal(amount), link)

    documented = OrderPlaced(
        order_number=placed.order_number,
        total_amount=placed.total_amount,
        tracking_url=placed.tracking_url,
    )
    assert serialize(placed, UNGUARDED).body.decode() == documented.model_dump_json()
