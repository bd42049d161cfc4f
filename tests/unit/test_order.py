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


def faults(**changes: object) -> list[str]:
    """Name the fields that an order with these changes is refused for; none when it is sound."""
    try:
        NewOrder.model_validate(make_order_fields(**changes))
    except ValidationError as error:
        return [fault.field for fault in field_errors(error.errors())]
    return []


@given(st.lists(st.tuples(CENTS, st.integers(1, 10)), min_size=1, max_size=20))
def test_total_is_exact(lines: list[tuple[int, int]]) -> None:
    """The total is the sum of price times quantity to the cent, for any order."""
    items = [
        OrderItem(name="Soup", quantity=quantity, price=Decimal(cents) / 100)
        for cents, quantity in lines
    ]

    assert total(items) == Decimal(sum(cents * quantity for cents, quantity in lines)) / 100


def test_total_has_two_decimals() -> None:
    """The total is written with two decimals, even where the prices have none."""
    order = make_order(items=[make_item(price=5, quantity=2)])

    assert str(order.total_amount) == "10.00"


@pytest.mark.parametrize(
    ("amount", "urgency"),
    [("0.01", 1), ("49.99", 1), ("50", 5), ("100", 5), ("100.01", 10), ("999.99", 10)],
)
def test_priority_follows_total(amount: str, urgency: int) -> None:
    """Priority is 10 above 100, 5 from 50 to 100 with both included, else 1."""
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
def test_order_number(sequence: int, number: str) -> None:
    """An order number has the date and three digits, and grows after 999."""
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
def test_just_inside(changes: dict[str, object]) -> None:
    """An order that stays within every limit is taken, also at the limit itself."""
    assert faults(**changes) == []


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
def test_just_outside(field: str, changes: dict[str, object]) -> None:
    """An order that breaks one rule is refused for that field, and for no other."""
    assert faults(**changes) == [field]


@pytest.mark.parametrize("field", ["customer_name", "order_type", "items"])
def test_required(field: str) -> None:
    """An order without one of its required fields is refused for it."""
    statement = make_order_fields()
    del statement[field]

    with pytest.raises(ValidationError) as refusal:
        NewOrder.model_validate(statement)

    assert [fault["loc"] for fault in refusal.value.errors()] == [(field,)]


@pytest.mark.parametrize("field", ["name", "quantity", "price"])
def test_required_of_an_item(field: str) -> None:
    """A line without a name, a quantity or a price is refused for it, by its place in the list."""
    item = make_item()
    del item[field]

    assert faults(items=[make_item(), item]) == [f"items.1.{field}"]


def test_surrounding_blanks() -> None:
    """Blanks around a text are taken off, and do not count towards its length."""
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
    assert faults(order_type="delivery", delivery_address=f"{'a' * 9}     ") == ["delivery_address"]


def test_all_faults_at_once() -> None:
    """Every fault is listed, not just the first; rules across fields beside rules of one field."""
    found = faults(
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


def test_a_faulty_order_type_asks_for_nothing_else() -> None:
    """While the order type is unknown, no table and no address is asked for or refused."""
    assert faults(order_type="drive_in") == ["order_type"]
    assert faults(order_type="drive_in", table_number=5) == ["order_type"]
