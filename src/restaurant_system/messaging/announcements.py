"""What the services say about orders, written beside what it is about in one transaction."""

from dataclasses import dataclass
from datetime import datetime
from uuid import uuid4

from restaurant_system.database import orders, outbox
from restaurant_system.database.connection import Connection
from restaurant_system.messaging import topology
from restaurant_system.models.message import Message, OrderReceived, StatusChanged
from restaurant_system.models.status import OrderStatus


@dataclass(frozen=True, slots=True)
class Sender:
    """Which service speaks, and on behalf of which request."""

    app_id: str
    request_id: str


async def announce_order(
    tx: Connection, order: OrderReceived, *, at: datetime, sender: Sender
) -> int:
    """Owe the kitchen an order that is stored; return the outbox row's id for the relay."""
    message = Message(
        exchange=topology.ORDERS_TOPIC.name,
        routing_key=topology.routing_key(order.order_type, order.priority),
        type=OrderReceived.TYPE,
        body=order.encode(),
        message_id=uuid4(),
        correlation_id=sender.request_id,
        app_id=sender.app_id,
        timestamp=at,
        priority=order.priority,
    )
    return await outbox.add(tx, message, about=order.order_number)


async def move_and_announce(
    tx: Connection,
    number: str,
    *,
    origin: OrderStatus,
    target: OrderStatus,
    at: datetime,
    by: str,
    sender: Sender,
    estimated_completion: datetime | None = None,
    notes: str | None = None,
) -> int | None:
    """Move an order, if it stands at `origin`, and owe everyone the news.

    Returns the outbox row's id for the relay; `None` when somebody else was first, and then nothing
    is changed and nothing announced.
    """
    moved = await orders.move(
        tx,
        number,
        origin=origin,
        target=target,
        at=at,
        by=by,
        estimated_completion=estimated_completion,
        notes=notes,
    )
    if not moved:
        return None
    update = StatusChanged(
        order_number=number,
        old_status=origin,
        new_status=target,
        changed_by=by,
        timestamp=at,
        estimated_completion=estimated_completion,
    )
    return await announce_move(tx, update, sender=sender)


async def announce_move(tx: Connection, update: StatusChanged, *, sender: Sender) -> int:
    """Owe everyone the news of a move that was made; return the outbox row's id for the relay."""
    message = Message(
        exchange=topology.NOTIFICATIONS_FANOUT.name,
        routing_key="",
        type=StatusChanged.TYPE,
        body=update.encode(),
        message_id=uuid4(),
        correlation_id=sender.request_id,
        app_id=sender.app_id,
        timestamp=update.timestamp,
    )
    return await outbox.add(tx, message, about=update.order_number)
