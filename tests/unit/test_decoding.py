"""Random message bodies are decoded or refused, without any other error."""

import json
import time
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from restaurant_system.models.message import (
    MessageBody,
    OrderReceived,
    StatusChanged,
    Undecodable,
    decode,
)
from tests.support import messages
from tests.support.orders import make_order

NUMBER = "ORD_20241216_001"
MAX_CPU_TIME = 1.0  # s for any message
PLACEHOLDER = "placeholder of the token"

ORDER = json.loads(OrderReceived.from_order(make_order(), NUMBER).encode())
UPDATE = {
    "order_number": NUMBER,
    "old_status": "received",
    "new_status": "cooking",
    "changed_by": "chef_mario",
    "timestamp": "2024-12-16T12:00:00Z",
    "estimated_completion": "2024-12-16T12:00:10Z",
}
VALID: dict[type[MessageBody], dict[str, Any]] = {OrderReceived: ORDER, StatusChanged: UPDATE}

kinds: st.SearchStrategy[type[MessageBody]] = st.sampled_from([OrderReceived, StatusChanged])
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)
valid_values = st.sampled_from(
    [value for body in (*VALID.values(), ORDER["items"][0]) for value in body.values()]
)
numbers = st.from_regex(r"-?[0-9]{1,40}(\.[0-9]{1,40})?([eE][+-]?[0-9]{1,7})?", fullmatch=True)
oddities = st.sampled_from(
    [
        *("NaN", "-Infinity", "1E+999999999999999999999", "1E-1000000", "-0.0", "007", "tru", ""),
        *("9" * 4000, "9" * 5000, "0." + "9" * 5000, "1." + "0" * 40 + "1"),
        *(r'"\ud800"', r'"\udc00\ud800"', r'"\u0000"', '"\x00"', '"', '"\ufeff"'),
        *("[" * 150 + "]" * 150, "[" * 100_000, '{"":' * 100_000),
        *('"0001-01-01T00:00:00+23:59"', '"9999-12-31T23:59:59.999999-23:59"', "1e400"),
        '1, "order_number": 1',
    ]
)
tokens = numbers | oddities | (json_values | valid_values).map(json.dumps)


@st.composite
def with_token(draw: st.DrawFn, kind: type[MessageBody]) -> bytes:
    """Return a valid body with another value or token in one place."""
    body = json.loads(json.dumps(VALID[kind]))
    part = draw(st.sampled_from([body, *body.get("items", [])]))
    part[draw(st.sampled_from([*part, "unknown_field"]))] = PLACEHOLDER
    return json.dumps(body).replace(json.dumps(PLACEHOLDER), draw(tokens)).encode()


@st.composite
def with_gap(draw: st.DrawFn, kind: type[MessageBody]) -> bytes:
    """Return a valid body in which some bytes are replaced or missing."""
    body = json.dumps(VALID[kind]).encode()
    start = draw(st.integers(0, len(body)))
    return body[:start] + draw(st.binary(max_size=3)) + body[start + draw(st.integers(0, 3)) :]


damaged = kinds.flatmap(lambda kind: st.tuples(st.just(kind), with_token(kind) | with_gap(kind)))


def assert_decoded_or_refused(body: bytes, kind: type[MessageBody]) -> None:
    """Check that a decoded body is the same after encoding and decoding."""
    start = time.process_time()
    try:
        decoded = decode(messages.make_order_message(body=body), kind)
    except Undecodable as refusal:
        str(refusal).encode()  # the reason becomes a header
    else:
        assert decode(messages.make_order_message(body=decoded.encode()), kind) == decoded
    assert time.process_time() - start < MAX_CPU_TIME


def order_with(field: str, token: str) -> bytes:
    """Return the body of an order with another token as this field."""
    return json.dumps(ORDER | {field: PLACEHOLDER}).replace(json.dumps(PLACEHOLDER), token).encode()


@given(st.binary(), kinds)
def test_any_bytes_are_decoded_or_refused(body: bytes, kind: type[MessageBody]) -> None:
    assert_decoded_or_refused(body, kind)


@given(json_values, kinds)
def test_any_json_is_decoded_or_refused(value: object, kind: type[MessageBody]) -> None:
    assert_decoded_or_refused(json.dumps(value).encode(), kind)


@given(damaged)
@example((OrderReceived, order_with("table_number", "1E+1000000")))
@example((OrderReceived, order_with("total_amount", "1e400")))
@example((OrderReceived, order_with("total_amount", "123456789012345678.12")))
def test_any_damaged_body_is_decoded_or_refused(message: tuple[type[MessageBody], bytes]) -> None:
    kind, body = message

    assert_decoded_or_refused(body, kind)


@pytest.mark.parametrize(
    ("field", "token"),
    [
        ("table_number", "0"),
        ("table_number", "-1"),
        ("table_number", "4.0"),
        ("table_number", "true"),
        ("total_amount", "-0.01"),
        ("total_amount", "1000000000000"),
        ("total_amount", "9.50005"),
    ],
)
def test_value_out_of_range_is_refused_with_its_field(field: str, token: str) -> None:
    message = messages.make_order_message(body=order_with(field, token))

    with pytest.raises(Undecodable, match=f"^{field}: "):
        decode(message, OrderReceived)
