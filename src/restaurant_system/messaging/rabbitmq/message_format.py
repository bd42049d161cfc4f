"""Messages as RabbitMQ carries them."""

import dataclasses
import functools
import hashlib
import struct
import time
import uuid
from datetime import UTC, datetime, timedelta

import aiormq
import pamqp.encode
import pamqp.frame
from aiormq.abc import DeliveredMessage

from restaurant_system.messaging import topology
from restaurant_system.models.message import Message, supported_headers

# The header that says when a message was published, in microseconds since 1970. Queues keep their
# messages in this order; it tells which of two messages of different queues is older, for which
# AMQP's own timestamp, in whole seconds, is too coarse.
PUBLISHED_AT = "x-published-us"

INEXPRESSIBLE = (TypeError, ValueError, struct.error)  # raised for what AMQP cannot say

PERSISTENT = 2
LONGEST_STRING = 255  # bytes of what AMQP calls a short string

FRAME = struct.Struct(">BHI")  # kind, channel, size of the payload
METHOD, HEADER, BODY = 1, 2, 3
END = b"\xce"
CONTENT = struct.Struct(">HHQH")  # class, weight, size of the body, which properties follow
TIMESTAMP = struct.Struct(">Q")
# content_type, -, headers, delivery_mode · priority, correlation_id, -, - · message_id, timestamp,
# type, - · app_id
PROPERTIES = 0b1011_1100_1110_1000


class _PublicationTimes:
    """The present time in microseconds since 1970, but always later than the one before."""

    def __init__(self) -> None:
        self._last = 0

    def __next__(self) -> int:
        self._last = max(time.time_ns() // 1000, self._last + 1)
        return self._last


_publication_times = _PublicationTimes()


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


def frames_of(message: Message, channel: int, *, mandatory: bool, largest: int) -> bytes:
    """Return what publishes a message: its method frame, its header and its body.

    No frame of the body is larger than `largest` bytes. Raises one of `INEXPRESSIBLE`.
    """
    body = message.body
    return b"".join(
        (
            _method(channel, message.exchange, message.routing_key, mandatory),
            _frame(HEADER, channel, _header(message)),
            *(
                _frame(BODY, channel, body[start : start + largest])
                for start in range(0, len(body), largest)
            ),
        )
    )


@functools.lru_cache(maxsize=256)  # there are few: one for each order type and priority
def _method(channel: int, exchange: str, routing_key: str, mandatory: bool) -> bytes:  # noqa: FBT001 - part of a key
    if len(routing_key.encode()) > LONGEST_STRING:
        raise ValueError(f"a routing key may have {LONGEST_STRING} bytes at the most")
    method = aiormq.spec.Basic.Publish(
        exchange=exchange, routing_key=routing_key, mandatory=mandatory
    )
    return pamqp.frame.marshal(method, channel)


def _frame(kind: int, channel: int, payload: bytes) -> bytes:
    return b"".join((FRAME.pack(kind, channel, len(payload)), payload, END))


def _header(message: Message) -> bytes:
    """Return a content header with all properties that we send, in AMQP's order (0-9-1, 4.2.6.1).

    pamqp writes the same in four times the time, which was a tenth of what an order cost.
    """
    return b"".join(
        (
            CONTENT.pack(aiormq.spec.Basic.frame_id, 0, len(message.body), PROPERTIES),
            _string(message.content_type),
            pamqp.encode.field_table({**message.headers, PUBLISHED_AT: next(_publication_times)}),
            bytes((PERSISTENT, message.priority)),
            _string(message.correlation_id),
            _string(str(message.message_id)),
            TIMESTAMP.pack(int(message.timestamp.timestamp())),
            _string(message.type),
            _string(message.app_id),
        )
    )


def _string(text: str) -> bytes:
    encoded = text.encode()
    if len(encoded) > LONGEST_STRING:
        raise ValueError(f"a property may have {LONGEST_STRING} bytes at the most")
    return bytes((len(encoded),)) + encoded


def message_of(delivered: DeliveredMessage) -> Message:
    """Read a message, forgiving one that was not published by us what it leaves out."""
    properties = delivered.header.properties
    headers = dict(properties.headers or {})
    headers.pop(PUBLISHED_AT, None)
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
        headers=supported_headers(headers),
    )


def precedence(delivered: DeliveredMessage) -> tuple[int, int]:
    """Return a key that sorts messages of several queues: the most urgent, then the oldest, first.

    RabbitMQ treats a priority above a queue's maximum as the maximum. A message of a third-party
    publisher is as old as its timestamp says; without one it comes before its equals.
    """
    properties = delivered.header.properties
    priority = min(properties.priority or 0, topology.MAX_PRIORITY)
    published_at = (properties.headers or {}).get(PUBLISHED_AT)
    if type(published_at) is not int:
        timestamp = properties.timestamp
        published_at = 0 if timestamp is None else int(timestamp.timestamp()) * 1_000_000
    return -priority, published_at


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
