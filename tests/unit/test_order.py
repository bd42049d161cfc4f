"""The rules for a new order, its total, its priority and its number."""

from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from restaurant_system.models.order import NewOrder, OrderItem, order_number, priority, total
from restaurant_system.web.validation_errors import field_errors
from tests.support.orders import make_item, make_order, make_order_fields

CENTS = st.integers(1, 99_999)
ADDRESS = "1 Main Street, Springfield"


def invalid_fields(**changes: object) -> list[str]:
    """Return the fields for which an order with these changes is refused."""
    try:
        NewOrder.model_validate(make_order_fields(**changes))
    except ValidationError as error:
        return [fault.field for fault in field_errors(error.errors())]
    return []


@given(st.lists(st.tuples(CENTS, st.integers(1, 10)), min_size=1, max_size=20))
def test_total_is_the_exact_sum_of_price_times_quantity(quantities: list[tuple[int, int]]) -> None:
    items = [
        OrderItem(name="Soup", quantity=quantity, price=Decimal(cents) / 100)
        for cents, quantity in quantities
    ]

    assert total(items) == Decimal(sum(cents * quantity for cents, quantity in quantities)) / 100


def test_total_has_two_decimals_if_prices_have_none() -> None:
    order = make_order(items=[make_item(price=5, quantity=2)])

    assert str(order.total_amount) == "10.00"


@pytest.mark.parametrize(
    ("amount", "urgency"),
    [("0.01", 1), ("49.99", 1), ("50", 5), ("100", 5), ("100.01", 10), ("999.99", 10)],
)
def test_priority_is_10_above_100_and_5_from_50_else_1(amount: str, urgency: int) -> None:
    assert priority(Decimal(amount)) == urgency
    assert make_order(items=[make_item(price=Decimal(amount))]).priority == urgency


@pytest.mark.parametrize(
    ("sequence", "number"),
    [
        (1, "ORD_20241216_001"),
        (42, "ORD_20241216_042"),
        (999, "ORD_20241216_999"),
        (1000, "ORD_20241216_1000"),
        (12345, "ORD_20241216_12345"),
    ],
)
def test_order_number_has_the_date_and_at_least_three_digits(sequence: int, number: str) -> None:
    assert order_number(date(2024, 12, 16), sequence) == number


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"items": [make_item()] * 20},
        {"items": [make_item(name="N")]},
        {"items": [make_item(name="N" * 50)]},
        {"items": [make_item(name="Crème brûlée 🍮 (no. 7)")]},
        {"items": [make_item(quantity=1)]},
        {"items": [make_item(quantity=10)]},
        {"items": [make_item(price=Decimal("0.01"))]},
        {"items": [make_item(price=Decimal("999.99"))]},
        {"items": [make_item(price=1)]},
        {"items": [make_item(price=999)]},
        {"items": [make_item(notes=None)]},
        {"items": [make_item(notes="n" * 200)]},
        {"notes": "n" * 200},
        {"notes": "ring twice\nsecond floor"},
        {"order_type": "dine_in", "table_number": 1},
        {"order_type": "dine_in", "table_number": 100},
        {"order_type": "delivery", "delivery_address": "a" * 10},
        {"order_type": "delivery", "delivery_address": "a" * 200},
        {"order_type": "delivery", "delivery_address": "Straße 1\n12345 Köln"},
        {"table_number": None, "delivery_address": None, "notes": None},
    ],
)
def test_order_at_a_limit_is_accepted(changes: dict[str, object]) -> None:
    assert invalid_fields(**changes) == []


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("customer_name", {"customer_name": None}),
        ("customer_name", {"customer_name": 5}),
        ("order_type", {"order_type": "drive_in"}),
        ("order_type", {"order_type": "TAKEOUT"}),
        ("order_type", {"order_type": None}),
        ("items", {"items": []}),
        ("items", {"items": [make_item()] * 21}),
        ("items", {"items": None}),
        ("items", {"items": "pizza"}),
        ("items.0", {"items": ["pizza"]}),
        ("items.0.name", {"items": [make_item(name="")]}),
        ("items.0.name", {"items": [make_item(name=" ")]}),
        ("items.0.name", {"items": [make_item(name="N" * 51)]}),
        ("items.0.name", {"items": [make_item(name="So\nup")]}),
        ("items.0.name", {"items": [make_item(name="So\tup")]}),
        ("items.0.name", {"items": [make_item(name="So\x00up")]}),
        ("items.0.name", {"items": [make_item(name="So\x7fup")]}),
        ("items.0.name", {"items": [make_item(name="So\x85up")]}),
        ("items.0.quantity", {"items": [make_item(quantity=0)]}),
        ("items.0.quantity", {"items": [make_item(quantity=11)]}),
        ("items.0.quantity", {"items": [make_item(quantity=-1)]}),
        ("items.0.quantity", {"items": [make_item(quantity=10**30)]}),
        ("items.0.quantity", {"items": [make_item(quantity=Decimal("1.0"))]}),
        ("items.0.quantity", {"items": [make_item(quantity=Decimal("1.5"))]}),
        ("items.0.quantity", {"items": [make_item(quantity=True)]}),
        ("items.0.quantity", {"items": [make_item(quantity="1")]}),
        ("items.0.quantity", {"items": [make_item(quantity=None)]}),
        ("items.0.price", {"items": [make_item(price=0)]}),
        ("items.0.price", {"items": [make_item(price=Decimal("0.009"))]}),
        ("items.0.price", {"items": [make_item(price=Decimal("999.991"))]}),
        ("items.0.price", {"items": [make_item(price=1000)]}),
        ("items.0.price", {"items": [make_item(price=-1)]}),
        ("items.0.price", {"items": [make_item(price=Decimal("1.005"))]}),
        ("items.0.price", {"items": [make_item(price=Decimal("0.010000000000000000001"))]}),
        ("items.0.price", {"items": [make_item(price=Decimal("Infinity"))]}),
        ("items.0.price", {"items": [make_item(price=True)]}),
        ("items.0.price", {"items": [make_item(price="9.50")]}),
        ("items.0.price", {"items": [make_item(price=None)]}),
        ("items.0.notes", {"items": [make_item(notes="n" * 201)]}),
        ("notes", {"notes": "n" * 201}),
        ("notes", {"notes": "a\x00b"}),
        ("table_number", {"order_type": "dine_in"}),
        ("table_number", {"order_type": "dine_in", "table_number": 0}),
        ("table_number", {"order_type": "dine_in", "table_number": 101}),
        ("table_number", {"order_type": "dine_in", "table_number": True}),
        ("table_number", {"order_type": "dine_in", "table_number": "5"}),
        ("table_number", {"order_type": "dine_in", "table_number": Decimal("5.0")}),
        ("table_number", {"order_type": "takeout", "table_number": 5}),
        (
            "table_number",
            {"order_type": "delivery", "delivery_address": ADDRESS, "table_number": 5},
        ),
        ("delivery_address", {"order_type": "delivery"}),
        ("delivery_address", {"order_type": "delivery", "delivery_address": "a" * 9}),
        ("delivery_address", {"order_type": "delivery", "delivery_address": "a" * 201}),
        ("delivery_address", {"order_type": "delivery", "delivery_address": f"{ADDRESS}\x00"}),
        ("delivery_address", {"order_type": "takeout", "delivery_address": ADDRESS}),
        (
            "delivery_address",
            {"order_type": "dine_in", "table_number": 5, "delivery_address": ADDRESS},
        ),
        ("customer_nmae", {"customer_nmae": "Ada"}),
        ("items.0.qty", {"items": [make_item(qty=1)]}),
    ],
)
def test_order_beyond_a_limit_is_refused_for_that_field_only(
    field: str, changes: dict[str, object]
) -> None:
    assert invalid_fields(**changes) == [field]


