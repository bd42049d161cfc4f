"""A new order: the rules for its fields, its total, its priority and the format of its number.

Its items are in order_items.py, amounts in money.py, the characters of texts in text.py and
customer_name.py.
"""

import re
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from functools import cached_property
from typing import Annotated, Any, Self

from pydantic import (
    AwareDatetime,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    PlainSerializer,
    PlainValidator,
    ValidationError,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import InitErrorDetails

from restaurant_system.error_texts import ErrorText
from restaurant_system.models.clock import parse_rfc_3339, rfc_3339, utc_now
from restaurant_system.models.customer_name import (
    JSON_SCHEMA_PATTERN,
    MAX_LENGTH,
    clean_customer_name,
    is_plain_name,
)
from restaurant_system.models.fields import (
    BLANK,
    EMPTY_IS_NONE,
    NULL_IS_EMPTY,
    Address,
    AllergyNote,
    ChangedBy,
    Channel,
    ExternalId,
    ItemName,
    Notes,
    Phone,
    Reason,
    Reference,
    StrictModel,
    TableLabel,
    error_details,
    invalid_value,
    is_absent,
    without_unset,
)
from restaurant_system.models.money import ZERO, Amount, ChargeAmount
from restaurant_system.models.order_items import OrderItem, total

# ORD_YYYYMMDD_NNN: the business date, and the order's number on that date, counted from 001.
ORDER_NUMBER = re.compile(r"ORD_[0-9]{8}_[0-9]{3,9}", re.ASCII)


MAX_ITEMS = 100
MAX_CHARGES = 20
MAX_TABLE_NUMBER = 9999
SCHEDULED_WITHIN = timedelta(days=30)  # how far ahead `ready_at` may be
# How long ago `ready_at` of a new order may be. A repetition of a stored order may be older.
READY_SINCE = timedelta(days=1)
READY_TOO_LONG_AGO = ErrorText(
    "is more than one day ago; send a time to come, or leave it out", "too_long_ago"
)


class OrderType(StrEnum):
    """The order type: how the customer receives the meal."""

    DINE_IN = "dine_in"
    TAKEOUT = "takeout"
    DELIVERY = "delivery"


class Handoff(StrEnum):
    """The place or the person to which the meal is handed."""

    TABLE = "table"
    COUNTER = "counter"
    CURBSIDE = "curbside"
    DRIVE_THROUGH = "drive_through"
    COURIER = "courier"  # of a platform, who collects it
    OWN_DELIVERY = "own_delivery"


def _moment(value: object) -> datetime:
    """Validate a time with a zone, by RFC 3339, up to 30 days ahead."""
    moment = _parsed(value)
    if moment is None:
        message = "must be a time by RFC 3339, such as 2024-12-16T19:30:00+01:00"
        raise invalid_value(ErrorText(message, "time_invalid"))
    moment = moment.replace(microsecond=moment.microsecond // 1000 * 1000)
    if moment > utc_now() + SCHEDULED_WITHIN:
        days = SCHEDULED_WITHIN.days
        message = f"must be at most {days} days ahead"
        raise invalid_value(ErrorText(message, "too_far_ahead", days=days))
    return moment


def is_too_long_ago(ready_at: datetime, now: datetime) -> bool:
    """Tell whether a new order can not be meant to be ready at this time."""
    return ready_at < now - READY_SINCE


def _parsed(value: object) -> datetime | None:
    if isinstance(value, str):
        return parse_rfc_3339(value.strip())
    if isinstance(value, datetime) and value.tzinfo is not None:
        return value.astimezone(UTC)
    return None


def _clean_name(value: object) -> str | None:
    """Validate the name of a customer; one of blanks counts as absent."""
    if type(value) is str and is_plain_name(value):
        return value
    if is_absent(value):
        return None
    if not isinstance(value, str):
        raise invalid_value(ErrorText("must be a string", "string_type"))
    return clean_customer_name(value)


CustomerName = Annotated[
    str | None,
    PlainValidator(_clean_name),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "maxLength": MAX_LENGTH, "pattern": JSON_SCHEMA_PATTERN},
                BLANK,
                {"type": "null"},
            ]
        },
    ),
]
ReadyAt = Annotated[
    datetime,
    PlainValidator(_moment),
    PlainSerializer(rfc_3339, when_used="json"),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]


class Charge(StrictModel):
    """A fee or, if its amount is negative, a discount on the whole order."""

    name: ItemName
    amount: ChargeAmount


def _schema_of_type(
    order_type: OrderType,
    *,
    refused: tuple[str, ...],
    one_of: tuple[str, ...],
    unless: Handoff | None,
) -> dict[str, Any]:
    """Return the JSON Schema of what an order type requires and must not have."""
    absent = {"anyOf": [{"type": "null"}, BLANK]}
    schema: dict[str, Any] = {
        "properties": {
            "order_type": {"const": order_type.value},
            **dict.fromkeys(refused, absent),
        },
    }
    if unless is not None:
        schema["anyOf"] = [
            *({"required": [field], "properties": {field: PRESENT}} for field in one_of),
            {"required": ["handoff"], "properties": {"handoff": {"const": unless.value}}},
        ]
    return schema


