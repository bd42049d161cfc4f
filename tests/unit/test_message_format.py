"""Messages translated to AMQP properties and back."""

from datetime import UTC, datetime
from uuid import uuid4

import pamqp.frame
from aiormq.abc import DeliveredMessage
from hypothesis import given, settings
from hypothesis import strategies as st
from pamqp import commands
from pamqp.header import ContentHeader

from restaurant_system.messaging.rabbitmq.message_format import (
    message_of,
    properties_of,
)
from tests.support.messages import make_order_message

SHORT = st.text(st.characters(codec="utf-8"), max_size=60)
NAME = st.text("abcx-", min_size=1, max_size=20)
SECONDS = st.integers(0, 2**31)  # pamqp decodes larger ones as milliseconds


def transmitted(header: ContentHeader) -> ContentHeader:
    """Encode and decode a content header as AMQP does."""
    _, _, received = pamqp.frame.unmarshal(pamqp.frame.marshal(header, 1))
    assert isinstance(received, ContentHeader)
    return received


@settings(max_examples=40)
@given(
    body=st.binary(max_size=350),
    headers=st.dictionaries(NAME, SHORT | st.integers(-(2**31), 2**31), max_size=3),
    seconds=SECONDS,
    correlation_id=SHORT,
    kind=SHORT,
    priority=st.integers(0, 255),
)
def test_message_is_received_as_it_was_published(  # noqa: PLR0917 - hypothesis passes them by name
    body: bytes,
    headers: dict[str, str | int],
    seconds: int,
    correlation_id: str,
    kind: str,
    priority: int,
) -> None:
    message = make_order_message(
        body=body,
        headers={**headers},
        timestamp=datetime.fromtimestamp(seconds, UTC),
        correlation_id=correlation_id,
        type=kind,
        priority=priority,
        message_id=uuid4(),
    )

    header = transmitted(ContentHeader(properties=properties_of(message), body_size=len(body)))

    assert header.properties.delivery_mode == 2
    method = commands.Basic.Deliver("tag", 1, False, message.exchange, message.routing_key)  # noqa: FBT003 - AMQP's order
    received = DeliveredMessage(delivery=method, header=header, body=body, channel=None)  # type: ignore[arg-type] # not read
    assert message_of(received) == message
