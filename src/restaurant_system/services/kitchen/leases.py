"""Orders that somebody has begun: a worker has them for as long as its lease lasts."""

from datetime import datetime

from restaurant_system.database import orders, workers
from restaurant_system.database.connection import Connection
from restaurant_system.errors import MessageRejected
from restaurant_system.models.status import OrderStatus
from restaurant_system.services.kitchen.hands import Outcome


async def take_over(
    tx: Connection, number: str, *, to_worker: str, estimated_completion: datetime, at: datetime
) -> Outcome | None:
    """Hand over an order whose worker is gone, or is this one; return why not, `None` if it was.

    Raises `MessageRejected` when there is no such order.
    """
    current = await orders.current_status(tx, number)
    if current is None:
        raise MessageRejected(f"there is no order {number}")
    if current.status is not OrderStatus.COOKING or current.processed_by is None:
        return Outcome.OVER
    if current.processed_by != to_worker and await workers.is_present(tx, current.processed_by):
        return Outcome.SOMEONE_ELSES
    taken = await orders.take_over(
        tx,
        number,
        from_worker=current.processed_by,
        to_worker=to_worker,
        estimated_completion=estimated_completion,
        at=at,
    )
    return None if taken else Outcome.SOMEONE_ELSES
