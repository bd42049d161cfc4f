"""Learned preparation times, and the count of late orders."""

import pytest

from restaurant_system.models.order import OrderType
from restaurant_system.models.timing import Lateness, PreparationTimes

MINIMUM = {OrderType.DINE_IN: 8.0, OrderType.TAKEOUT: 10.0, OrderType.DELIVERY: 12.0}


def learned(*takeout: float) -> PreparationTimes:
    """Return the times after takeout orders that took these seconds."""
    return PreparationTimes(MINIMUM, {OrderType.TAKEOUT: takeout})


@pytest.mark.parametrize(
    ("recent", "expected"),
    [
        ((), 10),
        ((600, 660), 10),
        ((600, 1, 660), 600),
        ((600, 660, 9000, 620), 640),
        ((1, 2, 3), 10),
    ],
    ids=["none", "too few", "median", "an outlier", "faster than the minimum"],
)
def test_expected_time_is_the_median_of_recent_orders(
    recent: tuple[float, ...], expected: float
) -> None:
    times = learned(*recent)

    assert times.expected(OrderType.TAKEOUT) == expected
    assert times.expected(OrderType.DINE_IN) == 8
    assert times.is_learned(OrderType.TAKEOUT) == (len(recent) >= 3)


@pytest.mark.parametrize(
    ("elapsed", "remaining"), [(-5, 300), (0, 300), (100, 200), (300, 450), (700, 200), (900, 0)]
)
def test_remaining_time_of_an_overdue_order_is_that_of_orders_that_took_longer(
    elapsed: float, remaining: float
) -> None:
    times = learned(100, 200, 300, 600, 900)

    assert times.remaining(OrderType.TAKEOUT, elapsed) == remaining


def test_late_shares_are_weighted_by_orders() -> None:
    """The share of a sum is that of all its orders, not the mean of the shares."""
    takeout, delivery = Lateness(orders=9, late=0), Lateness(orders=1, late=1)

    assert (takeout + delivery).share == 0.1


def test_late_share_of_no_orders_is_none() -> None:
    """The late share of no orders is `None`, neither 0 nor 1."""
    assert Lateness().share is None
