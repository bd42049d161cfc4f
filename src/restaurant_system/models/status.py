"""The life of an order: its statuses and the only moves between them.

    received ──▶ cooking ◀──▶ ready ──▶ completed
        │           │
        └──▶ cancelled ◀──┘

From ready back to cooking only a person goes, at the kitchen display, who bumped an order too soon.

The database holds the same table in a trigger (``013_hold_tickets.sql``), so that nobody can bypass
it; a test keeps the two equal.
"""

from enum import StrEnum


class OrderStatus(StrEnum):
    """Where an order stands."""

    RECEIVED = "received"  # stored; waits for a cook
    COOKING = "cooking"  # a cook has it
    READY = "ready"  # cooked; waits for the guest, the waiter or the driver
    COMPLETED = "completed"  # handed over
    CANCELLED = "cancelled"  # called off before it was ready


# Each status with those that may come before it. The origins stand in the order in which an order
# passes through them: whoever tries them one after the other misses none.
ORIGINS: dict[OrderStatus, tuple[OrderStatus, ...]] = {
    OrderStatus.RECEIVED: (),
    OrderStatus.COOKING: (OrderStatus.RECEIVED, OrderStatus.READY),
    OrderStatus.READY: (OrderStatus.COOKING,),
    OrderStatus.COMPLETED: (OrderStatus.READY,),
    OrderStatus.CANCELLED: (OrderStatus.RECEIVED, OrderStatus.COOKING),
}


def may_move(origin: OrderStatus, target: OrderStatus) -> bool:
    """Tell whether an order may go from `origin` to `target` in one step."""
    return origin in ORIGINS[target]
