"""Orders that wait for a message, and which of them have none: pure, no I/O.

A long queue is no standstill. So orders are held against messages: where there are as many messages
as orders that wait for one, every order will have its turn, however late.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from restaurant_system.models.order import OrderType
from restaurant_system.models.status import OrderStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """An order that goes on only when a message about it reaches a cook.

    It stands `since` it was placed or, if its cook did not finish it, since it should be ready.
    """

    id: int
    number: str
    order_type: OrderType
    status: OrderStatus
    since: datetime
    resends: int = 0
    resent_at: datetime | None = None

    def is_due(self, now: datetime, after: timedelta) -> bool:
        """Tell whether it has stood for over `after`; twice as long each time it was sent again."""
        last = max(self.since, self.resent_at or self.since)
        return now - last > after * (1 << self.resends)


def still_standing(before: Sequence[Standing], now: Sequence[Standing]) -> list[Standing]:
    """Return those that stand now and did before, as they are now."""
    numbers = {each.number for each in before}
    return [each for each in now if each.number in numbers]


def shortage(standing: Sequence[Standing], messages: Counter[OrderType]) -> Counter[OrderType]:
    """Return, by type, how many messages fewer there are than orders that wait for one."""
    return Counter(each.order_type for each in standing) - messages


def presumed_lost(standing: Sequence[Standing], short: Counter[OrderType]) -> list[Standing]:
    """Return the orders whose messages are taken to be those that are missing.

    A message does not say that it is gone. What is lost with a disk are the oldest, so of each type
    the first are taken, as many as are missing and not one more.
    """
    left, lost = Counter(short), []
    for each in standing:
        if left[each.order_type] > 0:
            left[each.order_type] -= 1
            lost.append(each)
    return lost
