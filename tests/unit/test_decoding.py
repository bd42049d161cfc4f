"""Whatever comes over the wire is a message or is refused; nothing else may come of it."""

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
BOUND = 1.0  # s of the processor's time, for any message
PLACE = "the place of the token"

A_TICKET = json.loads(OrderReceived.from_order(make_order(), NUMBER).encode())
AN_UPDATE = {
    "order_number": NUMBER,
    "old_status": "received",
    "new_status": "cooking",
    "changed_by": "chef_mario",
    "timestamp": "2024-12-16T12:00:00Z",
    "estimated_completion": "2024-12-16T12:00:10Z",
}
SOUND: dict[type[MessageBody], dict[str, Any]] = {OrderReceived: A_TICKET, StatusChanged: AN_UPDATE}

kinds: st.SearchStrategy[type[MessageBody]] = st.sampled_from([OrderReceived, StatusChanged])
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)
sound_values = st.sampled_from(
    [value for body in (*SOUND.values(), A_TICKET["items"][0]) for value in body.values()]
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
tokens = numbers | oddities | (json_values | sound_values).map(json.dumps)


@st.composite
def with_a_token(draw: st.DrawFn, kind: type[MessageBody]) -> bytes:
    """Write a sound message with another value, or another text, in one place."""
    body = json.loads(json.dumps(SOUND[kind]))
    part = draw(st.sampled_from([body, *body.get("items", [])]))
    part[draw(st.sampled_from([*part, "unheard_of"]))] = PLACE
    return json.dumps(body).replace(json.dumps(PLACE), draw(tokens)).encode()


@st.composite
def with_a_gap(draw: st.DrawFn, kind: type[MessageBody]) -> bytes:
    """Write a sound message in which some bytes are missing, and others stand there."""
    body = json.dumps(SOUND[kind]).encode()
    start = draw(st.integers(0, len(body)))
    return body[:start] + draw(st.binary(max_size=3)) + body[start + draw(st.integers(0, 3)) :]


damaged = kinds.flatmap(
    lambda kind: st.tuples(st.just(kind), with_a_token(kind) | with_a_gap(kind))
)


def assert_read_or_refused(body: bytes, kind: type[MessageBody]) -> None:
    """Hold the decoder to its promise: what it reads, it writes and reads again as the same."""
    start = time.process_time()
    try:
        read = decode(messages.make_order_message(body=body), kind)
    except Undecodable as refusal:
        str(refusal).encode()  # the reason travels on with the message
    else:
        assert decode(messages.make_order_message(body=read.encode()), kind) == read
    assert time.process_time() - start < BOUND


def in_place_of(field: str, token: str) -> bytes:
    """Write an order's message with another text in this place."""
    return json.dumps(A_TICKET | {field: PLACE}).replace(json.dumps(PLACE), token).encode()


@given(st.binary(), kinds)
def test_any_bytes(body: bytes, kind: type[MessageBody]) -> None:
    """Bytes are refused, or are a message that can be passed on."""
    assert_read_or_refused(body, kind)


@given(json_values, kinds)
def test_any_json(stated: object, kind: type[MessageBody]) -> None:
    """So is any JSON."""
    assert_read_or_refused(json.dumps(stated).encode(), kind)


@given(damaged)
@example((OrderReceived, in_place_of("table_number", "1E+1000000")))
@example((OrderReceived, in_place_of("total_amount", "1e400")))
@example((OrderReceived, in_place_of("total_amount", "123456789012345678.12")))
def test_any_damage(letter: tuple[type[MessageBody], bytes]) -> None:
    """So is a message that was sound, until something in it was changed."""
    kind, body = letter

    assert_read_or_refused(body, kind)


@pytest.mark.parametrize(
    ("field", "token"),
    [
        ("table_number", "0"),
        ("table_number", "101"),
        ("table_number", "4.0"),
        ("table_number", "true"),
        ("total_amount", "-0.01"),
        ("total_amount", "100000000"),
        ("total_amount", "9.505"),
    ],
)
def test_what_no_order_has(field: str, token: str) -> None:
    """A table that is none and an amount that no order can have are refused, by name."""
    message = messages.make_order_message(body=in_place_of(field, token))

    with pytest.raises(Undecodable, match=f"^{field}: "):
        decode(message, OrderReceived)
