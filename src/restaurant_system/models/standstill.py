"""Orders that stand still for want of a message, and when to send them again: pure, no I/O."""

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
