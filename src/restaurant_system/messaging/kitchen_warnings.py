"""Find what is wrong in the kitchen now, from its orders, its workers and its queues."""

from collections.abc import Iterator, Mapping
from datetime import datetime

from restaurant_system.messaging import topology
from restaurant_system.models.kitchen_warning import (
    KitchenState,
    KitchenWarning,
    QueueLength,
    current_warnings,
)
from restaurant_system.models.order import OrderType


def warnings_in(
    state: KitchenState, depths: Mapping[str, int] | None, now: datetime
) -> list[KitchenWarning]:
    """Return the current warnings, the most urgent first.

    `depths` are those of the broker's queues; while they are unknown, there is no warning about
    queues.
    """
    return current_warnings(state, _lengths(depths or {}), now)


def _lengths(depths: Mapping[str, int]) -> Iterator[QueueLength]:
    for order_type, queue in topology.SPECIALISED.items():
        yield QueueLength(queue.name, [order_type], depths.get(queue.name, 0))
    general = topology.GENERAL.name
    yield QueueLength(general, list(OrderType), depths.get(general, 0))
