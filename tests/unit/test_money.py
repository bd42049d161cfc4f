"""Amounts in currencies with other than two decimals."""

import json
from decimal import Decimal
from typing import Any

import jiter
import pytest
from pydantic import ValidationError

from restaurant_system.models.currency import Currency
from restaurant_system.models.menu import Menu
from restaurant_system.models.message import OrderReceived, decode
from restaurant_system.models.order import DEFAULT_THRESHOLDS, NewOrder
from restaurant_system.services.order.menu_file import sample_menu
from restaurant_system.validation_messages import message_of
from tests.support import messages
from tests.support.orders import make_item, make_order_fields

NUMBER = "ORD_20241216_001"


def priced_fields(price: Any, change: Any) -> dict[str, Any]:  # noqa: ANN401 - valid or invalid amounts
    """Return the fields of an order with a price, a modifier, a charge and an amount due."""
    item = make_item(
        quantity=3, price=price, modifiers=[{"name": "Small", "kind": "choice", "price": change}]
    )
    return make_order_fields(
        items=[item], charges=[{"name": "Bag", "amount": change}], amount_due=price
    )


@pytest.mark.parametrize(
    ("code", "price", "change", "total"),
    [
        ("JPY", 1200, -50, "3400"),
        ("JPY", Decimal("1200.0"), 0, "3600"),
        ("IDR", 45000, Decimal("-0.50"), "134998.00"),
        ("KWD", Decimal("1.125"), Decimal("0.005"), "3.395"),
        ("CLF", Decimal("0.0001"), 0, "0.0003"),
        (None, 5, Decimal("-0.5"), "13.00"),
    ],
)
def test_amounts_are_exact_in_the_order_and_its_message(
    code: str | None, price: object, change: object, total: str
) -> None:
    order = NewOrder.model_validate(priced_fields(price, change), context=Currency(code))

    body = OrderReceived.from_order(order, NUMBER).encode()
    numbers = jiter.from_json(body, float_mode="lossless-float")

    assert str(order.total_amount) == total
    assert Decimal(str(numbers["total_amount"])) == Decimal(total)
    assert Decimal(str(numbers["items"][0]["price"])) == Decimal(str(price))
    assert Decimal(str(numbers["charges"][0]["amount"])) == Decimal(str(change))
    unnumbered = OrderReceived.encode_without_number(
        order, DEFAULT_THRESHOLDS.priority_of(order.items_total)
    )
    assert body == b'{"order_number":"%b",' % NUMBER.encode() + unnumbered
    assert decode(messages.make_order_message(body=body), OrderReceived).total_amount == Decimal(
        total
    )


def test_amounts_of_a_currency_without_decimals_are_whole_json_numbers() -> None:
    order = NewOrder.model_validate(priced_fields(1200, -50), context=Currency("JPY"))

    body = json.loads(OrderReceived.from_order(order, NUMBER).encode(), parse_float=pytest.fail)

    assert body["items"][0]["price"] == 1200
    assert body["total_amount"] == 3400


@pytest.mark.parametrize(
    ("code", "amount", "reason"),
    [
        ("JPY", Decimal("9.5"), "must have no decimals, as amounts in JPY have"),
        ("KWD", Decimal("1.0005"), "must have at most three decimals, as amounts in KWD have"),
        (None, Decimal("1.125"), "must have at most two decimals"),
    ],
)
def test_each_amount_with_more_decimals_than_the_currency_is_refused_with_its_path(
    code: str | None, amount: Decimal, reason: str
) -> None:
    with pytest.raises(ValidationError) as raised:
        NewOrder.model_validate(priced_fields(amount, amount), context=Currency(code))

    faults = {
        ".".join(map(str, error["loc"])): message_of(error)
        for error in raised.value.errors()
        if error["type"] == "too_many_decimals"
    }
    assert faults == dict.fromkeys(
        ["items.0.price", "items.0.modifiers.0.price", "charges.0.amount", "amount_due"], reason
    )


def test_prices_of_the_menu_have_the_decimals_of_the_currency() -> None:
    menu = {"sections": [{"name": "Mains", "items": [{"name": "Machboos", "price": 1.125}]}]}
    fields = jiter.from_json(json.dumps(menu).encode(), float_mode="decimal")

    stored = Menu.model_validate(fields, context=Currency("KWD"))

    assert stored.sections[0].items[0].price == Decimal("1.125")
    with pytest.raises(ValidationError, match="no decimals, as amounts in JPY"):
        Menu.model_validate(fields, context=Currency("JPY"))


@pytest.mark.parametrize(("code", "price"), [("JPY", "950"), ("EUR", "9.50"), ("KWD", "9.500")])
def test_sample_menu_is_valid_in_every_currency(code: str, price: str) -> None:
    margherita = sample_menu(Currency(code)).sections[0].items[0]

    assert (margherita.name, str(margherita.price)) == ("Margherita", price)
