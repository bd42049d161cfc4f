from itertools import product

import pytest

from restaurant_system.models.status import OrderStatus, may_move

LEGAL = {
    ("received", "cooking"),
    ("cooking", "ready"),
    ("ready", "cooking"),
    ("ready", "completed"),
    ("received", "cancelled"),
    ("cooking", "cancelled"),
}


@pytest.mark.parametrize(("origin", "target"), list(product(OrderStatus, repeat=2)))
def test_legal_moves(origin: OrderStatus, target: OrderStatus) -> None:
    """An order makes the six moves of its life, and no other."""
    assert may_move(origin, target) is ((origin, target) in LEGAL)


def test_statuses() -> None:
    """There are five statuses, under the names that everyone outside knows."""
    assert list(OrderStatus) == ["received", "cooking", "ready", "completed", "cancelled"]
