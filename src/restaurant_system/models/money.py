"""Amounts of money: exact decimals from the request to the column, JSON numbers on the way out.

How many decimals an amount may have depends on the currency, which is the context of a validation:
`NewOrder.model_validate(fields, context=Currency("JPY"))`. Amounts in messages and in the database
may have those of any currency, because they may be older than the configured one.

An amount of at most 15 significant digits is the shortest text of its nearest float, so that it is
exact as a JSON number. The bounds below keep every amount of an order within that.
"""

from decimal import Decimal
from typing import Annotated, Any

from pydantic import PlainSerializer, PlainValidator, ValidationInfo, WithJsonSchema

from restaurant_system.error_texts import ErrorText
from restaurant_system.models.currency import MOST_DECIMALS, NO_CURRENCY, Currency
from restaurant_system.models.fields import invalid_value

ZERO = Decimal(0)
MAX_PRICE = Decimal("999999.99")  # of one item with its modifiers, and of one modifier
MAX_CHARGE = Decimal("999999999.99")
MAX_AMOUNT = Decimal("999999999999.99")  # more than the total of any order can be

DECIMALS = (
    "no decimals",
    "at most one decimal",
    "at most two decimals",
    "at most three decimals",
    "at most four decimals",
)


def json_number(amount: Decimal) -> float:
    """Return an amount as a JSON number; one without decimals is an integer."""
    text = str(amount)
    return float(text) if "." in text else int(text)


def json_text(amount: Decimal) -> str:
    """Return the text of an amount in JSON, as that of its `json_number`, but faster."""
    whole, point, decimals = str(amount).partition(".")
    return f"{whole}.{decimals.rstrip('0') or '0'}" if point else whole


def _price(value: object, info: ValidationInfo) -> Decimal:
    return _exact(value, info, ZERO, MAX_PRICE)


def _price_change(value: object, info: ValidationInfo) -> Decimal:
    return _exact(value, info, -MAX_PRICE, MAX_PRICE)


def _charge(value: object, info: ValidationInfo) -> Decimal:
    return _exact(value, info, -MAX_CHARGE, MAX_CHARGE)


def _amount(value: object, info: ValidationInfo) -> Decimal:
    return _exact(value, info, ZERO, MAX_AMOUNT)


def _exact(value: object, info: ValidationInfo, least: Decimal, highest: Decimal) -> Decimal:
    """Validate a JSON number as an amount, without a binary float and without rounding it.

    The amount has the decimals of the currency, and zero has no sign.
    """
    currency: Currency = info.context or NO_CURRENCY
    amount = _in_range(value, least, highest)
    quantized = amount.quantize(currency.unit) if amount else currency.zero
    if amount != quantized:
        of_currency = f", as amounts in {currency.code} have" if currency.code else ""
        message = f"must have {DECIMALS[currency.decimals]}{of_currency}"
        raise invalid_value(ErrorText(message, "too_many_decimals", decimals=currency.decimals))
    return quantized


def _stored(value: object) -> Decimal:
    """Validate an amount that may have the decimals of any currency."""
    amount = _in_range(value, -MAX_AMOUNT, MAX_AMOUNT)
    exponent = amount.as_tuple().exponent
    if isinstance(exponent, int) and exponent < -MOST_DECIMALS:
        message = f"must have {DECIMALS[MOST_DECIMALS]}"
        raise invalid_value(ErrorText(message, "too_many_decimals", decimals=MOST_DECIMALS))
    return amount


def _stored_positive(value: object) -> Decimal:
    amount = _stored(value)
    if amount < ZERO:
        raise invalid_value(ErrorText("must not be negative", "amount_negative"))
    return amount


def _in_range(value: object, least: Decimal, highest: Decimal) -> Decimal:
    if isinstance(value, Decimal):
        amount = value
    elif type(value) is int:
        amount = Decimal(value)
    else:
        raise invalid_value(ErrorText("must be a number", "float_type"))
    if not least <= amount <= highest:
        message = f"must be from {least} to {highest}"
        low, high = json_number(least), json_number(highest)
        raise invalid_value(ErrorText(message, "amount_out_of_range", least=low, highest=high))
    return amount


def _schema(least: float, highest: float) -> WithJsonSchema:
    """Return the JSON Schema of an amount; the decimals of the currency are not in it."""
    return WithJsonSchema({"type": "number", "minimum": least, "maximum": highest})


Money = Annotated[
    Decimal,
    PlainSerializer(json_number, return_type=Any, when_used="json"),
    WithJsonSchema({"type": "number"}),
]
Price = Annotated[Money, PlainValidator(_price), _schema(0, 999_999.99)]
# The price of a modifier; negative where leaving something out costs less.
PriceChange = Annotated[Money, PlainValidator(_price_change), _schema(-999_999.99, 999_999.99)]
# A fee is positive, a discount negative.
ChargeAmount = Annotated[Money, PlainValidator(_charge), _schema(-999_999_999.99, 999_999_999.99)]
Amount = Annotated[Money, PlainValidator(_amount), _schema(0, 999_999_999_999.99)]
# In messages.
StoredAmount = Annotated[Money, PlainValidator(_stored_positive), _schema(0, 999_999_999_999.99)]
StoredChange = Annotated[
    Money, PlainValidator(_stored), _schema(-999_999_999_999.99, 999_999_999_999.99)
]
