"""The bodies of messages: how they are encoded, decoded and refused."""

import hashlib
import json
import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from restaurant_system.models.message import (
    JSON,
    Message,
    MessageBody,
    OrderReceived,
    StatusChanged,
    Undecodable,
    decode,
)
from restaurant_system.models.order import DEFAULT_THRESHOLDS, NewOrder
from restaurant_system.models.order_items import MAX_DEPTH, ModifierKind
from restaurant_system.models.status import OrderStatus
from restaurant_system.models.text import is_visible, refused_character
from restaurant_system.services.order.service import fingerprint
from tests.support import messages
from tests.support.orders import make_complete_orders, make_item, make_order, unset_fields

NUMBER = "ORD_20241216_001"
NOON = datetime(2024, 12, 16, 12, 0, tzinfo=UTC)
MOVE = {
    "order_number": NUMBER,
    "old_status": "received",
    "new_status": "cooking",
    "changed_by": "chef_mario",
    "timestamp": "2024-12-16T12:00:00Z",
    "estimated_completion": "2024-12-16T12:00:10Z",
}

texts = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=50).filter(
    lambda text: is_visible(text) and refused_character(text) is None
)
changes = st.integers(-99_999, 99_999).map(lambda cents: Decimal(cents) / 100)
modifiers: st.SearchStrategy[list[dict[str, Any]]] = st.recursive(
    st.builds(list),
    lambda inner: st.lists(
        st.fixed_dictionaries(
            {"name": texts},
            optional={"kind": st.sampled_from(ModifierKind), "price": changes, "modifiers": inner},
        ),
        max_size=2,
    ),
    max_leaves=4,
).filter(lambda value: len(str(value).split("modifiers")) <= MAX_DEPTH)
simple_items = st.fixed_dictionaries(
    {
        "name": texts,
        "quantity": st.integers(1, 999),
        "price": st.integers(0, 89_999_999).map(lambda cents: Decimal(cents) / 100),
        "notes": st.none() | texts,
    }
)
items = st.tuples(
    simple_items,
    st.fixed_dictionaries(
        {}, optional={"modifiers": modifiers, "guest": texts, "course": st.integers(1, 9)}
    ),
).map(lambda parts: parts[0] | parts[1])
simple_orders = st.builds(
    make_order, items=st.lists(simple_items, min_size=1, max_size=20), notes=st.none() | texts
)
orders = st.builds(
    make_order,
    items=st.lists(items, min_size=1, max_size=5),
    notes=st.none() | texts,
    reference=st.none() | texts,
    charges=st.lists(st.fixed_dictionaries({"name": texts, "amount": changes}), max_size=2),
)


def make_message(body: bytes, content_type: str = JSON) -> Message:
    """Return a message with this body."""
    return Message(
        exchange="orders_topic",
        routing_key="kitchen.takeout.1",
        type=OrderReceived.TYPE,
        body=body,
        message_id=UUID(int=1),
        correlation_id="request-1",
        app_id="order-service",
        timestamp=NOON,
        content_type=content_type,
    )


def refusal(kind: type[MessageBody], body: bytes, content_type: str = JSON) -> str:
    """Return why a message is not decoded as a `kind`."""
    with pytest.raises(Undecodable) as raised:
        decode(make_message(body, content_type), kind)
    return str(raised.value)


BASIL = {"name": "basil", "kind": "add", "quantity": 1, "price": 0, "modifiers": []}


@given(orders)
def test_decoded_order_equals_the_encoded_one(order: NewOrder) -> None:
    sent = OrderReceived.from_order(order, NUMBER)

    assert decode(make_message(sent.encode()), OrderReceived) == sent


@given(st.sampled_from(OrderStatus), st.sampled_from(OrderStatus), texts, st.none() | st.just(NOON))
def test_decoded_update_equals_the_encoded_one(
    old: OrderStatus, new: OrderStatus, by: str, estimate: datetime | None
) -> None:
    sent = StatusChanged(
        order_number=NUMBER,
        old_status=old,
        new_status=new,
        changed_by=by,
        timestamp=NOON,
        estimated_completion=estimate,
    )

    assert decode(make_message(sent.encode()), StatusChanged) == sent


@given(orders)
def test_both_encodings_of_an_order_are_equal(order: NewOrder) -> None:
    body = b'{"order_number":"ORD_20241216_001",' + encoded_without_number(order)

    assert body == OrderReceived.from_order(order, NUMBER).encode()


@given(simple_orders)
def test_fingerprint_of_an_order_without_optional_fields_is_that_of_earlier_releases(
    order: NewOrder,
) -> None:
    """A key that was used before an upgrade still belongs to its order."""
    before = hashlib.sha256(order.model_dump_json(exclude_defaults=True).encode()).digest()

    assert fingerprint(OrderReceived.encode_without_number(order, 1)) == before


