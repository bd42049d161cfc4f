"""The interface between a worker and the part that cooks its orders or shows them to people."""

from datetime import datetime
from enum import Enum, auto
from typing import Protocol

from restaurant_system.database import orders, workers
from restaurant_system.database.connection import Connection
from restaurant_system.errors import MessageRejected
from restaurant_system.models.message import OrderReceived
from restaurant_system.models.status import OrderStatus


class Outcome(Enum):
    """The result of processing an order; it decides how the order's message is settled."""

    COOKED = auto()  # the order is ready: acknowledge
    NOT_NEEDED = auto()  # the order is ready already, completed or cancelled: acknowledge
    OTHER_WORKER = auto()  # another online worker has the order: defer
    OTHER_TYPE = auto()  # the worker does not cook this type: move to the type's own queue
    RELEASED = auto()  # the worker stops or is disconnected: requeue unchanged


class OrderProcessor(Protocol):
    """Process the orders of one worker, any number concurrently."""

    @property
    def is_busy(self) -> bool:
        """Return whether the processor has started an order that is not ready yet."""

    async def process(self, order: OrderReceived, request_id: str) -> Outcome:
        """Process one order until it is ready or needs no cooking.

        Waits without limit while the database is unavailable. Raises `MessageRejected` when there
        is no such order.
        """

    async def poll_orders(self) -> None:
        """Poll the database for changes that others make to the orders, until cancelled."""

    def release_orders(self) -> None:
        """Release the orders that wait for people; those of simulated cooks are finished.

        Called when the connection to the broker is lost and when the worker stops.
        """


async def take_over_abandoned(
    tx: Connection, number: str, *, to_worker: str, estimated_completion: datetime, at: datetime
) -> Outcome | None:
    """Assign an order in `cooking` to a worker, if it is its own or its worker is offline.

    Returns `None` if the order now belongs to `to_worker`, else why it does not. Raises
    `MessageRejected` when there is no such order.
    """
    current = await orders.current_status(tx, number)
    if current is None:
        raise MessageRejected(f"there is no order {number}")
    if current.status is not OrderStatus.COOKING or current.processed_by is None:
        return Outcome.NOT_NEEDED
    if current.processed_by != to_worker and await workers.is_online(tx, current.processed_by):
        return Outcome.OTHER_WORKER
    taken = await orders.take_over(
        tx,
        number,
        from_worker=current.processed_by,
        to_worker=to_worker,
        estimated_completion=estimated_completion,
        at=at,
    )
    return None if taken else Outcome.OTHER_WORKER
