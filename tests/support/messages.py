"""Messages as the services send them, and how a test takes them from a broker."""

import asyncio
import dataclasses
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

from restaurant_system.messaging.broker import Consumer, Delivery
from restaurant_system.models.message import Message

DINE_IN = "kitchen_dine_in_queue"
TAKEOUT = "kitchen_takeout_queue"
DELIVERY = "kitchen_delivery_queue"
GENERAL = "kitchen_queue"
DEAD_LETTERS = "kitchen_dead_letter_queue"
KITCHEN = (DINE_IN, TAKEOUT, DELIVERY, GENERAL)
QUEUES = (*KITCHEN, DEAD_LETTERS)

RECEIVE_TIMEOUT = 8  # s; only a test that fails ever waits so long


def make_order_message(order_type: str = "takeout", priority: int = 1, **changes: Any) -> Message:  # noqa: ANN401 - any field
    """Write an order's message, with these changes."""
    order = Message(
        exchange="orders_topic",
        routing_key=f"kitchen.{order_type}.{priority}",
        type="order.received",
        body=b'{"order_number": "ORD_20241216_001"}',
        message_id=uuid4(),
        correlation_id="req-1",
        app_id="order-service",
        timestamp=datetime(2024, 12, 16, 10, 30, tzinfo=UTC),
        priority=priority,
    )
    return dataclasses.replace(order, **changes)


def make_order_messages(
    count: int, order_type: str = "takeout", priority: int = 1
) -> list[Message]:
    """Write so many orders' messages."""
    return [make_order_message(order_type, priority) for _ in range(count)]


def make_messages_for_each_queue(count: int) -> list[Message]:
    """Write so many orders for each kitchen queue; `catering` is for the general one."""
    types = ("dine_in", "takeout", "delivery", "catering")
    return [order for order_type in types for order in make_order_messages(count, order_type)]


def make_status_update(**changes: Any) -> Message:  # noqa: ANN401 - any field
    """Write a status update's message, with these changes."""
    update = make_order_message(
        exchange="notifications_fanout", routing_key="", type="order.status_changed", priority=0
    )
    return dataclasses.replace(update, **changes)


def unroutable(message_id: UUID | None = None) -> Message:
    """Write a message that no queue takes: it does not say how long it is to wait."""
    return make_order_message(exchange="delivery_retry", message_id=message_id or uuid4())


def message_ids(messages: Iterable[Message | Delivery]) -> list[UUID]:
    """Name messages by what stays the same on their way, however often they are delivered."""
    return [
        each.message.message_id if isinstance(each, Delivery) else each.message_id
        for each in messages
    ]


async def receive(consumer: Consumer, count: int = 1) -> list[Delivery]:
    """Take so many deliveries, and leave them unsettled; fail if they do not come in time."""
    arriving = aiter(consumer)
    async with asyncio.timeout(RECEIVE_TIMEOUT):
        return [await anext(arriving) for _ in range(count)]


async def receive_one(consumer: Consumer) -> Delivery:
    """Take one delivery."""
    (delivery,) = await receive(consumer)
    return delivery


async def receive_and_ack(consumer: Consumer, count: int) -> list[Message]:
    """Take so many messages, one after the other, for good."""
    messages = []
    for _ in range(count):
        delivery = await receive_one(consumer)
        await delivery.ack()
        messages.append(delivery.message)
    return messages
