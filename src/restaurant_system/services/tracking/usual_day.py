"""The usual business date: the mean of the same weekday in the last weeks."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import groupby

from restaurant_system.database import past_orders
from restaurant_system.database.reader import Reader
from restaurant_system.models.business_day import BusinessDay

WEEKS = 4  # that are compared
A_WEEK = timedelta(weeks=1)
A_MINUTE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Sales:
    """A number of orders, and their amount without cancelled ones; both may be a mean."""

    orders: float = 0
    amount: Decimal = Decimal(0)

    def __add__(self, other: "Sales") -> "Sales":
        return Sales(self.orders + other.orders, self.amount + other.amount)

    def __truediv__(self, dates: int) -> "Sales":
        return Sales(self.orders / dates, self.amount / dates)


@dataclass(frozen=True, slots=True)
class UsualDay:
    """The sum of past business `dates`, latest first, by minute since the start of a date.

    Minutes are those of the clock on the wall. Dates without orders, on which the restaurant was
    closed, are not among them.
    """

    dates: Sequence[date]
    per_minute: Mapping[int, Sales]

    def until(self, minute: int) -> Sales:
        """Return the mean of what was ordered before a minute of the date."""
        return _sum(sales for at, sales in self.per_minute.items() if at < minute) / len(self.dates)

    def per_hour(self, business_date: date, business_day: BusinessDay) -> dict[datetime, float]:
        """Return the mean number of orders by hour, with the hours in UTC of another date."""
        start = _wall_start(business_date, business_day)

        def hour_of(minute: int) -> datetime:
            return (start + minute * A_MINUTE).replace(minute=0)

        return {
            hour.replace(tzinfo=business_day.timezone).astimezone(UTC): sum(
                self.per_minute[minute].orders for minute in minutes
            )
            / len(self.dates)
            for hour, minutes in groupby(sorted(self.per_minute), hour_of)
        }


class UsualDays:
    """Reads the usual day of a business date once: past dates hardly change."""

    def __init__(self, database: Reader, business_day: BusinessDay) -> None:
        self._database = database
        self._business_day = business_day
        self._date: date | None = None
        self._usual: UsualDay | None = None

    async def read(self, business_date: date) -> UsualDay | None:
        """Return the usual day; `None` if the weekday had no orders in the last weeks."""
        if business_date != self._date:
            self._usual = await self._read(business_date)
            self._date = business_date
        return self._usual

    async def _read(self, business_date: date) -> UsualDay | None:
        weeks = [business_date - week * A_WEEK for week in range(1, WEEKS + 1)]
        rule = self._business_day
        rows = await self._database.read(
            lambda it: past_orders.per_minute(it, weeks, rule.timezone.key, rule.start)
        )
        dates = sorted({row["business_date"] for row in rows}, reverse=True)
        per_minute: dict[int, Sales] = {}
        for row in rows:
            sales = Sales(row["orders"], row["amount"])
            per_minute[row["minute"]] = per_minute.get(row["minute"], Sales()) + sales
        return UsualDay(dates, per_minute) if dates else None


def minute_of(now: datetime, business_date: date, business_day: BusinessDay) -> int:
    """Return the minutes since the start of a business date, by the clock on the wall."""
    wall = now.astimezone(business_day.timezone).replace(tzinfo=None)
    return (wall - _wall_start(business_date, business_day)) // A_MINUTE


def _wall_start(business_date: date, business_day: BusinessDay) -> datetime:
    return datetime.combine(business_date, business_day.start)


def _sum(sales: Iterable[Sales]) -> Sales:
    return sum(sales, Sales())
