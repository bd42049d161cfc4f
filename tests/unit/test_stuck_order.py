"""When an order that stands still is sent again."""

from datetime import UTC, datetime, timedelta

import pytest

from restaurant_system.database.reconciliation_queries import StuckOrder
from restaurant_system.models.order import OrderType
from restaurant_system.models.status import OrderStatus

NOON = datetime(2024, 12, 16, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def standing(*, resends: int = 0, resent_at: datetime | None = None) -> StuckOrder:
    """Describe an order that has stood still since noon."""
    return StuckOrder(
        id=1,
        number="ORD_20241216_001",
        order_type=OrderType.TAKEOUT,
        status=OrderStatus.RECEIVED,
        since=NOON,
        resends=resends,
        resent_at=resent_at,
    )


@pytest.mark.parametrize(
    ("resends", "pause"), [(0, MINUTE), (1, 2 * MINUTE), (2, 4 * MINUTE), (9, 512 * MINUTE)]
)
def test_the_pause_before_an_order_is_sent_again_doubles_each_time(
    resends: int, pause: timedelta
) -> None:
    """An order whose standstill has another cause is sent more and more rarely."""
    sent_at = NOON + timedelta(hours=1)
    order = standing(resends=resends, resent_at=sent_at if resends else None)
    last = order.resent_at or order.since

    assert not order.is_due(last + pause, MINUTE)
    assert order.is_due(last + pause + timedelta(milliseconds=1), MINUTE)


def test_an_order_that_went_on_after_it_was_sent_again_is_given_its_time() -> None:
    """The pause begins when it last stood still, not when it was sent long before."""
    order = standing(resends=1, resent_at=NOON - timedelta(hours=1))

    assert not order.is_due(NOON + MINUTE, MINUTE)
