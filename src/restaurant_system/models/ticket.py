"""An order on a screen in the kitchen, and what people do with it there."""

from datetime import timedelta
from enum import StrEnum
from typing import Annotated

from pydantic import AwareDatetime, Field

from restaurant_system.models.order import StrictModel
from restaurant_system.models.status import OrderStatus

UNDO = timedelta(seconds=10)  # in which a bumped ticket stays in sight, to be taken back


class Action(StrEnum):
    """What a tap on a ticket asks for."""

    START = "start"  # it is being cooked
    BUMP = "bump"  # it is ready
    RECALL = "recall"  # it was bumped too soon
    RUSH = "rush"  # it is to be cooked before all others
    ACKNOWLEDGE = "acknowledge"  # that it was cancelled has been seen


# What somebody can have seen who asks for it.
EXPECTED: dict[Action, frozenset[OrderStatus]] = {
    Action.START: frozenset({OrderStatus.RECEIVED}),
    Action.BUMP: frozenset({OrderStatus.COOKING}),
    Action.RECALL: frozenset({OrderStatus.READY}),
    Action.RUSH: frozenset({OrderStatus.RECEIVED, OrderStatus.COOKING}),
    Action.ACKNOWLEDGE: frozenset({OrderStatus.CANCELLED}),
}
# Where an order goes by those that move it.
TARGETS = {
    Action.START: OrderStatus.COOKING,
    Action.BUMP: OrderStatus.READY,
    Action.RECALL: OrderStatus.COOKING,
}


class Tap(StrictModel):
    """A tap says how its ticket was seen, so that two hands cannot do one thing twice.

    `as_of` is the ticket's `updated_at`: a status may have been left, and come back, in between.
    """

    expected: Annotated[OrderStatus, Field(strict=False)]
    as_of: Annotated[AwareDatetime | None, Field(strict=False)] = None
