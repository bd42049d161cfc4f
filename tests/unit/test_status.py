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
    ("ready", "cancelled"),
}


@pytest.mark.parametrize(("origin", "target"), list(product(OrderStatus, repeat=2)))
def test_only_the_seven_legal_moves_are_allowed(origin: OrderStatus, target: OrderStatus) -> None:
    assert may_move(origin, target) is ((origin, target) in LEGAL)


def test_statuses_have_the_names_of_the_contract() -> None:
    assert list(OrderStatus) == ["received", "cooking", "ready", "completed", "cancelled"]
