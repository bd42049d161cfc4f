"""Statistics of a business date: orders by status, late orders, preparation times."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import reduce
from operator import add

from restaurant_system.database import tracking_queries
from restaurant_system.database.connection import Connection
from restaurant_system.database.tracking_queries import Row
from restaurant_system.models.business_day import BusinessDay
from restaurant_system.models.kitchen_warning import OrderGroup
from restaurant_system.models.order import OrderType
from restaurant_system.models.status import OrderStatus
from restaurant_system.models.timing import Lateness
from restaurant_system.services.tracking.order_list import READY_SHOWN_FOR

HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class DayStatistics:
    """The orders of a business date up to a moment.

    `amount` is that of the orders that were not cancelled. `uncollected` are the orders that are
    ready and not fetched, since the first of them became so, in a restaurant that notes on its
    screens what is fetched. `preparation_seconds` are p50, p90 and p99 from received to ready.
    Types without data are missing in it and in `lateness`, hours without orders in `per_hour`.
    """

    business_date: date
    by_status: Mapping[OrderStatus, int]
    by_type: Mapping[OrderType, int]
    amount: Decimal
    lateness: Mapping[OrderType, Lateness]
    uncollected: OrderGroup | None
    preparation_seconds: Mapping[OrderType, Sequence[float]]
    per_hour: Mapping[datetime, int]


async def day_statistics(
    connection: Connection,
    *,
    now: datetime,
    business_day: BusinessDay,
    late_after: Mapping[OrderType, timedelta],
) -> DayStatistics:
    """Return the statistics of the business date that `now` belongs to."""
    business_date = business_day.date_of(now)
    counts = await tracking_queries.counts(
        connection, business_date, now, late_after, now - READY_SHOWN_FOR
    )
    preparation = await tracking_queries.preparation_percentiles(connection, business_date)
    per_hour = await tracking_queries.per_hour(connection, business_date, business_day.timezone.key)
    by_status = dict.fromkeys(OrderStatus, 0)
    by_type = dict.fromkeys(OrderType, 0)
    amount = Decimal(0)
    lateness: dict[OrderType, Lateness] = {}
    for row in counts:
        status, order_type = OrderStatus(row["status"]), OrderType(row["type"])
        by_status[status] += row["orders"]
        by_type[order_type] += row["orders"]
        if status is not OrderStatus.CANCELLED:
            amount += row["amount"]
            known = lateness.get(order_type, Lateness())
            lateness[order_type] = known + Lateness(row["due"], row["late"])
    return DayStatistics(
        business_date=business_date,
        by_status=by_status,
        by_type=by_type,
        amount=amount,
        lateness=lateness,
        uncollected=_uncollected(counts) if by_status[OrderStatus.COMPLETED] else None,
        preparation_seconds=preparation,
        per_hour=per_hour,
    )


def _uncollected(counts: Sequence[Row]) -> OrderGroup | None:
    groups = [
        OrderGroup(row["uncollected"], row["uncollected_since"])
        for row in counts
        if row["uncollected"]
    ]
    return reduce(add, groups) if groups else None


def with_empty_hours(per_hour: Mapping[datetime, int], now: datetime) -> dict[datetime, int]:
    """Return `per_hour` with a 0 for each missing hour from its first one to `now`."""
    if not per_hour:
        return {}
    filled, hour = dict(per_hour), min(per_hour)
    while hour <= now:
        filled.setdefault(hour, 0)
        hour += HOUR
    return dict(sorted(filled.items()))
