"""A new order: the rules for its fields, its total, its priority and the format of its number.

Amounts of money are `Decimal` from the request to the column.
"""

import re
from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from enum import StrEnum
from functools import cached_property
from typing import Annotated, Any, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    StringConstraints,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
)

from restaurant_system.models.text import LINE_BREAKS, is_visible, refused_character

# ORD_YYYYMMDD_NNN: the business date, and the order's number on that date, counted from 001.
ORDER_NUMBER = re.compile(r"ORD_[0-9]{8}_[0-9]{3,9}", re.ASCII)

CENT = Decimal("0.01")
MIN_PRICE = Decimal("0.01")
MAX_PRICE = Decimal("999.99")
MAX_AMOUNT = Decimal("99999999.99")  # numeric(10,2)
PRIORITY_10_ABOVE = Decimal(100)  # a higher total has priority 10
PRIORITY_5_FROM = Decimal(50)  # this total and a higher one has priority 5

T = TypeVar("T")


class OrderType(StrEnum):
    """The order type: how the customer receives the meal."""

    DINE_IN = "dine_in"
    TAKEOUT = "takeout"
    DELIVERY = "delivery"


def _number(value: object) -> Decimal:
    """Convert a JSON number to a decimal; refuse a string and a boolean."""
    if type(value) is not int and not isinstance(value, Decimal):
        raise ValueError("must be a number")
    return Decimal(value)


def _price(value: object) -> Decimal:
    """Validate the price of an item: exact, and within the allowed range."""
    return _exact(value, MIN_PRICE, MAX_PRICE)


def _amount(value: object) -> Decimal:
    """Validate a total amount: exact, and within the range of its column."""
    return _exact(value, Decimal(0), MAX_AMOUNT)


def _exact(value: object, least: Decimal, highest: Decimal) -> Decimal:
    amount = _number(value)
    if not least <= amount <= highest:
        raise ValueError(f"must be from {least} to {highest}")
    exact = amount.quantize(CENT)
    if amount != exact:
        raise ValueError("must have at most two decimals")
    return exact


def _printable_line(value: str) -> str:
    """Refuse control and format characters, line breaks among them."""
    return _printable_text(value, allowed="")


def _name(value: str) -> str:
    """Refuse control and format characters, and a name that shows nothing."""
    if not is_visible(value):
        raise ValueError("must have at least one visible character")
    return _printable_line(value)


def _printable_text(value: str, allowed: str = LINE_BREAKS) -> str:
    """Refuse control and format characters other than line breaks and tabs."""
    refused = refused_character(value, allowed=allowed)
    if refused is not None:
        raise ValueError(f"must not contain the character U+{ord(refused):04X} here")
    return value


# Amounts are serialized as JSON numbers: for amounts below 10^13 with two decimals, the shortest
# text of the nearest float is the amount itself.
Money = Annotated[Decimal, PlainSerializer(float, when_used="json")]

Amount = Annotated[Money, PlainValidator(_amount)]
Price = Annotated[
    Money,
    PlainValidator(_price),
    WithJsonSchema({"type": "number", "minimum": 0.01, "maximum": 999.99, "multipleOf": 0.01}),
]
CustomerName = Annotated[
    str,
    # Letters and combining marks of any script, digits, spaces, hyphens, apostrophes.
    StringConstraints(min_length=1, max_length=100, pattern=r"^[\p{L}\p{M}\p{Nd} '’-]+$"),
    AfterValidator(_name),
    # JSON Schema patterns need not support Unicode classes; this one excludes ASCII punctuation.
    WithJsonSchema(
        {
            "type": "string",
            "minLength": 1,
            "maxLength": 100,
            "pattern": r"^[^\x00-\x1f!-&(-,./:-@\[-`{-\x7f]+$",
        }
    ),
]
ItemName = Annotated[str, StringConstraints(min_length=1, max_length=50), AfterValidator(_name)]
Notes = Annotated[str, StringConstraints(max_length=200), AfterValidator(_printable_text)]
Address = Annotated[
    str, StringConstraints(min_length=10, max_length=200), AfterValidator(_printable_text)
]
ChangedBy = Annotated[str, StringConstraints(min_length=1, max_length=100), AfterValidator(_name)]