PRESENT = {"not": {"type": "null"}}


class NewOrder(StrictModel):
    """An order before it has a number."""

    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [
                _schema_of_type(
                    OrderType.DINE_IN,
                    refused=("delivery_address",),
                    one_of=("table_number", "table"),
                    unless=Handoff.COUNTER,
                ),
                _schema_of_type(
                    OrderType.TAKEOUT,
                    refused=("table_number", "table", "delivery_address"),
                    one_of=(),
                    unless=None,
                ),
                _schema_of_type(
                    OrderType.DELIVERY,
                    refused=("table_number", "table"),
                    one_of=("delivery_address",),
                    unless=Handoff.COURIER,
                ),
            ],
        }
    )

    # The fields of the first release, in their sequence: the fingerprint of an idempotency key
    # depends on it.
    customer_name: CustomerName = None
    order_type: Annotated[OrderType, Field(strict=False)]
    items: Annotated[tuple[OrderItem, ...], Field(min_length=1, max_length=MAX_ITEMS, strict=False)]
    table_number: int | None = Field(default=None, ge=1, le=MAX_TABLE_NUMBER)
    delivery_address: Annotated[Address | None, EMPTY_IS_NONE] = None
    notes: Annotated[Notes | None, EMPTY_IS_NONE] = None
    handoff: Annotated[Handoff | None, Field(strict=False)] = None
    table: Annotated[TableLabel | None, EMPTY_IS_NONE] = Field(
        default=None, description="The label of a table that has no number"
    )
    allergy_note: Annotated[AllergyNote | None, EMPTY_IS_NONE] = None
    reference: Annotated[Reference | None, EMPTY_IS_NONE] = Field(
        default=None,
        description="The number by which the platform, the courier or the till calls the order",
    )
    channel: Annotated[Channel | None, EMPTY_IS_NONE] = Field(
        default=None, description="Where the order comes from; together with external_id"
    )
    external_id: Annotated[ExternalId | None, EMPTY_IS_NONE] = Field(
        default=None, description="The id of the order at its channel"
    )
    phone: Annotated[Phone | None, EMPTY_IS_NONE] = None
    ready_at: ReadyAt | None = Field(
        default=None,
        description="When it is to be ready, such as 2024-12-16T19:30:00+01:00: at most 30 days"
        " ahead, and at most one day ago unless the order is a repetition",
    )
    charges: Annotated[
        tuple[Charge, ...], Field(max_length=MAX_CHARGES, strict=False), NULL_IS_EMPTY
    ] = ()
    amount_due: Amount | None = Field(
        default=None, description="What is still to be paid when it is handed over"
    )

    @model_validator(mode="wrap")
    @classmethod
    def _check_combinations(cls, value: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:  # noqa: ANN401 - any input
        """Report the errors of combined fields together with those of single ones."""
        if not isinstance(value, dict) or _is_simple(value):
            return handler(value)
        faults = dict(_faults_of_combinations(value))
        errors: list[InitErrorDetails] = []
        try:
            order = handler(value)
        except ValidationError as error:
            errors = error_details(error)
        else:
            if not faults:
                return order
        # An order that is valid but for this may be stored already: its service decides.
        ready_at = _parsed(value.get("ready_at"))
        if ready_at is not None and is_too_long_ago(ready_at, utc_now()):
            faults["ready_at"] = READY_TOO_LONG_AGO
        invalid = {each["loc"][0] for each in errors if each.get("loc")}
        errors += [
            {"type": invalid_value(message), "loc": (field,), "input": None}
            for field, message in faults.items()
            if field not in invalid
        ]
        sequence = {field: place for place, field in enumerate(cls.model_fields)}
        errors.sort(key=lambda each: sequence.get(str(each["loc"][0]), len(sequence)))
        raise ValidationError.from_exception_data(cls.__name__, errors)

    @cached_property
    def total_amount(self) -> Decimal:
        """What the order costs: its items and its charges, and never less than nothing."""
        amount = total(self.items)
        if self.charges:
            amount = sum((charge.amount for charge in self.charges), amount)
        # Zero with the decimals of the amount, as that of an order that costs nothing.
        return amount if amount >= ZERO else amount - amount

    @property
    def items_total(self) -> Decimal:
        """What the items cost, without charges."""
        return total(self.items) if self.charges else self.total_amount

    @property
    def has_optional_fields(self) -> bool:
        """Whether an optional field of the order or of an item may have a value."""
        if not self.model_fields_set.isdisjoint(OPTIONAL_OF_ORDER):
            return True
        for item in self.items:  # noqa: SIM110 - a generator takes twice as long
            if item.has_optional_fields:
                return True
        return False

    @property
    def optional_fields(self) -> dict[str, Any] | None:
        """The optional fields of the order that were sent, as JSON; `None` if there are none."""
        if self.model_fields_set.isdisjoint(OPTIONAL_OF_ORDER):
            return None
        fields = self.model_dump(mode="json", include=set(OPTIONAL_OF_ORDER))
        return without_unset(fields, OPTIONAL_OF_ORDER) or None


# Messages and responses contain these fields only if they were sent.
OPTIONAL_OF_ORDER = frozenset(
    {
        *("handoff", "table", "allergy_note", "reference", "channel", "external_id", "phone"),
        *("ready_at", "charges", "amount_due"),
    }
)


class Move(StrictModel):
    """The author of and the reason for a cancellation or completion; both are optional."""

    changed_by: ChangedBy | None = None
    reason: Reason | None = None


class MoveOfReadyOrder(Move):
    """The author of and the reason for an action on an order that is ready.

    `as_of` is the order's `updated_at` as it was shown: an action on an order that has changed
    since then is refused, because it may have waited on a device without a connection.
    """

    as_of: Annotated[AwareDatetime | None, Field(strict=False)] = None


def _is_simple(fields: Mapping[str, object]) -> bool:
    """Return whether an order is one of most, in which no combination can be wrong."""
    order_type = fields.get("order_type")
    if type(order_type) is not str or is_absent(fields.get("customer_name")):
        return False
    own = OWN_FIELD.get(order_type)
    if own is None or is_absent(fields.get(own)):
        return False
    return OTHER_FIELDS[own].isdisjoint(fields)


def _faults_of_combinations(fields: Mapping[str, object]) -> Iterator[tuple[str, ErrorText]]:
    """Return the fields that are missing or that do not belong to the others, with the reason.

    Reads the fields as they were sent. An invalid order type or handoff requires nothing.
    """
    order_type = fields.get("order_type")
    if (
        is_absent(fields.get("customer_name"))
        and order_type != OrderType.DINE_IN
        and is_absent(fields.get("reference"))
    ):
        message = "is required, except for dine_in or with a reference"
        yield "customer_name", ErrorText(message, "customer_name_required")
    sent = {field for field in COMBINED if not is_absent(fields.get(field))}
    yield from _faults_of_source(sent)
    yield from _faults_of_type(order_type, sent, fields.get("handoff"))


def _faults_of_source(sent: AbstractSet[str]) -> Iterator[tuple[str, ErrorText]]:
    for field, other in (("channel", "external_id"), ("external_id", "channel")):
        if other in sent and field not in sent:
            yield field, ErrorText(f"is required with {other}", "required_with", other=other)


def _faults_of_type(
    order_type: object, sent: AbstractSet[str], handoff: object
) -> Iterator[tuple[str, ErrorText]]:
    if order_type not in ORDER_TYPES:
        return
    kind = str(order_type)
    if order_type != OrderType.DINE_IN:
        message = f"is only for dine_in, not for {kind}"
        for field in sorted(TABLE_FIELDS & sent):
            yield field, ErrorText(message, "only_for_dine_in", order_type=kind)
    if order_type != OrderType.DELIVERY and "delivery_address" in sent:
        message = f"is only for delivery, not for {kind}"
        yield "delivery_address", ErrorText(message, "only_for_delivery", order_type=kind)
    if handoff is not None and handoff not in HANDOFFS:
        return
    if order_type == OrderType.DINE_IN and handoff != Handoff.COUNTER and not TABLE_FIELDS & sent:
        message = "is required for dine_in, unless table is sent or handoff is counter"
        yield "table_number", ErrorText(message, "table_required")
    is_collected = handoff == Handoff.COURIER
    if order_type == OrderType.DELIVERY and not is_collected and "delivery_address" not in sent:
        message = "is required for delivery, unless handoff is courier"
        yield "delivery_address", ErrorText(message, "address_required")


TABLE_FIELDS = frozenset({"table_number", "table"})
# Fields that depend on others.
COMBINED = TABLE_FIELDS | {"delivery_address", "channel", "external_id", "ready_at"}
# The one of them that most orders of a type have; a takeout order has none.
OWN_FIELD: dict[str, str] = {
    OrderType.TAKEOUT: "customer_name",
    OrderType.DINE_IN: "table_number",
    OrderType.DELIVERY: "delivery_address",
}
OTHER_FIELDS = {own: COMBINED - {own} for own in OWN_FIELD.values()}
ORDER_TYPES = tuple(OrderType)
HANDOFFS = tuple(Handoff)


@dataclass(frozen=True, slots=True)
class PriorityThresholds:
    """What the items of an order must cost for a higher priority."""

    five_from: Decimal = Decimal(50)
    ten_above: Decimal = Decimal(100)

    def priority_of(self, items_total: Decimal) -> int:
        """Return the priority of an order whose items cost so much: 10, 5 or 1."""
        if items_total > self.ten_above:
            return 10
        return 5 if items_total >= self.five_from else 1


DEFAULT_THRESHOLDS = PriorityThresholds()


def is_order_number(text: str) -> bool:
    """Return whether `text` has the format of an order number."""
    return ORDER_NUMBER.fullmatch(text) is not None


def order_number(business_date: date, sequence: int) -> str:
    """Format the number of the `sequence`-th order of a day; after 999 it has four digits."""
    return f"ORD_{business_date:%Y%m%d}_{sequence:03d}"
