"""Messages as RabbitMQ carries them."""

import dataclasses
import hashlib
import uuid
from datetime import UTC, datetime, timedelta

import aiormq
from aiormq.abc import DeliveredMessage

from restaurant_system.messaging import topology
from restaurant_system.models.message import Message, carried

PERSISTENT = 2


def delayed(message: Message, delay: timedelta, *, back_to: str) -> Message:
    """Return the message as it waits in a retry queue, on its way `back_to` the queue it had."""
    return dataclasses.replace(
        message,
        exchange=topology.DELIVERY_RETRY.name,
        routing_key=back_to,
        headers={**message.headers, topology.RETRY_DELAY: milliseconds(delay)},
    )


def milliseconds(duration: timedelta) -> int:
    """Return a duration as RabbitMQ counts it."""
    return round(duration.total_seconds() * 1000)


def properties_of(message: Message) -> aiormq.spec.Basic.Properties:
    """Return the properties that a message is published with."""
    return aiormq.spec.Basic.Properties(
        content_type=message.content_type,
        delivery_mode=PERSISTENT,
        message_id=str(message.message_id),
        correlation_id=message.correlation_id,
        timestamp=message.timestamp,
        message_type=message.type,
        app_id=message.app_id,
        priority=message.priority,
        headers=dict(message.headers),
    )


def message_of(delivered: DeliveredMessage) -> Message:
    """Read a message, forgiving one that was not published by us what it leaves out."""
    properties = delivered.header.properties
    headers = properties.headers or {}
    return Message(
        exchange=delivered.exchange or "",
        routing_key=delivered.routing_key or "",
        type=properties.message_type or "",
        body=delivered.body,
        message_id=_uuid(properties.message_id, delivered.body),
        correlation_id=properties.correlation_id or "",
        app_id=properties.app_id or "",
        timestamp=properties.timestamp or datetime.now(UTC),
        priority=properties.priority or 0,
        content_type=properties.content_type or "",
        headers=carried(headers),
    )


def _uuid(message_id: str | None, body: bytes) -> uuid.UUID:
    """Return the message's id; for a foreign one, an id that stays the same at every redelivery."""
    try:
        return uuid.UUID(message_id)
    except (ValueError, TypeError, AttributeError):
        return uuid.uuid5(uuid.NAMESPACE_OID, message_id or hashlib.sha256(body).hexdigest())


def tag_of(delivered: DeliveredMessage) -> int:
    """Return what a delivery is settled by."""
    tag = delivered.delivery_tag
    assert tag is not None  # noqa: S101 - what a consumer is handed always has one
    return tag
