"""Messages that strangers put into our queues by hand, and why none of them can be handled."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol
from uuid import uuid4

import aiormq
import asyncpg

JSON = "application/json"
OTHER_TYPE = "the content type is not application/json"
MEGABYTE = 1_000_000
DEEP = json.loads("[" * 300 + "]" * 300)
UNKNOWN_ORDER = {
    "order_number": "ORD_20241216_404",
    "customer_name": "Nobody",
    "order_type": "takeout",
    "items": [{"name": "Soup", "quantity": 1, "price": 9.5}],
    "total_amount": 9.5,
    "priority": 1,
}


@dataclass(frozen=True)
class PoisonMessage:
    """A body with whatever is wrong about it, and what the reason must say."""

    body: bytes
    reason: str
    content_type: str = JSON
    headers: Mapping[str, Any] = field(default_factory=dict)


class Odd(str):
    """Text that is no UTF-8 on the wire."""

    __slots__ = ()

    def encode(self, *_: object) -> bytes:
        """Return what no decoder takes."""
        return b"\xff" * len(self)


class FarAway(datetime):
    """A time that no calendar has."""

    def timestamp(self) -> float:
        """Return the seconds until then."""
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
    """Somebody who can write into our queues, and names each message by its type."""

    async def put(self, queue: str, name: str, poison: PoisonMessage) -> None:
        """Put it there."""

    async def put_oddities(self, queue: str) -> dict[str, str]:
        """Put there what only this broker can carry; return the reasons by name."""


class AmqpPublisher:
    """A program that is not ours, on RabbitMQ."""

    def __init__(self, channel: aiormq.abc.AbstractChannel) -> None:
        self._channel = channel

    async def put(self, queue: str, name: str, poison: PoisonMessage) -> None:
        """Put it there."""
        await self._publish(
            queue,
            poison.body,
            message_type=name,
            content_type=poison.content_type,
            headers=dict(poison.headers),
        )

    async def put_oddities(self, queue: str) -> dict[str, str]:
        """Leave out every property; write what no decoder takes."""
        await self._publish(queue, b"{}")
        await self._publish(
            queue, b"{}", message_type="no text", correlation_id=Odd("x" * 255), message_id=Odd("x")
        )
        await self._publish(
            queue, b"{}", message_type="no time", timestamp=FarAway.fromtimestamp(0, UTC)
        )
        await self._publish(
            queue,
            b"{}",
            message_type="no headers",
            headers={
                "far": FarAway.fromtimestamp(0, UTC),
                "bytes": bytearray(b"\xff"),
                "odd": Odd("x"),
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
    """Somebody with a line to the database."""

    def __init__(self, sql: "asyncpg.Connection[asyncpg.Record]") -> None:
        self._sql = sql

    async def put(self, queue: str, name: str, poison: PoisonMessage) -> None:
        """Put it there."""
        content_type = poison.content_type.replace("\0", "")  # which PostgreSQL does not take
        await self._insert(queue, name, poison.body, content_type, json.dumps(dict(poison.headers)))

    async def put_oddities(self, queue: str) -> dict[str, str]:
        """Write headers that are none, and times outside Python's calendar."""
        headers = ["[]", "null", '"x"', f'{{"x-attempts": {"9" * 5000}}}', '{"x-attempts": 1e40}']
        for place, stated in enumerate(headers):
            await self._insert(queue, f"headers {place}", b"", JSON, stated)
        times = ["'infinity'", "'-infinity'", "'20000-01-01'", "'4000-01-01 BC'"]
        for place, time in enumerate(times):
            await self._insert(queue, f"time {place}", b"", JSON, "{}", timestamp=time)
        names = [*(f"headers {i}" for i in range(5)), *(f"time {i}" for i in range(4))]
        return dict.fromkeys(names, "not JSON")

    async def _insert(self, *row: object, timestamp: str = "now()") -> None:
        queue, name, body, content_type, headers = row
        statement = INSERT.format(timestamp=timestamp)
        await self._sql.execute(statement, queue, name, body, uuid4(), content_type, headers)
