"""Which orders lack a message, and when to send them again."""

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

from restaurant_system.models.order import OrderType
from restaurant_system.models.standstill import (
    Standing,
    presumed_lost,
    shortage,
    still_standing,
)
from restaurant_system.models.status import OrderStatus

NOON = datetime(2024, 12, 16, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
DINE_IN, TAKEOUT, DELIVERY = OrderType.DINE_IN, OrderType.TAKEOUT, OrderType.DELIVERY


def standing(
    place: int = 1,
    order_type: OrderType = TAKEOUT,
    *,
    resends: int = 0,
    resent_at: datetime | None = None,
) -> Standing:
    """Describe an order that has stood still since noon."""
    return Standing(
        id=place,
        number=f"ORD_20241216_{place:03d}",
        order_type=order_type,
        status=OrderStatus.RECEIVED,
        since=NOON,
        resends=resends,
        resent_at=resent_at,
    )


def line_of(order_type: OrderType, *places: int) -> list[Standing]:
    """Describe several, oldest first."""
    return [standing(place, order_type) for place in places]


def test_a_long_queue_is_no_shortage() -> None:
    """However many orders wait: while each has a message, none is missing."""
    waiting = line_of(TAKEOUT, *range(1, 301))

    assert not shortage(waiting, Counter({TAKEOUT: 300}))
    assert not shortage(waiting, Counter({TAKEOUT: 301}))


def test_a_shortage_is_told_by_type() -> None:
    """Messages of one type do not make up for those of another."""
    waiting = line_of(TAKEOUT, 1, 2, 3) + line_of(DINE_IN, 4, 5)

    short = shortage(waiting, Counter({TAKEOUT: 1, DINE_IN: 9, DELIVERY: 9}))

    assert short == Counter({TAKEOUT: 2})


def test_as_many_orders_as_messages_are_missing_are_presumed_lost() -> None:
    """Of each type the oldest, as many as are missing and not one more."""
    waiting = [*line_of(TAKEOUT, 1, 3, 5), *line_of(DINE_IN, 2, 4)]
    waiting.sort(key=lambda each: each.id)

    lost = presumed_lost(waiting, Counter({TAKEOUT: 2, DINE_IN: 1}))

    assert [each.id for each in lost] == [1, 2, 3]


def test_who_has_moved_on_stands_no_more() -> None:
    """Only who stood before and stands now has stood meanwhile; what is known of it is what is."""
    before = line_of(TAKEOUT, 1, 2)
    now = [standing(2, resends=1, resent_at=NOON), standing(3)]

    assert still_standing(before, now) == now[:1]


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
