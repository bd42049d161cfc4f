"""Tickets on the screens of the kitchen, and the actions of people on them."""

from datetime import timedelta
from enum import StrEnum
from typing import Annotated

from pydantic import AwareDatetime, Field

from restaurant_system.models.fields import StrictModel
from restaurant_system.models.order import MAX_ITEMS
from restaurant_system.models.status import OrderStatus

# For this long a bumped ticket stays on the screen, and a start is held.
UNDO_WINDOW = timedelta(seconds=10)


class Action(StrEnum):
    """An action that a person can take on a ticket, such as start, bump or recall."""

    START = "start"  # received → cooking
    UNSTART = "unstart"  # undo that, while the start is held
    BUMP = "bump"  # cooking → ready
    RECALL = "recall"  # ready → cooking
    RUSH = "rush"  # move before all other tickets
    UNRUSH = "unrush"  # undo that
    CROSS_OFF = "cross_off"  # mark one item as done
    RESTORE = "restore"  # undo that
    ACKNOWLEDGE = "acknowledge"  # remove a cancelled ticket from the screen


# The statuses that a ticket can show when the action is tapped.
EXPECTED_STATUSES: dict[Action, frozenset[OrderStatus]] = {
    Action.START: frozenset({OrderStatus.RECEIVED}),
    Action.UNSTART: frozenset({OrderStatus.COOKING}),
    Action.BUMP: frozenset({OrderStatus.COOKING}),
    Action.RECALL: frozenset({OrderStatus.READY}),
    Action.RUSH: frozenset({OrderStatus.RECEIVED, OrderStatus.COOKING}),
    Action.UNRUSH: frozenset({OrderStatus.RECEIVED, OrderStatus.COOKING}),
    Action.CROSS_OFF: frozenset({OrderStatus.COOKING}),
    Action.RESTORE: frozenset({OrderStatus.COOKING}),
    Action.ACKNOWLEDGE: frozenset({OrderStatus.CANCELLED}),
}
# The actions on one item of a ticket. They change nothing about the order, so they are not audited.
OF_ITEM = frozenset({Action.CROSS_OFF, Action.RESTORE})
# The status that a ticket shows after the action, for the actions that change it.
TARGET_STATUS = {
    Action.START: OrderStatus.COOKING,
    Action.UNSTART: OrderStatus.RECEIVED,
    Action.BUMP: OrderStatus.READY,
    Action.RECALL: OrderStatus.COOKING,
}


class Tap(StrictModel):
    """The body of a tap: the order as it was on the screen, so that a late tap is refused.

    `as_of` is the order's `updated_at`: it tells apart two times at which the order had the same
    status. `item` is the position of the item that is crossed off or restored, from 0.
    """

    expected: Annotated[OrderStatus, Field(strict=False)]
    as_of: Annotated[AwareDatetime | None, Field(strict=False)] = None
    item: Annotated[int | None, Field(ge=0, lt=MAX_ITEMS)] = None
