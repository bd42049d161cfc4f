"""A business date in figures."""

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
class Figures:
    """What became of the orders of a business date up to a moment.

    `preparation_seconds` are p50, p90 and p99 from received to ready. Types of which there was
    nothing to tell are left out of it and of `lateness`, empty hours out of `per_hour`.
    """

    business_date: date
    by_status: Mapping[OrderStatus, int]
    by_type: Mapping[OrderType, int]
    lateness: Mapping[OrderType, Lateness]
    preparation_seconds: Mapping[OrderType, Sequence[float]]
    per_hour: Mapping[datetime, int]


async def figures(
    connection: Connection,
    *,
    now: datetime,
    timezone: ZoneInfo,
    late_after: Mapping[OrderType, timedelta],
) -> Figures:
    """Return the figures of the business date that it is `now`, in the restaurant's zone."""
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
    return Figures(business_date, by_status, by_type, lateness, preparation, per_hour)


def without_gaps(per_hour: Mapping[datetime, int], now: datetime) -> dict[datetime, int]:
    """Fill in the empty hours from the first one that is known up to `now`."""
    if not per_hour:
        return {}
    filled, hour = dict(per_hour), min(per_hour)
    while hour <= now:
        filled.setdefault(hour, 0)
        hour += HOUR
    return dict(sorted(filled.items()))
