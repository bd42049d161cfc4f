"""Business dates: the date that an order, its number and its statistics belong to.

A business date lasts from a time of day until the same time of the next day by the clock on the
wall, so it has 23 or 25 hours when clocks change.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class BusinessDay:
    """The rule for business dates: a time zone, and the time of day at which a date starts."""

    timezone: ZoneInfo
    start: time = time()

    def date_of(self, moment: datetime) -> date:
        """Return the business date that a time with a zone belongs to."""
        # One date can start during another when clocks go back across the start, so the latest
        # date that has started is looked for.
        found = moment.astimezone(self.timezone).date() + DAY
        while moment < self.start_of(found):
            found -= DAY
        return found

    def current_start(self, now: datetime) -> datetime:
        """Return the time, in UTC, at which the business date of `now` has started."""
        return self.start_of(self.date_of(now))

    def next_start(self, now: datetime) -> datetime:
        """Return the time, in UTC, at which the business date after that of `now` starts."""
        return self.start_of(self.date_of(now) + DAY)

    def start_of(self, business_date: date) -> datetime:
        """Return the time, in UTC, at which a business date starts.

        A time of day that occurs twice counts the first time; one that clocks skip is as much later
        as they skip (RFC 5545, 3.3.5).
        """
        local = datetime.combine(business_date, self.start, tzinfo=self.timezone)
        return local.astimezone(UTC)
