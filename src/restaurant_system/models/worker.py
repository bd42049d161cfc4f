"""A cook, as the others know it."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from restaurant_system.models.order import OrderType
from restaurant_system.models.text import refused_character

LONGEST_NAME = 100  # characters

# After how many of its own heartbeat intervals a silent worker is taken for gone.
MISSED_HEARTBEATS = 2


class WorkerStatus(StrEnum):
    """Whether a worker can be counted on."""

    ONLINE = "online"
    OFFLINE = "offline"


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker as it stands in the kitchen's book.

    One that is offline has signed off, or `is_silent`: its heartbeat has failed to come.
    """

    name: str
    order_types: tuple[OrderType, ...]
    status: WorkerStatus
    orders_processed: int
    last_seen: datetime
    is_silent: bool = False

    def can_cook(self, order_type: OrderType) -> bool:
        """Tell whether orders of this type are among its own."""
        return order_type in self.order_types


def is_worker_name(text: str) -> bool:
    """Tell whether a worker or a station may have this name."""
    return 1 <= len(text) <= LONGEST_NAME and refused_character(text) is None
