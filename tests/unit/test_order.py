"""The rules for a new order, its total, its priority and its number."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from restaurant_system.models.clock import utc_now
from restaurant_system.models.order import DEFAULT_THRESHOLDS, NewOrder, order_number
from restaurant_system.models.order_items import OrderItem, total
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
    assert DEFAULT_THRESHOLDS.priority_of(Decimal(amount)) == urgency


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
        {"items": [make_item()] * 100},
        {"items": [make_item(name="N")]},
        {"items": [make_item(name="N" * 120)]},
        {"items": [make_item(name="Crème brûlée 🍮 (no. 7)")]},
        {"items": [make_item(quantity=1)]},
        {"items": [make_item(quantity=999)]},
        {"items": [make_item(price=0)]},
        {"items": [make_item(price=Decimal("999999.99"))]},
        {"items": [make_item(price=1)]},
        {"items": [make_item(price=999)]},
        {"items": [make_item(notes=None)]},
        {"items": [make_item(notes="n" * 500)]},
        {"notes": "n" * 500},
        {"notes": "ring twice\nsecond floor"},
        {"order_type": "dine_in", "table_number": 1},
        {"order_type": "dine_in", "table_number": 9999},
        {"order_type": "delivery", "delivery_address": "a" * 5},
        {"order_type": "delivery", "delivery_address": "a" * 300},
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
        ("items", {"items": [make_item()] * 101}),
        ("items", {"items": None}),
        ("items", {"items": "pizza"}),
        ("items.0", {"items": ["pizza"]}),
        ("items.0.name", {"items": [make_item(name="")]}),
        ("items.0.name", {"items": [make_item(name=" ")]}),
        ("items.0.name", {"items": [make_item(name="N" * 121)]}),
        ("items.0.name", {"items": [make_item(name="So\nup")]}),
        ("items.0.name", {"items": [make_item(name="So\tup")]}),
        ("items.0.name", {"items": [make_item(name="So\x00up")]}),
        ("items.0.name", {"items": [make_item(name="So\x7fup")]}),
        ("items.0.name", {"items": [make_item(name="So\x85up")]}),
        ("items.0.quantity", {"items": [make_item(quantity=0)]}),
        ("items.0.quantity", {"items": [make_item(quantity=1000)]}),
        ("items.0.quantity", {"items": [make_item(quantity=-1)]}),
        ("items.0.quantity", {"items": [make_item(quantity=10**30)]}),
        ("items.0.quantity", {"items": [make_item(quantity=Decimal("1.0"))]}),
        ("items.0.quantity", {"items": [make_item(quantity=Decimal("1.5"))]}),
        ("items.0.quantity", {"items": [make_item(quantity=True)]}),
        ("items.0.quantity", {"items": [make_item(quantity="1")]}),
        ("items.0.quantity", {"items": [make_item(quantity=None)]}),
        ("items.0.price", {"items": [make_item(price=Decimal("-0.01"))]}),
        ("items.0.price", {"items": [make_item(price=Decimal("0.009"))]}),
        ("items.0.price", {"items": [make_item(price=Decimal("999999.991"))]}),
        ("items.0.price", {"items": [make_item(price=1_000_000)]}),
        ("items.0.price", {"items": [make_item(price=-1)]}),
        ("items.0.price", {"items": [make_item(price=Decimal("1.005"))]}),
        ("items.0.price", {"items": [make_item(price=Decimal("0.010000000000000000001"))]}),
        ("items.0.price", {"items": [make_item(price=Decimal("Infinity"))]}),
        ("items.0.price", {"items": [make_item(price=True)]}),
        ("items.0.price", {"items": [make_item(price="9.50")]}),
        ("items.0.price", {"items": [make_item(price=None)]}),
        ("items.0.notes", {"items": [make_item(notes="n" * 501)]}),
        ("notes", {"notes": "n" * 501}),
        ("notes", {"notes": "a\x00b"}),
        ("table_number", {"order_type": "dine_in"}),
        ("table_number", {"order_type": "dine_in", "table_number": 0}),
        ("table_number", {"order_type": "dine_in", "table_number": 10_000}),
        ("table_number", {"order_type": "dine_in", "table_number": True}),
        ("table_number", {"order_type": "dine_in", "table_number": "5"}),
        ("table_number", {"order_type": "dine_in", "table_number": Decimal("5.0")}),
        ("table_number", {"order_type": "takeout", "table_number": 5}),
        (
            "table_number",
            {"order_type": "delivery", "delivery_address": ADDRESS, "table_number": 5},
        ),
        ("delivery_address", {"order_type": "delivery"}),
        ("delivery_address", {"order_type": "delivery", "delivery_address": "a" * 4}),
        ("delivery_address", {"order_type": "delivery", "delivery_address": "a" * 301}),
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
        delivery_address=f"\n{'a' * 300} ",
        items=[make_item(name=f" {'N' * 120} ", notes=" no onions ")],
        notes=f" {'n' * 500} ",
    )

    assert order.customer_name == "a" * 100
    assert order.delivery_address == "a" * 300
    assert order.items[0].name == "N" * 120
    assert order.items[0].notes == "no onions"
    assert order.notes == "n" * 500
    assert invalid_fields(order_type="delivery", delivery_address=f"{'a' * 4}     ") == [
        "delivery_address"
    ]


def test_all_invalid_fields_are_reported() -> None:
    """Rules across fields are reported together with rules for one field."""
    found = invalid_fields(
        customer_name="!",
        order_type="dine_in",
        items=[make_item(quantity=0, price=-1), make_item(), make_item(name="", notes="n" * 501)],
        delivery_address=ADDRESS,
        notes="n" * 501,
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


def make_chain(levels: int) -> dict[str, object]:
    """Make a modifier with modifiers in it, down to a depth."""
    return {"name": "More", "modifiers": [make_chain(levels - 1)] if levels > 1 else []}


@pytest.mark.parametrize(
    "changes",
    [
        {"order_type": "dine_in", "table": "Terrace 3"},
        {"order_type": "dine_in", "table_number": 7, "table": "A12", "handoff": "table"},
        {"order_type": "dine_in", "handoff": "counter"},
        {"order_type": "dine_in", "table_number": 1, "customer_name": None},
        {"customer_name": "", "reference": "84H9B"},
        {"handoff": "curbside"},
        {"handoff": "drive_through"},
        {"order_type": "delivery", "handoff": "courier"},
        {"order_type": "delivery", "handoff": "courier", "delivery_address": "1 Hoy St"},
        {"order_type": "delivery", "handoff": "own_delivery", "delivery_address": "1 Hoy St"},
        {"delivery_address": ""},
        {"delivery_address": "  ", "table_number": None, "table": ""},
        {"allergy_note": "", "reference": "", "phone": "", "channel": "", "external_id": ""},
        {"charges": None, "items": [make_item(modifiers=None, guest="", sku="")]},
        {"charges": [{"name": "Fee", "amount": 1}] * 20},
        {"amount_due": 0},
        {"channel": "a.b_c-9", "external_id": "e" * 128},
        {"ready_at": "2024-12-16T19:30:00.5+01:00"},
        {"ready_at": (utc_now() + timedelta(days=29)).isoformat()},
        {
            "items": [
                make_item(
                    modifiers=[make_chain(4)] * 12 + [make_chain(2)], guest="g" * 50, course=9
                )
            ]
        },
        {"items": [make_item(modifiers=[{"name": "Less", "price": -9}])]},
    ],
)
def test_order_as_the_trade_sends_it_is_accepted(changes: dict[str, object]) -> None:
    assert invalid_fields(**changes) == []


@pytest.mark.parametrize(
    ("fields", "changes"),
    [
        (["customer_name"], {"customer_name": "  "}),
        (["customer_name"], {"customer_name": None, "reference": " "}),
        (["customer_name", "order_type"], {"customer_name": None, "order_type": "boat"}),
        (["table_number"], {"order_type": "dine_in", "handoff": "curbside"}),
        (["table_number", "table"], {"table_number": 5, "table": "A12"}),
        (["delivery_address"], {"order_type": "delivery", "handoff": "own_delivery"}),
        (["delivery_address"], {"order_type": "delivery", "delivery_address": "   "}),
        (["handoff"], {"order_type": "delivery", "handoff": "drone"}),
        (["external_id"], {"channel": "uber"}),
        (["channel"], {"external_id": "1", "channel": ""}),
        (["channel"], {"external_id": "1", "channel": "Uber"}),
        (["ready_at"], {"ready_at": "2024-12-16T19:30:00"}),
        (["ready_at"], {"ready_at": "2024-13-16T19:30:00Z"}),
        (["ready_at"], {"ready_at": 1734345000}),
        (["items", "ready_at"], {"items": [], "ready_at": "2024-12-16T19:30:00Z"}),
        (["table_number", "ready_at"], {"table_number": 5, "ready_at": "2024-12-16T19:30:00Z"}),
        (["ready_at"], {"ready_at": (utc_now() + timedelta(days=31)).isoformat()}),
        (["charges.1.amount"], {"charges": [{"name": "Fee", "amount": 1}, {"name": "Fee"}]}),
        (["items.0.modifiers"], {"items": [make_item(modifiers=[make_chain(1)] * 51)]}),
        (["items.0.modifiers"], {"items": [make_item(modifiers=[make_chain(3)] * 17)]}),
        (
            [f"items.0.modifiers{'.0.modifiers' * 4}"],
            {"items": [make_item(modifiers=[make_chain(9)])]},
        ),
        (
            ["items.0.modifiers.1.price", f"items.0.modifiers{'.0.modifiers' * 4}", "phone"],
            {
                "items": [make_item(modifiers=[make_chain(5), {"name": "a", "price": "1"}])],
                "phone": 1,
            },
        ),
        (
            ["items.1.modifiers.0.price", "items.1.modifiers.0.modifiers.0.kind"],
            {
                "items": [
                    make_item(),
                    make_item(
                        modifiers=[
                            {"name": "a", "price": "1", "modifiers": [{"name": "b", "kind": "x"}]}
                        ]
                    ),
                ]
            },
        ),
        (
            ["items.0.modifiers"],
            {"items": [make_item(modifiers=[{"name": "a", "price": 999_999, "quantity": 2}])]},
        ),
    ],
)
def test_fields_that_do_not_fit_are_refused_by_their_paths(
    fields: list[str], changes: dict[str, object]
) -> None:
    assert invalid_fields(**changes) == fields


def test_modifiers_count_for_each_piece_and_charges_for_the_order() -> None:
    """The priority follows from the items, the total is never below zero."""
    inner = {"name": "Ketchup", "price": Decimal("0.30"), "quantity": 2}
    outer = {"name": "Fries", "price": Decimal("1.50"), "quantity": 3, "modifiers": [inner]}
    item = make_item(quantity=10, modifiers=[outer, {"name": "Cheese", "price": -1}])

    free = make_item(price=Decimal(0))
    order = make_order(items=[item], charges=[{"name": "Voucher", "amount": -100}])
    refunded = make_order(items=[item], charges=[{"name": "Voucher", "amount": -1000}])

    assert (order.items_total, order.total_amount) == (Decimal("148.00"), Decimal("48.00"))
    assert DEFAULT_THRESHOLDS.priority_of(order.items_total) == 10
    assert str(refunded.total_amount) == str(make_order(items=[free]).total_amount) == "0.00"


def test_time_is_stored_in_utc_to_the_millisecond() -> None:
    order = make_order(ready_at="2024-12-16t19:30:00.1239+01:00")

    assert order.ready_at == datetime(2024, 12, 16, 18, 30, 0, 123_000, UTC)