class StrictModel(BaseModel):
    """Input from outside: immutable, strings trimmed, no type coercion, no unknown fields."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        str_strip_whitespace=True,
        hide_input_in_errors=True,
    )


class OrderItem(StrictModel):
    """An item of an order."""

    name: ItemName
    quantity: int = Field(ge=1, le=10)
    price: Price
    notes: Notes | None = None


def _schema_of_type(order_type: OrderType, required: dict[str, str]) -> dict[str, Any]:
    """Return the JSON Schema of the fields that an order type requires or must not have."""
    absent = {"table_number": {"type": "null"}, "delivery_address": {"type": "null"}}
    present = {field: {"type": kind} for field, kind in required.items()}
    return {
        "properties": {"order_type": {"const": order_type.value}, **absent, **present},
        "required": list(required),
    }


class NewOrder(StrictModel):
    """An order before it has a number."""

    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [
                _schema_of_type(OrderType.DINE_IN, {"table_number": "integer"}),
                _schema_of_type(OrderType.TAKEOUT, {}),
                _schema_of_type(OrderType.DELIVERY, {"delivery_address": "string"}),
            ]
        }
    )

    customer_name: CustomerName
    order_type: Annotated[OrderType, Field(strict=False)]
    items: Annotated[tuple[OrderItem, ...], Field(min_length=1, max_length=20, strict=False)]
    table_number: int | None = Field(default=None, ge=1, le=100, validate_default=True)
    delivery_address: Address | None = Field(default=None, validate_default=True)
    notes: Notes | None = None

    @field_validator("table_number")
    @classmethod
    def _check_table_number(cls, value: int | None, info: ValidationInfo) -> int | None:
        return _require_only_for(OrderType.DINE_IN, value, info)

    @field_validator("delivery_address")
    @classmethod
    def _check_delivery_address(cls, value: str | None, info: ValidationInfo) -> str | None:
        return _require_only_for(OrderType.DELIVERY, value, info)

    @cached_property
    def total_amount(self) -> Decimal:
        """The exact sum of price times quantity."""
        return total(self.items)

    @cached_property
    def priority(self) -> int:
        """The priority that follows from the total: 10, 5 or 1."""
        return priority(self.total_amount)


class Move(StrictModel):
    """The author of and the reason for a cancellation or completion; both are optional."""

    changed_by: ChangedBy | None = None
    reason: Notes | None = None


def _require_only_for(order_type: OrderType, value: T | None, info: ValidationInfo) -> T | None:
    """Require a field for one order type, and refuse it for the others.

    Called by a field validator instead of a model validator, so that the error is reported together
    with those of other fields. If the order type itself is invalid, every value is accepted.
    """
    actual = info.data.get("order_type")
    if actual is None:
        return value
    if actual is order_type and value is None:
        raise ValueError(f"is required for {order_type}")
    if actual is not order_type and value is not None:
        raise ValueError(f"is only for {order_type}, not for {actual}")
    return value


def total(items: Sequence[OrderItem]) -> Decimal:
    """Return the total of order items: the sum of price times quantity."""
    return sum((item.price * item.quantity for item in items), Decimal(0)).quantize(CENT)


def priority(total_amount: Decimal) -> int:
    """Return the priority of an order: 10 for a total above 100, 5 from 50 to 100, else 1."""
    if total_amount > PRIORITY_10_ABOVE:
        return 10
    return 5 if total_amount >= PRIORITY_5_FROM else 1


def is_order_number(text: str) -> bool:
    """Return whether `text` has the format of an order number."""
    return ORDER_NUMBER.fullmatch(text) is not None


def order_number(business_date: date, sequence: int) -> str:
    """Format the number of the `sequence`-th order of a day; after 999 it has four digits."""
    return f"ORD_{business_date:%Y%m%d}_{sequence:03d}"
