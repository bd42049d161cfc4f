"""Moves of an order that somebody else has made, and told everyone of long ago."""

from datetime import datetime

from restaurant_system.database import orders, outbox
from restaurant_system.database.connection import Database
from restaurant_system.messaging.announcements import Sender, announced_move
from restaurant_system.models.status import OrderStatus


async def move(
    database: Database,
    number: str,
    origin: OrderStatus,
    target: OrderStatus,
    *,
    at: datetime,
    by: str,
    due: datetime | None = None,
) -> bool:
    """Move an order, if it stands there; return whether it did. Nothing is owed afterwards."""
    asked = announced_move(
        number,
        origin=origin,
        target=target,
        at=at,
        by=by,
        sender=Sender("somebody", "long-ago"),
        estimated_completion=due,
    )
    async with database.transaction() as tx:
        (owed,) = await orders.move(tx, [asked])
        if owed is None:
            return False
        await outbox.delete(tx, [owed.id])
    return True
