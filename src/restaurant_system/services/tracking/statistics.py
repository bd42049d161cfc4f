"""Statistics of a business date: orders by status, late orders, preparation times."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from restaurant_system.database import tracking_queries
from restaurant_system.database.connection import Connection
from restaurant_system.models.order import OrderType
from restaurant_system.models.status import OrderStatus
from restaurant_system.models.timing import Lateness

HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class DayStatistics:
    """The orders of a business date up to a moment.

    `preparation_seconds` are p50, p90 and p99 from received to ready. Types without data are
    missing in it and in `lateness`, hours without orders in `per_hour`.
    """

    business_date: date
    by_status: Mapping[OrderStatus, int]
    by_type: Mapping[OrderType, int]
    lateness: Mapping[OrderType, Lateness]
    preparation_seconds: Mapping[OrderType, Sequence[float]]
    per_hour: Mapping[datetime, int]


async def day_statistics(
    connection: Connection,
    *,
    now: datetime,
    timezone: ZoneInfo,
    late_after: Mapping[OrderType, timedelta],
) -> DayStatistics:
    """Return the statistics of the business date that `now` belongs to in `timezone`."""
    business_date = now.astimezone(timezone).date()
    counts = await tracking_queries.counts(connection, business_date, now, late_after)
    preparation = await tracking_queries.preparation_percentiles(connection, business_date)
    per_hour = await tracking_queries.per_hour(connection, business_date, timezone.key)
    by_status = dict.fromkeys(OrderStatus, 0)
    by_type = dict.fromkeys(OrderType, 0)
    lateness: dict[OrderType, Lateness] = {}
    for row in counts:
        status, order_type = OrderStatus(row["status"]), OrderType(row["type"])
        by_status[status] += row["orders"]
        by_type[order_type] += row["orders"]
        if status is not OrderStatus.CANCELLED:
            known = lateness.get(order_type, Lateness())
            lateness[order_type] = known + Lateness(row["orders"], row["late"])
    return DayStatistics(business_date, by_status, by_type, lateness, preparation, per_hour)


def with_empty_hours(per_hour: Mapping[datetime, int], now: datetime) -> dict[datetime, int]:
    """Return `per_hour` with a 0 for each missing hour from its first one to `now`."""
    if not per_hour:
        return {}
    filled, hour = dict(per_hour), min(per_hour)
    while hour <= now:
        filled.setdefault(hour, 0)
        hour += HOUR
    return dict(sorted(filled.items()))
