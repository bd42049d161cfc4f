"""Write the moves of starts that were held at stations, so that they could be undone."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import uuid4

from restaurant_system.database import held_starts, orders
from restaurant_system.database.connection import Connection
from restaurant_system.database.orders import MovedOrder
from restaurant_system.errors import DatabaseUnavailable
from restaurant_system.logger import get_logger
from restaurant_system.messaging.order_messages import Sender, move_with_update
from restaurant_system.messaging.relay import Relay
from restaurant_system.metrics.order_moves import observe_move
from restaurant_system.models.order import OrderType
from restaurant_system.models.status import OrderStatus

log = get_logger("kitchen-worker")


@dataclass(frozen=True, slots=True)
class StartWriter:
    """Move orders whose start was held to `cooking`, as of the time of the start.

    `expected` is the time that an order of a type takes. Any number of processes may write starts:
    each is written once.
    """

    relay: Relay
    service: str
    expected: Callable[[OrderType], timedelta]

    async def write_due(
        self,
        connection: Connection,
        station: str,
        *,
        until: datetime,
        excluded: Sequence[int] = (),
    ) -> None:
        """Write the starts at a station until then, and all those at stations that are offline.

        One that cannot be written is logged, and delays no other.
        """
        due = await held_starts.list_due(connection, station, until=until, excluded=excluded)
        for number, started_at in due:
            try:
                async with connection.transaction():
                    moved = await self.write(connection, number, started_at)
            except DatabaseUnavailable:
                raise
            except Exception:
                log.exception(
                    "message_processing_failed",
                    message=f"The start of order {number} could not be written; it is tried again.",
                    order_number=number,
                )
            else:
                self.announce(moved)

    async def write(self, tx: Connection, number: str, started_at: datetime) -> MovedOrder | None:
        """Write a start, if it is still held; `announce` the result after the commit."""
        start = await held_starts.lock(tx, number, started_at)
        if start is None:
            return None
        move = move_with_update(
            start.number,
            origin=OrderStatus.RECEIVED,
            target=OrderStatus.COOKING,
            at=started_at,
            by=start.station,
            sender=Sender(self.service, start.request_id or str(uuid4()), start.trace),
            estimated_completion=started_at + self.expected(start.order_type),
        )
        (moved,) = await orders.move(tx, [move])
        await held_starts.release(tx, start.order_id)
        return moved

    def announce(self, moved: MovedOrder | None) -> None:
        """Pass the message of a committed start to the relay, and observe the move."""
        if moved is None:
            return
        self.relay.enqueue(moved)
        observe_move(
            moved.order_type,
            OrderStatus.RECEIVED,
            OrderStatus.COOKING,
            moved.seconds_since_placed,
        )
