"""Construct the messages about orders; services write them to the outbox."""

from dataclasses import dataclass, field
from datetime import datetime

from restaurant_system import tracing
from restaurant_system.database.orders import MoveOrder
from restaurant_system.messaging import topology
from restaurant_system.models.message import (
    Message,
    OrderReceived,
    StatusChanged,
    new_message_id,
)
from restaurant_system.models.status import OrderStatus
from restaurant_system.tracing import TraceContext


@dataclass(frozen=True, slots=True)
class Sender:
    """The service that sends a message, and the request that caused it, by its id and its trace.

    A message that reconciliation publishes again is in no trace: that of the lost one is unknown.
    """

    app_id: str
    request_id: str
    trace: TraceContext = field(default_factory=tracing.current_context)


def order_received(order: OrderReceived, *, at: datetime, sender: Sender) -> Message:
    """Return the message that sends an order to the kitchen."""
    return Message(
        exchange=topology.ORDERS_TOPIC.name,
        routing_key=topology.routing_key(order.order_type, order.priority),
        type=OrderReceived.TYPE,
        body=order.encode(),
        message_id=new_message_id(),
        correlation_id=sender.request_id,
        app_id=sender.app_id,
        timestamp=at,
        priority=order.priority,
        headers=sender.trace,
    )


def status_changed(update: StatusChanged, *, sender: Sender) -> Message:
    """Return the message that notifies all subscribers of a status change."""
    return Message(
        exchange=topology.NOTIFICATIONS_FANOUT.name,
        routing_key="",
        type=StatusChanged.TYPE,
        body=update.encode(),
        message_id=new_message_id(),
        correlation_id=sender.request_id,
        app_id=sender.app_id,
        timestamp=update.timestamp,
        headers=sender.trace,
    )


def move_with_update(
    number: str,
    *,
    origin: OrderStatus,
    target: OrderStatus,
    at: datetime,
    by: str,
    sender: Sender,
    estimated_completion: datetime | None = None,
    notes: str | None = None,
) -> MoveOrder:
    """Return a status change together with the message about it."""
    update = StatusChanged(
        order_number=number,
        old_status=origin,
        new_status=target,
        changed_by=by,
        timestamp=at,
        estimated_completion=estimated_completion,
    )
    return MoveOrder(
        number=number,
        origin=origin,
        target=target,
        at=at,
        by=by,
        message=status_changed(update, sender=sender),
        estimated_completion=estimated_completion,
        notes=notes,
    )
