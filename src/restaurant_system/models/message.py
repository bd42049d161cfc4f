"""The two kinds of messages, their properties, and how their bodies are encoded.

`docs/asyncapi.yaml` describes them for other programs; a test checks that both are equal.
"""

import json
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from json.encoder import encode_basestring
from typing import Annotated, Any, ClassVar, TypeVar
from uuid import UUID

import jiter
from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
)

from restaurant_system.models.clock import rfc_3339
from restaurant_system.models.fields import without_unset
from restaurant_system.models.money import ZERO, StoredAmount, StoredChange, json_text
from restaurant_system.models.order import (
    DEFAULT_THRESHOLDS,
    OPTIONAL_OF_ORDER,
    Handoff,
    NewOrder,
    OrderType,
    PriorityThresholds,
)
from restaurant_system.models.order_items import OPTIONAL_OF_ITEM, ModifierKind, OrderItem
from restaurant_system.models.status import OrderStatus

JSON = "application/json"
Header = str | int

Moment = Annotated[AwareDatetime, PlainSerializer(rfc_3339, when_used="json")]

MAX_HEADERS_SIZE = 64 * 1024  # bytes; half of the frame into which RabbitMQ puts all headers
HEADER_OVERHEAD = 8  # bytes of a header besides its name and value

# bytes; several times the longest message of an order, whose request has at most 256 KiB.
MAX_BODY_SIZE = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A message with its properties, the same for both brokers.

    `message_id` is the same on every redelivery. `correlation_id` is the id of the HTTP request
    that caused the message, or of the check that found it lost.
    """

    exchange: str
    routing_key: str
    type: str
    body: bytes
    message_id: UUID
    correlation_id: str
    app_id: str
    timestamp: datetime
    priority: int = 0
    content_type: str = JSON
    headers: Mapping[str, Header] = field(default_factory=dict)


def new_message_id() -> UUID:
    """Return a random UUID (RFC 9562, version 4).

    It must be unique but need not be secret, so a pseudorandom generator replaces a system call.
    """
    return UUID(int=random.getrandbits(128), version=4)


def supported_headers(headers: Mapping[str, object]) -> dict[str, Header]:
    """Return the headers of a third-party message whose values are strings or integers.

    If they are so large that this system could not add its own, all are dropped.
    """
    kept = {name: value for name, value in headers.items() if isinstance(value, str | int)}
    size = sum(len(f"{name}{value}".encode()) + HEADER_OVERHEAD for name, value in kept.items())
    return kept if size <= MAX_HEADERS_SIZE else {}


class MessageBody(BaseModel):
    """The body of a message; unknown fields are ignored, because a newer sender may add some.

    Sequences are validated up to the first error: the errors of all items of a long one take a
    thousand times as much memory as the body, and would kill each worker that receives it.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    def encode(self) -> bytes:
        """Return the body as UTF-8 JSON."""
        return self.model_dump_json().encode()


class OrderMessageModifier(MessageBody):
    """A modifier of an item, or of another modifier, in a message to the kitchen."""

    name: str = Field(min_length=1)
    kind: ModifierKind = ModifierKind.ADD
    quantity: int = Field(default=1, ge=1, strict=True)
    price: StoredChange = ZERO
    modifiers: "tuple[OrderMessageModifier, ...]" = Field(default=(), fail_fast=True)


