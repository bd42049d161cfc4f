"""What a worker does with its orders: it cooks them by itself, or shows them to people."""

from enum import Enum, auto
from typing import Protocol

from restaurant_system.models.message import OrderReceived

NAME = "kitchen-worker"


class Outcome(Enum):
    """What became of an order at a worker, and so of its message."""

    COOKED = auto()  # ready, by us
    OVER = auto()  # nothing to do: ready already, completed or cancelled
    SOMEONE_ELSES = auto()  # another worker that is alive has it; look again later
    OTHER_TYPE = auto()  # not of the worker's types; move it to its type's queue
    GIVEN_BACK = auto()  # back to where it came from, as it is


class Hands(Protocol):
    """Those who see orders through, any number at once."""

    @property
    def is_busy(self) -> bool:
        """Whether an order has been begun here and is not ready yet."""

    async def process(self, order: OrderReceived, request_id: str) -> Outcome:
        """See an order through; wait, however long, for a database that is away.

        Raises `MessageRejected` when there is no such order.
        """

    async def watch(self) -> None:
        """Do what has to be done beside, for as long as it runs."""

    def let_go(self) -> None:
        """Hear that no more orders come for now: the line is broken, or the worker goes.

        Who waits for people gives back what is in hand; who cooks by itself finishes it.
        """