@pytest.mark.parametrize("field", ["customer_name", "order_type", "items"])
def test_order_without_a_required_field_is_refused(field: str) -> None:
    statement = make_order_fields()
    del statement[field]

    with pytest.raises(ValidationError) as refusal:
        NewOrder.model_validate(statement)

    assert [fault["loc"] for fault in refusal.value.errors()] == [(field,)]


@pytest.mark.parametrize("field", ["name", "quantity", "price"])
def test_item_without_a_required_field_is_refused_by_its_index(field: str) -> None:
    item = make_item()
    del item[field]

    assert invalid_fields(items=[make_item(), item]) == [f"items.1.{field}"]


def test_surrounding_blanks_are_removed_before_lengths_are_checked() -> None:
    order = make_order(
        customer_name=f"  {'a' * 100}\t",
        order_type="delivery",
        delivery_address=f"\n{'a' * 200} ",
        items=[make_item(name=f" {'N' * 50} ", notes=" no onions ")],
        notes=f" {'n' * 200} ",
    )

    assert order.customer_name == "a" * 100
    assert order.delivery_address == "a" * 200
    assert order.items[0].name == "N" * 50
    assert order.items[0].notes == "no onions"
    assert order.notes == "n" * 200
    assert invalid_fields(order_type="delivery", delivery_address=f"{'a' * 9}     ") == [
        "delivery_address"
    ]


def test_all_invalid_fields_are_reported() -> None:
    """Rules across fields are reported together with rules for one field."""
    found = invalid_fields(
        customer_name="",
        order_type="dine_in",
        items=[make_item(quantity=0, price=0), make_item(), make_item(name="", notes="n" * 201)],
        delivery_address=ADDRESS,
        notes="n" * 201,
        tip=5,
    )

    assert sorted(found) == [
        "customer_name",
        "delivery_address",
        "items.0.price",
        "items.0.quantity",
        "items.2.name",
        "items.2.notes",
        "notes",
        "table_number",
        "tip",
    ]


def test_invalid_order_type_requires_no_table_and_no_address() -> None:
    assert invalid_fields(order_type="drive_in") == ["order_type"]
    assert invalid_fields(order_type="drive_in", table_number=5) == ["order_type"]
