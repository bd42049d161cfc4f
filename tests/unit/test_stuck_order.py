"""When the message of a stuck order is published again."""

from datetime import UTC, datetime, timedelta

import pytest

from restaurant_system.database.reconciliation_queries import StuckOrder
from restaurant_system.models.order import OrderType
from restaurant_system.models.status import OrderStatus

NOON = datetime(2024, 12, 16, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def make_stuck_order(*, resends: int = 0, resent_at: datetime | None = None) -> StuckOrder:
    """Return an order that has been stuck since noon."""
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
    ("resends", "delay"), [(0, MINUTE), (1, 2 * MINUTE), (2, 4 * MINUTE), (9, 512 * MINUTE)]
)
def test_delay_before_a_resend_doubles_each_time(resends: int, delay: timedelta) -> None:
    """An order that is stuck for another reason is sent more and more rarely."""
    sent_at = NOON + timedelta(hours=1)
    order = make_stuck_order(resends=resends, resent_at=sent_at if resends else None)
    last = order.resent_at or order.since

    assert not order.is_due(last + delay, MINUTE)
    assert order.is_due(last + delay + timedelta(milliseconds=1), MINUTE)


def test_delay_counts_from_when_the_order_last_became_stuck() -> None:
    """An earlier resend does not shorten the delay after a later status change."""
    order = make_stuck_order(resends=1, resent_at=NOON - timedelta(hours=1))

    assert not order.is_due(NOON + MINUTE, MINUTE)