@pytest.mark.parametrize(
    ("plain", "explicit"),
    [
        ({}, {"notes": " "}),
        ({"items": [make_item()]}, {"items": [make_item(notes="")]}),
        (
            {"items": [make_item(modifiers=[{"name": "basil"}])]},
            {"items": [make_item(modifiers=[BASIL])]},
        ),
    ],
)
def test_fingerprint_is_that_of_an_order_without_what_means_nothing(
    plain: dict[str, Any], explicit: dict[str, Any]
) -> None:
    first, second = (
        fingerprint(OrderReceived.encode_without_number(make_order(**each), 1))
        for each in (plain, explicit)
    )
    assert first == second


@given(orders)
def test_amounts_are_exact_json_numbers_with_at_most_two_decimals(order: NewOrder) -> None:
    body = OrderReceived.from_order(order, NUMBER).encode()

    written = json.loads(body, parse_float=str, parse_int=str)
    amounts = [written["total_amount"], *(item["price"] for item in written["items"])]

    assert all(re.fullmatch(r"[0-9]+(\.[0-9]{1,2})?", amount) for amount in amounts)
    assert [Decimal(amount) for amount in amounts] == [
        order.total_amount,
        *(item.price for item in order.items),
    ]


def test_order_has_the_documented_fields() -> None:
    """Fields of an order message without a value are null."""
    order = make_order(items=[make_item(name="Crème 🍮", price=Decimal("15.99"), quantity=2)])

    assert json.loads(OrderReceived.from_order(order, NUMBER).encode()) == {
        "order_number": NUMBER,
        "customer_name": "Ada Lovelace",
        "order_type": "takeout",
        "table_number": None,
        "delivery_address": None,
        "items": [{"name": "Crème 🍮", "quantity": 2, "price": 15.99, "notes": None}],
        "notes": None,
        "total_amount": 31.98,
        "priority": 1,
    }


def test_update_has_the_documented_fields() -> None:
    """The times of a status update end in Z."""
    update = StatusChanged(
        order_number=NUMBER,
        old_status=OrderStatus.RECEIVED,
        new_status=OrderStatus.COOKING,
        changed_by="chef_mario",
        timestamp=NOON,
        estimated_completion=NOON + timedelta(seconds=10),
    )

    assert json.loads(update.encode()) == MOVE


def test_unknown_field_is_ignored() -> None:
    """A newer sender may add fields."""
    body = json.dumps(MOVE | {"mood": "good"}).encode()

    assert decode(make_message(body), StatusChanged).changed_by == "chef_mario"


def test_time_in_another_zone_is_the_same_moment() -> None:
    body = json.dumps(MOVE | {"timestamp": "2024-12-16T07:00:00-05:00"}).encode()

    assert decode(make_message(body), StatusChanged).timestamp == NOON


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"cook this",
        b'{"order_number": ',
        b"\xff\xfe",
        b"\xef\xbb\xbf{}",
        b"{} {}",
        b"[" * 10_000,
        b'{"total_amount": NaN}',
        b'{"total_amount": Infinity}',
        b'{"total_amount": 1e9999999999999999999}',
        b'{"customer_name": "\\ud800"}',
    ],
)
def test_body_that_is_not_json_is_refused(body: bytes) -> None:
    assert refusal(OrderReceived, body).startswith("not JSON: ")


@pytest.mark.parametrize("content_type", ["text/plain", "", "application/xml"])
def test_other_content_type_is_refused_without_quoting_it(content_type: str) -> None:
    body = OrderReceived.from_order(make_order(), NUMBER).encode()

    said = refusal(OrderReceived, body, content_type)

    assert said == "the content type is not application/json"


@pytest.mark.parametrize(
    ("place", "changes"),
    [
        ("order_number", {"order_number": "ORD_1"}),
        ("order_number", {"order_number": f"{NUMBER}\n"}),
        ("order_number", {"order_number": None}),
        ("customer_name", {"customer_name": 5}),
        ("order_type", {"order_type": "drive_in"}),
        ("items", {"items": []}),
        ("items", {"items": "pizza"}),
        ("items.0", {"items": ["pizza"]}),
        ("items.0.name", {"items": [{"name": "", "quantity": 1, "price": 1}]}),
        ("items.0.quantity", {"items": [{"name": "Soup", "quantity": 0, "price": 1}]}),
        ("items.0.quantity", {"items": [{"name": "Soup", "quantity": 1.5, "price": 1}]}),
        ("items.0.price", {"items": [{"name": "Soup", "quantity": 1}]}),
        ("items.1", {"items": [{"name": "Soup", "quantity": 1, "price": 1}, "pizza"]}),
        ("total_amount", {"total_amount": "much"}),
        ("priority", {"priority": 0}),
        ("priority", {"priority": 11}),
    ],
)
def test_order_that_breaks_the_schema_is_refused_with_its_field(
    place: str, changes: dict[str, object]
) -> None:
    sound = json.loads(OrderReceived.from_order(make_order(), NUMBER).encode())

    assert refusal(OrderReceived, json.dumps(sound | changes).encode()).startswith(f"{place}: ")