class OrderMessageItem(MessageBody):
    """An item of an order in a message to the kitchen."""

    name: str = Field(min_length=1)
    quantity: int = Field(ge=1, strict=True)
    price: StoredAmount
    notes: str | None = None
    modifiers: tuple[OrderMessageModifier, ...] = Field(default=(), fail_fast=True)
    guest: str | None = None
    course: int | None = Field(default=None, strict=True)
    sku: str | None = None

    @model_serializer(mode="wrap")
    def _without_unset(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return without_unset(serialize(self), OPTIONAL_OF_ITEM)


class OrderMessageCharge(MessageBody):
    """A charge of an order in a message to the kitchen."""

    name: str
    amount: StoredChange


class OrderReceived(MessageBody):
    """An order to be cooked; message type ``order.received``.

    It has the fields of `NewOrder`, in the same sequence, between the number and what follows from
    them. Optional fields that were not sent are left out.
    """

    TYPE: ClassVar = "order.received"

    order_number: str = Field(pattern=r"^ORD_[0-9]{8}_[0-9]{3,9}$")
    customer_name: str | None
    order_type: OrderType
    items: tuple[OrderMessageItem, ...] = Field(min_length=1, fail_fast=True)
    table_number: int | None = Field(default=None, ge=1, strict=True)
    delivery_address: str | None = None
    notes: str | None = None
    handoff: Handoff | None = None
    table: str | None = None
    allergy_note: str | None = None
    reference: str | None = None
    channel: str | None = None
    external_id: str | None = None
    phone: str | None = None
    ready_at: Moment | None = None
    charges: tuple[OrderMessageCharge, ...] = Field(default=(), fail_fast=True)
    amount_due: StoredAmount | None = None
    total_amount: StoredAmount
    priority: int = Field(ge=1, le=10, strict=True)

    @model_serializer(mode="wrap")
    def _without_unset(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return without_unset(serialize(self), OPTIONAL_OF_ORDER)

    @classmethod
    def from_order(
        cls,
        order: NewOrder,
        order_number: str,
        thresholds: PriorityThresholds = DEFAULT_THRESHOLDS,
    ) -> "OrderReceived":
        """Return the body for an order that was stored under `order_number`."""
        return cls(
            order_number=order_number,
            **order.model_dump(),
            total_amount=order.total_amount,
            priority=thresholds.priority_of(order.items_total),
        )

    @staticmethod
    def encode_without_number(order: NewOrder, priority: int) -> bytes:
        """Encode the body of an order's message from its second field on.

        The number, the first field, is known only when the order is stored: the statement in
        database/order_placement.py adds it. A validated order is not validated again, which
        makes this several times faster than `from_order(...).encode()`.
        """
        items = ",".join([_encode_item(item) for item in order.items])
        table = "null" if order.table_number is None else order.table_number
        optional = _encode_more(order.optional_fields)
        return (
            f'"customer_name":{_quoted(order.customer_name)},"order_type":"{order.order_type}",'
            f'"items":[{items}],"table_number":{table},'
            f'"delivery_address":{_quoted(order.delivery_address)},'
            f'"notes":{_quoted(order.notes)}{optional},'
            f'"total_amount":{json_text(order.total_amount)},"priority":{priority}}}'
        ).encode()


def _encode_item(item: OrderItem) -> str:
    optional = _encode_more(item.optional_fields) if item.has_optional_fields else ""
    return (
        f'{{"name":{encode_basestring(item.name)},"quantity":{item.quantity},'
        f'"price":{json_text(item.price)},"notes":{_quoted(item.notes)}{optional}}}'
    )


def _quoted(text: str | None) -> str:
    return "null" if text is None else encode_basestring(text)


def _encode_more(fields: Mapping[str, object] | None) -> str:
    """Encode further fields of an object, after a comma."""
    if fields is None:
        return ""
    return "," + json.dumps(fields, ensure_ascii=False, separators=(",", ":"))[1:-1]


class StatusChanged(MessageBody):
    """A status change of an order, for all subscribers; message type ``order.status_changed``."""

    TYPE: ClassVar = "order.status_changed"

    order_number: str = Field(pattern=r"^ORD_[0-9]{8}_[0-9]{3,9}$")
    old_status: OrderStatus
    new_status: OrderStatus
    changed_by: str
    timestamp: AwareDatetime
    estimated_completion: AwareDatetime | None = None

    @classmethod
    def encode_start(cls, *, by: str, at: datetime, until: datetime) -> bytes:
        """Encode the update about the start of an order, from its second field on.

        The number, the first field, is known only when an order is claimed: the statement in
        database/claims.py adds it.
        """
        update = cls(
            order_number="ORD_00000000_000",
            old_status=OrderStatus.RECEIVED,
            new_status=OrderStatus.COOKING,
            changed_by=by,
            timestamp=at,
            estimated_completion=until,
        )
        return update.encode().partition(b",")[2]


class Undecodable(ValueError):
    """A body does not have the schema of its type; the text says where."""


B = TypeVar("B", bound=MessageBody)


def decode(message: Message, kind: type[B]) -> B:
    """Decode the body of `message` as a `kind`.

    Raises `Undecodable` if the content type is not JSON, or the body is not valid JSON, is larger
    than `MAX_BODY_SIZE`, or does not match the schema.
    """
    if message.content_type != JSON:
        raise Undecodable(f"the content type is not {JSON}")
    if len(message.body) > MAX_BODY_SIZE:
        raise Undecodable(f"the body has {len(message.body):,} bytes, more than {MAX_BODY_SIZE:,}")
    try:
        fields = jiter.from_json(message.body, allow_inf_nan=False, float_mode="decimal")
        return kind.model_validate(fields)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "body"
        raise Undecodable(f"{place}: {first['msg']}") from None
    except ValueError as error:
        raise Undecodable(f"not JSON: {error}") from None
