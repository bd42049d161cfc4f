"""Statistics of a business date: orders by status, late orders, preparation times."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal

from restaurant_system.database import order_list, tracking_queries
from restaurant_system.database.connection import Connection
from restaurant_system.database.tracking_queries import Row
from restaurant_system.models.business_day import BusinessDay
from restaurant_system.models.kitchen_warning import OrderGroup
from restaurant_system.models.order import OrderType
from restaurant_system.models.status import OrderStatus
from restaurant_system.models.timing import Lateness
from restaurant_system.services.tracking.order_list import READY_LISTED_FOR, READY_SHOWN_FOR

HOUR = timedelta(hours=1)
COMPLETES_WITHIN = timedelta(days=7)  # in a restaurant that completes its orders


@dataclass(frozen=True, slots=True)
class DayStatistics:
    """The orders of a business date up to a moment.

    `amount` is that of the orders that were not cancelled. `ready` are those to be handed over, and
    `uncollected` those that were not fetched, since the first of them was not: as in the list for
    staff, also of earlier dates, and not fetched only in a restaurant that has completed orders
    within `COMPLETES_WITHIN`. `preparation_seconds` are p50, p90 and p99 from received to ready.
    Types without data are missing in it and in `lateness`, hours without orders in `per_hour`.
    """

    business_date: date
    by_status: Mapping[OrderStatus, int]
    by_type: Mapping[OrderType, int]
    amount: Decimal
    lateness: Mapping[OrderType, Lateness]
    ready: int
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
    counts = await tracking_queries.counts(connection, business_date, now, late_after)
    ready = await order_list.count_ready(
        connection,
        business_date,
        ready_since=now - READY_LISTED_FOR,
        fetched_since=now - READY_SHOWN_FOR,
    )
    completed_at = await order_list.latest_completion(connection)
    is_noted = completed_at is not None and completed_at >= now - COMPLETES_WITHIN
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
        ready=ready["ready"],
        uncollected=_uncollected(ready) if is_noted else None,
        preparation_seconds=preparation,
        per_hour=per_hour,
    )


def _uncollected(ready: Row) -> OrderGroup | None:
    count = ready["uncollected"]
    return OrderGroup(count, ready["uncollected_since"]) if count else None


def with_empty_hours(per_hour: Mapping[datetime, int], now: datetime) -> dict[datetime, int]:
    """Return `per_hour` with a 0 for each missing hour from its first one to `now`."""
    if not per_hour:
        return {}
    filled, hour = dict(per_hour), min(per_hour)
    while hour <= now:
        filled.setdefault(hour, 0)
        hour += HOUR
    return dict(sorted(filled.items()))
