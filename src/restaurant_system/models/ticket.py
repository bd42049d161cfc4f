"""Tickets on the screens of the kitchen, and the actions of people on them."""

from datetime import timedelta
from enum import StrEnum
from typing import Annotated

from pydantic import AwareDatetime, Field

from restaurant_system.models.order import StrictModel
from restaurant_system.models.status import OrderStatus

UNDO_WINDOW = timedelta(seconds=10)  # a bumped ticket stays on the screen for this long


class Action(StrEnum):
    """An action that a person can take on a ticket, such as start, bump or recall."""

    START = "start"  # received → cooking
    BUMP = "bump"  # cooking → ready
    RECALL = "recall"  # ready → cooking
    RUSH = "rush"  # move before all other tickets
    ACKNOWLEDGE = "acknowledge"  # remove a cancelled ticket from the screen


# The statuses in which an order can be when the action is tapped.
EXPECTED_STATUSES: dict[Action, frozenset[OrderStatus]] = {
    Action.START: frozenset({OrderStatus.RECEIVED}),
    Action.BUMP: frozenset({OrderStatus.COOKING}),
    Action.RECALL: frozenset({OrderStatus.READY}),
    Action.RUSH: frozenset({OrderStatus.RECEIVED, OrderStatus.COOKING}),
    Action.ACKNOWLEDGE: frozenset({OrderStatus.CANCELLED}),
}
# The status of an order after the action, for the actions that change it.
TARGET_STATUS = {
    Action.START: OrderStatus.COOKING,
    Action.BUMP: OrderStatus.READY,
    Action.RECALL: OrderStatus.COOKING,
}


class Tap(StrictModel):
    """The body of a tap: the order as it was on the screen, so that a late tap is refused.

    `as_of` is the order's `updated_at`: it tells apart two times at which the order had the same
    status.
    """

    expected: Annotated[OrderStatus, Field(strict=False)]
    as_of: Annotated[AwareDatetime | None, Field(strict=False)] = None
