"""Publish invalid messages as a third party does, each with the reason why it is dead-lettered."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol
from uuid import uuid4

import aiormq
import asyncpg

from restaurant_system.models.message import MAX_BODY_SIZE

JSON = "application/json"
OTHER_TYPE = "the content type is not application/json"
MEGABYTE = 1_000_000
DEEP = json.loads("[" * 300 + "]" * 300)
UNKNOWN_ORDER = {
    "order_number": "ORD_20241216_404",
    "customer_name": "Grace Hopper",
    "order_type": "takeout",
    "items": [{"name": "Soup", "quantity": 1, "price": 9.5}],
    "total_amount": 9.5,
    "priority": 1,
}


@dataclass(frozen=True)
class PoisonMessage:
    """An invalid message, and a part of the reason with which it is dead-lettered."""

    body: bytes
    reason: str
    content_type: str = JSON
    headers: Mapping[str, Any] = field(default_factory=dict)


class InvalidUtf8(str):
    """Text that is encoded as invalid UTF-8."""

    __slots__ = ()

    def encode(self, *_: object) -> bytes:
        """Return bytes that are invalid UTF-8."""
        return b"\xff" * len(self)


class OutOfRangeTime(datetime):
    """A time beyond the range of `datetime`."""

    def timestamp(self) -> float:
        """Return a timestamp out of range, in seconds since 1970."""
        return 2**62


BODIES = {
    "malformed": PoisonMessage(b'{"order_number": ', "not JSON"),
    "empty": PoisonMessage(b"", "not JSON"),
    "a list": PoisonMessage(b"[]", "body: "),
    "null": PoisonMessage(b"null", "body: "),
    "an empty object": PoisonMessage(b"{}", "order_number: Field required"),
    "a wrong type": PoisonMessage(b'{"order_number": 5}', "order_number: "),
    "a megabyte of nothing": PoisonMessage(b"x" * MEGABYTE, "not JSON"),
    "a megabyte of text": PoisonMessage(b'"%s"' % (b"x" * MEGABYTE), "body: "),
    "not UTF-8": PoisonMessage(b'{"order_number": "\xff"}', "not JSON"),
    "a NUL": PoisonMessage(b"\x00", "not JSON"),
    "half a character": PoisonMessage(rb'{"order_number": "\ud800"}', "not JSON"),
    "deeply nested": PoisonMessage(b"[" * 100_000, "not JSON"),
    "more than is decoded": PoisonMessage(b" " * MAX_BODY_SIZE + b"{}", "the body has 4,194,306"),
    "a number beyond all": PoisonMessage(b'{"total_amount": 1e999999999}', "order_number: "),
    "another content type": PoisonMessage(b"{}", OTHER_TYPE, "text/plain"),
    "an endless content type": PoisonMessage(b"{}", OTHER_TYPE, "x" * 255),
    "a terminal's orders": PoisonMessage(b"{}", OTHER_TYPE, "\x1b[2J\x00[red]"),
    "attempts in words": PoisonMessage(b"", "not JSON", headers={"x-attempts": "many"}),
    "attempts without end": PoisonMessage(b"", "not JSON", headers={"x-attempts": 2**63 - 1}),
    "a false origin": PoisonMessage(
        b"", "not JSON", headers={"x-exchange": "theirs", "x-first-seen": 5}
    ),
    "headers of all kinds": PoisonMessage(
        b"", "not JSON", headers={"half": 0.5, "none": None, "list": [1, [2]], "table": {"a": {}}}
    ),
    "headers without end": PoisonMessage(b"", "not JSON", headers={"long": "x" * 130_950}),
    "headers too deep": PoisonMessage(b"", "not JSON", headers={"deep": DEEP}),
}
FOR_THE_KITCHEN = {
    **BODIES,
    "an unknown order": PoisonMessage(json.dumps(UNKNOWN_ORDER).encode(), "there is no order"),
    "an amount beyond all": PoisonMessage(
        json.dumps({**UNKNOWN_ORDER, "total_amount": 0}).encode().replace(b"0}", b"1e999999999}"),
        "there is no order",
    ),
}


class ThirdPartyPublisher(Protocol):
    """Publishes to the product's queues; the type of a message is its name in the test."""

    async def put(self, queue: str, name: str, poison: PoisonMessage) -> None:
        """Publish a message to a queue."""

    async def put_oddities(self, queue: str) -> dict[str, str]:
        """Publish messages that only this broker can carry; return their reasons by name."""