@pytest.mark.parametrize("place", ["items", "charges", "modifiers", "modifiers of a modifier"])
def test_long_sequence_is_validated_up_to_its_first_error(place: str) -> None:
    """All errors of a message of some megabytes would take gigabytes, and kill the worker."""
    wrong: list[object] = [{}] * 1000
    modifier = {"name": "Cheese", "modifiers": wrong}
    item = {"name": "Soup", "quantity": 1, "price": 1}
    messages_with: dict[str, dict[str, object]] = {
        "items": {"items": wrong},
        "charges": {"charges": wrong},
        "modifiers": {"items": [{**item, "modifiers": wrong}]},
        "modifiers of a modifier": {"items": [{**item, "modifiers": [modifier]}]},
    }

    with pytest.raises(ValidationError) as raised:
        OrderReceived.model_validate(messages_with[place])

    assert raised.value.error_count() < 10


@pytest.mark.parametrize(
    ("place", "changes"),
    [
        ("order_number", {"order_number": "ORD_20241216_01"}),
        ("old_status", {"old_status": "burnt"}),
        ("new_status", {"new_status": None}),
        ("changed_by", {"changed_by": None}),
        ("timestamp", {"timestamp": "yesterday"}),
        ("timestamp", {"timestamp": "2024-12-16T12:00:00"}),
        ("estimated_completion", {"estimated_completion": "soon"}),
    ],
)
def test_update_that_breaks_the_schema_is_refused_with_its_field(
    place: str, changes: dict[str, object]
) -> None:
    body = json.dumps(MOVE | changes).encode()

    assert refusal(StatusChanged, body).startswith(f"{place}: ")


@pytest.mark.parametrize("body", [b"null", b"[]", b"5", b'"order"'])
def test_json_that_is_not_an_object_is_refused(body: bytes) -> None:
    assert refusal(OrderReceived, body).startswith("body: ")


def test_refusal_quotes_nothing_of_the_body() -> None:
    """The refusal of a message is logged, and logs must not contain personal data."""
    sound = json.loads(OrderReceived.from_order(make_order(), NUMBER).encode())
    body = json.dumps(sound | {"customer_name": ["Ada"], "delivery_address": {"to": "Ada"}})

    assert "Ada" not in refusal(OrderReceived, body.encode())


def test_order_accepted_before_control_characters_were_refused_is_decoded() -> None:
    """An order that an earlier release accepted may still be in a queue."""
    sound = json.loads(OrderReceived.from_order(make_order(), NUMBER).encode())
    odd = "\u202eno nuts\u009b\u2028"
    texts = {"notes": odd, "customer_name": odd, "items": [{**sound["items"][0], "name": odd}]}

    order = decode(
        messages.make_order_message(body=json.dumps(sound | texts).encode()), OrderReceived
    )

    assert (order.notes, order.items[0].name) == (odd, odd)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {
            "notes": 'ring "twice"\n\u00e9\u8336\U0001f468 \u3000 \\',
            "customer_name": "Zo\u00eb \u674e",
        },
        {"order_type": "dine_in", "table_number": 100},
        {"order_type": "delivery", "delivery_address": "12 Analytical Row"},
        {"items": [make_item(price=Decimal("999.99"), quantity=10, notes="none")] * 20},
        {"items": [make_item(price=Decimal(price)) for price in ("0.01", "0.10", "7", "19.90")]},
    ],
)
def test_body_encoded_without_number_matches_the_model(changes: dict[str, Any]) -> None:
    order = make_order(**changes)

    body = b'{"order_number":"ORD_20241216_1000",' + encoded_without_number(order)

    assert body == OrderReceived.from_order(order, "ORD_20241216_1000").encode()


def test_complete_orders_set_every_field_of_an_order() -> None:
    """A new field belongs into `make_complete_orders`, so that its way to the kitchen is tested."""
    assert unset_fields(make_complete_orders()) == set()


def test_every_field_of_an_order_message_is_filled_from_the_order() -> None:
    bodies = [OrderReceived.from_order(order, NUMBER) for order in make_complete_orders()]

    assert unset_fields(bodies) == set()


def encoded_without_number(order: NewOrder) -> bytes:
    """Return the body of an order's message without its number."""
    priority = DEFAULT_THRESHOLDS.priority_of(order.items_total)
    return OrderReceived.encode_without_number(order, priority)


@pytest.mark.parametrize("order", make_complete_orders(), ids=lambda order: order.order_type)
def test_body_of_a_complete_order_encoded_without_number_matches_the_model(
    order: NewOrder,
) -> None:
    body = b'{"order_number":"ORD_20241216_001",' + encoded_without_number(order)

    assert body == OrderReceived.from_order(order, NUMBER).encode()
