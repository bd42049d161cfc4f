"""Messages as frames: what we write is what AMQP's own library reads."""

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pamqp.frame
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pamqp import commands
from pamqp.body import ContentBody
from pamqp.header import ContentHeader

from restaurant_system.messaging.rabbitmq.message_format import (
    INEXPRESSIBLE,
    PUBLISHED_AT,
    frames_of,
)
from restaurant_system.models.message import Message
from tests.support.messages import make_order_message

CHANNEL, LARGEST = 7, 100
SHORT = st.text(st.characters(codec="utf-8"), max_size=60)
NAME = st.text("abcx-", min_size=1, max_size=20)
SECONDS = st.integers(0, 2**31)  # pamqp reads later ones as milliseconds


def read(frames: bytes) -> list[object]:
    """Read frames as pamqp does."""
    seen: list[object] = []
    while frames:
        size, channel, frame = pamqp.frame.unmarshal(frames)
        assert channel == CHANNEL
        seen.append(frame)
        frames = frames[size:]
    return seen


def written(message: Message) -> bytes:
    """Write a message."""
    return frames_of(message, CHANNEL, mandatory=True, largest=LARGEST)


@settings(max_examples=40)
@given(
    body=st.binary(max_size=350),
    headers=st.dictionaries(NAME, SHORT | st.integers(-(2**31), 2**31), max_size=3),
    seconds=SECONDS,
    correlation_id=SHORT,
    kind=SHORT,
    priority=st.integers(0, 255),
)
def test_what_is_written_is_what_is_read(  # noqa: PLR0917 - hypothesis hands them in by name
    body: bytes,
    headers: dict[str, str | int],
    seconds: int,
    correlation_id: str,
    kind: str,
    priority: int,
) -> None:
    """Every property, and the body in frames that are not too large, come out as they went in."""
    message = make_order_message(
        body=body,
        headers={**headers},
        timestamp=datetime.fromtimestamp(seconds, UTC),
        correlation_id=correlation_id,
        type=kind,
        priority=priority,
        message_id=uuid4(),
    )

    method, header, *bodies = read(written(message))

    assert isinstance(method, commands.Basic.Publish)
    assert (method.exchange, method.routing_key) == (message.exchange, message.routing_key)
    assert method.mandatory
    assert isinstance(header, ContentHeader)
    assert header.body_size == len(body)
    assert header.properties.headers is not None
    assert isinstance(header.properties.headers.pop(PUBLISHED_AT), int)
    stated = commands.Basic.Properties(
        content_type="application/json",
        headers={**headers},
        delivery_mode=2,
        priority=priority,
        correlation_id=correlation_id,
        message_id=str(message.message_id),
        timestamp=message.timestamp,
        message_type=kind,
        app_id=message.app_id,
    )
    assert dict(header.properties) == dict(stated)
    parts = [part.value for part in bodies if isinstance(part, ContentBody)]
    assert b"".join(parts) == body
    assert all(0 < len(part) <= LARGEST for part in parts)


@pytest.mark.parametrize(
    "changes",
    [
        {"routing_key": "k" * 256},
        {"correlation_id": "é" * 128},
        {"priority": 256},
        {"priority": -1},
        {"timestamp": datetime(1969, 12, 31, tzinfo=UTC)},
    ],
)
def test_what_amqp_cannot_say_is_refused(changes: dict[str, Any]) -> None:
    """It is refused before anything of it is written, for the line would break."""
    message = make_order_message(**changes)

    with pytest.raises(INEXPRESSIBLE):
        written(message)
