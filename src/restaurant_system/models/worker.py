"""Workers of the kitchen: simulated cooks, and stations operated by people."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from restaurant_system.models.order import OrderType
from restaurant_system.models.text import is_visible, refused_character

MAX_NAME_LENGTH = 100  # characters

# The lease of a worker expires after this many of its own heartbeat intervals without a heartbeat.
MISSED_HEARTBEATS = 2


class WorkerStatus(StrEnum):
    """The status of a worker: online while its lease has not expired."""

    ONLINE = "online"
    OFFLINE = "offline"


@dataclass(frozen=True, slots=True)
class Worker:
    """A registered worker.

    An offline worker has deregistered or, if `is_silent`, its lease has expired. `capacity` is how
    many orders it cooks at a time; that of a station, which depends on its people, is 1.
    """

    name: str
    order_types: tuple[OrderType, ...]
    status: WorkerStatus
    orders_processed: int
    last_seen: datetime
    is_silent: bool = False
    capacity: int = 1

    def can_cook(self, order_type: OrderType) -> bool:
        """Tell whether the worker is registered for this order type."""
        return order_type in self.order_types


def is_worker_name(text: str) -> bool:
    """Tell whether a text is allowed as the name of a worker or a station."""
    is_short = len(text) <= MAX_NAME_LENGTH
    return is_short and is_visible(text) and refused_character(text) is None