class AmqpPublisher:
    """Publishes through RabbitMQ."""

    def __init__(self, channel: aiormq.abc.AbstractChannel) -> None:
        self._channel = channel

    async def put(self, queue: str, name: str, poison: PoisonMessage) -> None:
        """Publish a message to a queue."""
        await self._publish(
            queue,
            poison.body,
            message_type=name,
            content_type=poison.content_type,
            headers=dict(poison.headers),
        )

    async def put_oddities(self, queue: str) -> dict[str, str]:
        """Publish messages without properties, and with properties that cannot be decoded."""
        await self._publish(queue, b"{}")
        await self._publish(
            queue,
            b"{}",
            message_type="no text",
            correlation_id=InvalidUtf8("x" * 255),
            message_id=InvalidUtf8("x"),
        )
        await self._publish(
            queue, b"{}", message_type="no time", timestamp=OutOfRangeTime.fromtimestamp(0, UTC)
        )
        await self._publish(
            queue,
            b"{}",
            message_type="no headers",
            headers={
                "far": OutOfRangeTime.fromtimestamp(0, UTC),
                "bytes": bytearray(b"\xff"),
                "odd": InvalidUtf8("x"),
            },
        )
        return dict.fromkeys(("", "no text", "no time", "no headers"), OTHER_TYPE)

    async def _publish(self, queue: str, body: bytes, **properties: Any) -> None:  # noqa: ANN401
        await self._channel.basic_publish(
            body, routing_key=queue, properties=aiormq.spec.Basic.Properties(**properties)
        )


INSERT = """
INSERT INTO broker_messages (queue, priority, exchange, routing_key, type, body, message_id,
                             correlation_id, app_id, timestamp, content_type, headers)
VALUES ($1, 0, '', $1, $2, $3, $4, '', '', {timestamp}, $5, $6)
"""


class SqlPublisher:
    """Inserts messages into the broker's table in PostgreSQL."""

    def __init__(self, sql: "asyncpg.Connection[asyncpg.Record]") -> None:
        self._sql = sql

    async def put(self, queue: str, name: str, poison: PoisonMessage) -> None:
        """Publish a message to a queue."""
        content_type = poison.content_type.replace("\0", "")  # refused by PostgreSQL
        await self._insert(queue, name, poison.body, content_type, json.dumps(dict(poison.headers)))

    async def put_oddities(self, queue: str) -> dict[str, str]:
        """Insert invalid headers, and times beyond the range of `datetime`."""
        headers = ["[]", "null", '"x"', f'{{"x-attempts": {"9" * 5000}}}', '{"x-attempts": 1e40}']
        for place, encoded in enumerate(headers):
            await self._insert(queue, f"headers {place}", b"", JSON, encoded)
        times = ["'infinity'", "'-infinity'", "'20000-01-01'", "'4000-01-01 BC'"]
        for place, time in enumerate(times):
            await self._insert(queue, f"time {place}", b"", JSON, "{}", timestamp=time)
        names = [*(f"headers {i}" for i in range(5)), *(f"time {i}" for i in range(4))]
        return dict.fromkeys(names, "not JSON")

    async def _insert(self, *row: object, timestamp: str = "now()") -> None:
        queue, name, body, content_type, headers = row
        statement = INSERT.format(timestamp=timestamp)
        await self._sql.execute(statement, queue, name, body, uuid4(), content_type, headers)
