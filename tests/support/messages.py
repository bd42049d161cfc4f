"""Make messages like those of the services, and receive messages from a broker."""

import asyncio
import dataclasses
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

from restaurant_system.messaging.broker import Consumer, Delivery
from restaurant_system.models.message import Message, StatusChanged
from restaurant_system.models.status import OrderStatus

DINE_IN = "kitchen_dine_in_queue"
TAKEOUT = "kitchen_takeout_queue"
DELIVERY = "kitchen_delivery_queue"
GENERAL = "kitchen_queue"
DEAD_LETTERS = "kitchen_dead_letter_queue"
KITCHEN = (DINE_IN, TAKEOUT, DELIVERY, GENERAL)
QUEUES = (*KITCHEN, DEAD_LETTERS)

RECEIVE_TIMEOUT = 8  # s


def make_order_message(order_type: str = "takeout", priority: int = 1, **changes: Any) -> Message:  # noqa: ANN401 - any field
    """Make the message of an order, with these changes."""
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
    """Make the messages of `count` orders."""
    return [make_order_message(order_type, priority) for _ in range(count)]


def make_messages_for_each_queue(count: int) -> list[Message]:
    """Make `count` messages for each kitchen queue; `catering` goes to the general one."""
    types = ("dine_in", "takeout", "delivery", "catering")
    return [order for order_type in types for order in make_order_messages(count, order_type)]


def make_status_update(**changes: Any) -> Message:  # noqa: ANN401 - any field
    """Make the message of a status update, with these changes."""
    update = make_order_message(
        exchange="notifications_fanout", routing_key="", type="order.status_changed", priority=0
    )
    return dataclasses.replace(update, **changes)


def make_update_about(number: str, **changes: object) -> Message:
    """Return the update that an order is cooking."""
    update = StatusChanged(
        order_number=number,
        old_status=OrderStatus.RECEIVED,
        new_status=OrderStatus.COOKING,
        changed_by="chef",
        timestamp=datetime.now(UTC),
    )
    return make_status_update(body=update.encode(), **changes)


def unroutable(message_id: UUID | None = None) -> Message:
    """Make a message that no queue accepts: a retry without a delay."""
    return make_order_message(exchange="delivery_retry", message_id=message_id or uuid4())


def message_ids(messages: Iterable[Message | Delivery]) -> list[UUID]:
    """Return the message ids, which redeliveries keep."""
    return [
        each.message.message_id if isinstance(each, Delivery) else each.message_id
        for each in messages
    ]


async def receive(consumer: Consumer, count: int = 1) -> list[Delivery]:
    """Receive `count` deliveries without settling them; fail after `RECEIVE_TIMEOUT`."""
    arriving = aiter(consumer)
    async with asyncio.timeout(RECEIVE_TIMEOUT):
        return [await anext(arriving) for _ in range(count)]


async def receive_one(consumer: Consumer) -> Delivery:
    """Receive one delivery."""
    (delivery,) = await receive(consumer)
    return delivery


async def receive_and_ack(consumer: Consumer, count: int) -> list[Message]:
    """Receive and acknowledge `count` messages."""
    messages = []
    for _ in range(count):
        delivery = await receive_one(consumer)
        await delivery.ack()
        messages.append(delivery.message)
    return messages
