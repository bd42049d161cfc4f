"""The statuses of an order, and the legal moves between them.

    received ──▶ cooking ◀──▶ ready ──▶ completed
        │           │           │
        └───────────┴───────────┴──▶ cancelled

Only people move an order from ready to anything but completed: at the kitchen display back to
cooking (recall), when it was bumped too soon, and by the API to cancelled, with a reason.

A trigger in the database enforces the same table (``025_once_for_ever.sql``); a test checks that
the two are equal.
"""

from enum import StrEnum


class OrderStatus(StrEnum):
    """The status of an order."""

    RECEIVED = "received"  # stored; waits for a cook
    COOKING = "cooking"  # being cooked
    READY = "ready"  # cooked; waits for the customer, the waiter or the driver
    COMPLETED = "completed"  # handed over
    CANCELLED = "cancelled"  # cancelled before it was handed over


# The statuses from which an order may move to each status. They are listed in the order in which an
# order passes through them, so that trying one after the other misses no order that moves on.
ORIGINS: dict[OrderStatus, tuple[OrderStatus, ...]] = {
    OrderStatus.RECEIVED: (),
    OrderStatus.COOKING: (OrderStatus.RECEIVED, OrderStatus.READY),
    OrderStatus.READY: (OrderStatus.COOKING,),
    OrderStatus.COMPLETED: (OrderStatus.READY,),
    OrderStatus.CANCELLED: (OrderStatus.RECEIVED, OrderStatus.COOKING, OrderStatus.READY),
}


def may_move(origin: OrderStatus, target: OrderStatus) -> bool:
    """Return whether an order may move from `origin` to `target`."""
    return origin in ORIGINS[target]
