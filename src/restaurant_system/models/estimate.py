"""When a waiting order will be ready."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from restaurant_system.models.order import OrderType


def completion_of_waiting(
    *,
    now: datetime,
    own: timedelta,
    ahead: Mapping[OrderType, int],
    durations: Mapping[OrderType, timedelta],
    cooking_until: Iterable[datetime],
    cooks: int,
) -> datetime:
    """Estimate when an order that waits will be ready.

    The work before it (the orders `ahead`, by type, and the rest of those that are cooking) is
    shared evenly among the `cooks`; then it cooks for its `own` time. With no cook on duty the
    estimate is as if one came now.
    """
    waiting = sum((durations[kind] * count for kind, count in ahead.items()), timedelta())
    under_way = sum((max(until - now, timedelta()) for until in cooking_until), timedelta())
    return now + (waiting + under_way) / max(cooks, 1) + own
