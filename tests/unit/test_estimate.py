from datetime import UTC, datetime, timedelta

import pytest

from restaurant_system.models.estimate import completion_of_waiting
from restaurant_system.models.order import OrderType

NOW = datetime(2024, 12, 16, 12, 0, tzinfo=UTC)
DURATIONS = {
    OrderType.DINE_IN: timedelta(seconds=8),
    OrderType.TAKEOUT: timedelta(seconds=10),
    OrderType.DELIVERY: timedelta(seconds=12),
}


def seconds_left(
    *,
    ahead: dict[OrderType, int] | None = None,
    due_in: tuple[float, ...] = (),
    cooks: int = 1,
) -> float:
    """Estimate in how many seconds a waiting takeout order will be ready."""
    done_at = completion_of_waiting(
        now=NOW,
        own=DURATIONS[OrderType.TAKEOUT],
        ahead=ahead or {},
        durations=DURATIONS,
        cooking_until=[NOW + timedelta(seconds=seconds) for seconds in due_in],
        cooks=cooks,
    )
    return (done_at - NOW).total_seconds()


def test_nobody_ahead() -> None:
    """With nothing before it, an order takes its own time."""
    assert seconds_left() == 10


def test_orders_ahead() -> None:
    """Each order ahead adds the time of its type."""
    ahead = {OrderType.DINE_IN: 2, OrderType.TAKEOUT: 1, OrderType.DELIVERY: 1}

    assert seconds_left(ahead=ahead) == 8 + 8 + 10 + 12 + 10


def test_what_is_cooking() -> None:
    """An order that cooks adds what is left of its time."""
    assert seconds_left(due_in=(3, 4)) == 3 + 4 + 10


def test_what_is_overdue() -> None:
    """An order that is overdue adds nothing, and takes nothing away."""
    assert seconds_left(due_in=(-60, 4)) == 4 + 10


@pytest.mark.parametrize(("cooks", "seconds"), [(1, 30), (2, 20), (4, 15)])
def test_cooks_share_the_work(cooks: int, seconds: float) -> None:
    """Several cooks share the work before an order, but not the order itself."""
    ahead = {OrderType.DINE_IN: 1, OrderType.DELIVERY: 1}

    assert seconds_left(ahead=ahead, cooks=cooks) == seconds


def test_no_cook_on_duty() -> None:
    """With no cook on duty the estimate is as if one came now."""
    assert seconds_left(ahead={OrderType.TAKEOUT: 1}, cooks=0) == 20
