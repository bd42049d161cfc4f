"""Observe the status changes of orders."""

from math import inf

from restaurant_system.metrics.definitions import (
    order_moves_total,
    order_time_to_status_seconds,
    orders_late_total,
)
from restaurant_system.models.status import OrderStatus

CLOCK_DIFFERENCE = 60.0  # s by which the clocks of two machines may differ


def observe_move(
    order_type: str,
    origin: OrderStatus,
    target: OrderStatus,
    seconds: float,
    *,
    late_after: float = inf,
) -> None:
    """Observe a move, `seconds` after the order was placed; call it once its commit is known.

    The process that made the move calls this: a repeated move changes no row, and is not observed.
    A move whose commit was not confirmed, because the connection broke, is not observed either. An
    order is late if it becomes ready `late_after` seconds or more after it was placed.
    """
    order_moves_total.labels(order_type, origin, target).inc()
    if origin is OrderStatus.READY and target is OrderStatus.COOKING:  # recalled
        return
    if seconds > -CLOCK_DIFFERENCE:  # else it counts as released on a later business date
        order_time_to_status_seconds.labels(order_type, target).observe(max(0.0, seconds))
    if target is OrderStatus.READY and seconds >= late_after:
        orders_late_total.labels(order_type).inc()
