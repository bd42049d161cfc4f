"""Translate messages to and from AMQP."""

import dataclasses
import hashlib
import uuid
from datetime import UTC, datetime, timedelta

import aiormq
from aiormq.abc import DeliveredMessage

from restaurant_system.messaging import topology
from restaurant_system.messaging.rabbitmq.partitions import whole_routing_key
from restaurant_system.models.message import Message, supported_headers

PERSISTENT = 2
# Counters of quorum queues, which say nothing about a message that is published again.
DELIVERY_COUNT = "x-delivery-count"
QUORUM_COUNTERS = frozenset({DELIVERY_COUNT, "x-acquired-count"})


def delayed(message: Message, delay: timedelta, *, back_to: str) -> Message:
    """Return the message addressed to the retry queue of `delay`, which returns it to `back_to`."""
    return dataclasses.replace(
        message,
        exchange=topology.DELIVERY_RETRY.name,
        routing_key=back_to,
        headers={**message.headers, topology.RETRY_DELAY: milliseconds(delay)},
    )


def milliseconds(duration: timedelta) -> int:
    """Return a duration in whole milliseconds."""
    return round(duration.total_seconds() * 1000)


def properties_of(message: Message) -> aiormq.spec.Basic.Properties:
    """Return the AMQP properties of a message."""
    return aiormq.spec.Basic.Properties(
        content_type=message.content_type,
        headers=dict(message.headers),
        delivery_mode=PERSISTENT,
        priority=message.priority,
        correlation_id=message.correlation_id,
        message_id=str(message.message_id),
        timestamp=message.timestamp,
        message_type=message.type,
        app_id=message.app_id,
    )


def message_of(delivered: DeliveredMessage) -> Message:
    """Return a received message; properties that a third-party publisher left out get defaults."""
    properties = delivered.header.properties
    exchange = delivered.exchange or ""
    return Message(
        exchange=exchange,
        routing_key=whole_routing_key(exchange, delivered.routing_key or ""),
        type=properties.message_type or "",
        body=delivered.body,
        message_id=_uuid(properties.message_id, delivered.body),
        correlation_id=properties.correlation_id or "",
        app_id=properties.app_id or "",
        timestamp=properties.timestamp or datetime.now(UTC),
        priority=properties.priority or 0,
        content_type=properties.content_type or "",
        headers=supported_headers(
            {
                name: value
                for name, value in (properties.headers or {}).items()
                if name not in QUORUM_COUNTERS
            }
        ),
    )


def returns_of(delivered: DeliveredMessage) -> int:
    """Return how often a message was returned to its quorum queue; 0 for other queues."""
    count = (delivered.header.properties.headers or {}).get(DELIVERY_COUNT)
    return count if isinstance(count, int) else 0


def _uuid(message_id: str | None, body: bytes) -> uuid.UUID:
    """Return the message id as a UUID; for any other id, a UUID derived from it or the body."""
    try:
        return uuid.UUID(message_id)
    except (ValueError, TypeError, AttributeError):
        return uuid.uuid5(uuid.NAMESPACE_OID, message_id or hashlib.sha256(body).hexdigest())


def tag_of(delivered: DeliveredMessage) -> int:
    """Return the delivery tag."""
    tag = delivered.delivery_tag
    assert tag is not None  # noqa: S101 - every delivery has one
    return tag
