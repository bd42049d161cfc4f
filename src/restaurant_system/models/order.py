"""An order as a customer states it, and what follows from it: total, priority, number.

The rules stand in section 3 of the contract. Money is `Decimal` from the wire to the column.
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

from restaurant_system.models.text import LINE_BREAKS, refused_character

# ORD_YYYYMMDD_NNN: the business date and the order's place in it, from 001 on.
ORDER_NUMBER = re.compile(r"ORD_[0-9]{8}_[0-9]{3,9}", re.ASCII)

CENT = Decimal("0.01")
LEAST_PRICE = Decimal("0.01")
HIGHEST_PRICE = Decimal("999.99")
HIGHEST_AMOUNT = Decimal("99999999.99")  # numeric(10,2)
RUSH_ABOVE = Decimal(100)  # a total above this has priority 10
BRISK_FROM = Decimal(50)  # a total from this one up has priority 5

T = TypeVar("T")


class OrderType(StrEnum):
    """How the meal reaches the guest."""

    DINE_IN = "dine_in"
    TAKEOUT = "takeout"
    DELIVERY = "delivery"


def _number(value: object) -> Decimal:
    """Take JSON's two ways to write a number; a string or a boolean is none."""
    if type(value) is not int and not isinstance(value, Decimal):
        raise ValueError("must be a number")
    return Decimal(value)


def _price(value: object) -> Decimal:
    """Take an exact amount between the lowest price and the highest."""
    return _exact(value, LEAST_PRICE, HIGHEST_PRICE)


def _amount(value: object) -> Decimal:
    """Take an exact amount that the column holds."""
    return _exact(value, Decimal(0), HIGHEST_AMOUNT)


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


def _printable_text(value: str, allowed: str = LINE_BREAKS) -> str:
    """Refuse control and format characters other than line breaks and tabs."""
    refused = refused_character(value, allowed=allowed)
    if refused is not None:
        raise ValueError(f"must not contain the character U+{ord(refused):04X} here")
    return value


# Amounts leave as JSON numbers. The shortest text of the nearest binary fraction is the amount
# itself, for any amount below 10^13 with two decimals.
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
    # Not every dialect of patterns knows scripts: this one, at least, leaves out ASCII's signs.
    WithJsonSchema(
        {
            "type": "string",
            "minLength": 1,
            "maxLength": 100,
            "pattern": r"^[^\x00-\x1f!-&(-,./:-@\[-`{-\x7f]+$",
        }
    ),
]
ItemName = Annotated[
    str, StringConstraints(min_length=1, max_length=50), AfterValidator(_printable_line)
]
Notes = Annotated[str, StringConstraints(max_length=200), AfterValidator(_printable_text)]
Address = Annotated[
    str, StringConstraints(min_length=10, max_length=200), AfterValidator(_printable_text)
]
Signature = Annotated[
    str, StringConstraints(min_length=1, max_length=100), AfterValidator(_printable_line)
]


class StrictModel(BaseModel):
    """What someone outside says to us: immutable, trimmed, without coercion, nothing unknown."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        str_strip_whitespace=True,
        hide_input_in_errors=True,
    )


class OrderItem(StrictModel):
    """One line of an order."""

    name: ItemName
    quantity: int = Field(ge=1, le=10)
    price: Price
    notes: Notes | None = None


def _what_belongs_to(order_type: OrderType, needed: dict[str, str]) -> dict[str, Any]:
    """Say in JSON Schema which field an order type needs, and which it must not have."""
    nothing = {"table_number": {"type": "null"}, "delivery_address": {"type": "null"}}
    stated = {field: {"type": kind} for field, kind in needed.items()}
    return {
        "properties": {"order_type": {"const": order_type.value}, **nothing, **stated},
        "required": list(needed),
    }


class NewOrder(StrictModel):
    """An order before it has a number."""

    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [
                _what_belongs_to(OrderType.DINE_IN, {"table_number": "integer"}),
                _what_belongs_to(OrderType.TAKEOUT, {}),
                _what_belongs_to(OrderType.DELIVERY, {"delivery_address": "string"}),
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
    def _belongs_to_dine_in(cls, value: int | None, info: ValidationInfo) -> int | None:
        return _belongs_to(OrderType.DINE_IN, value, info)

    @field_validator("delivery_address")
    @classmethod
    def _belongs_to_delivery(cls, value: str | None, info: ValidationInfo) -> str | None:
        return _belongs_to(OrderType.DELIVERY, value, info)

    @cached_property
    def total_amount(self) -> Decimal:
        """The sum of price times quantity, exact to the cent."""
        return total(self.items)

    @cached_property
    def priority(self) -> int:
        """The urgency that follows from the total: 10, 5 or 1."""
        return priority(self.total_amount)


class Move(StrictModel):
    """What may be said when an order is cancelled or completed."""

    changed_by: Signature | None = None
    reason: Notes | None = None


def _belongs_to(order_type: OrderType, value: T | None, info: ValidationInfo) -> T | None:
    """Hold a field to the one order type that needs it.

    A field validator, not a model's, so that this fault is listed beside all the others. When the
    order type itself is faulty there is nothing to hold the field to.
    """
    stated = info.data.get("order_type")
    if stated is None:
        return value
    if stated is order_type and value is None:
        raise ValueError(f"is required for {order_type}")
    if stated is not order_type and value is not None:
        raise ValueError(f"is only for {order_type}, not for {stated}")
    return value


def total(items: Sequence[OrderItem]) -> Decimal:
    """Return the sum of price times quantity."""
    return sum((item.price * item.quantity for item in items), Decimal(0)).quantize(CENT)


def priority(total_amount: Decimal) -> int:
    """Return 10 for a total above 100, 5 from 50 to 100 (both included), else 1."""
    if total_amount > RUSH_ABOVE:
        return 10
    return 5 if total_amount >= BRISK_FROM else 1


def is_order_number(text: str) -> bool:
    """Tell whether an order could have this number; what it cannot have is not worth looking up."""
    return ORDER_NUMBER.fullmatch(text) is not None


def order_number(business_date: date, sequence: int) -> str:
    """Write the number of the `sequence`-th order of a day; it grows to four digits after 999."""
    return f"ORD_{business_date:%Y%m%d}_{sequence:03d}"
