"""Invalid JSON bodies: which errors are reported, and how little refusing them costs."""

import contextlib
import functools
import json
import time

import jiter
import pytest

from restaurant_system.error_texts import ErrorText
from restaurant_system.models.order import Move, NewOrder
from restaurant_system.web.json_body import parse_json, read_any_json
from restaurant_system.web.problem import Refusal, response_for
from restaurant_system.web.validation_errors import MAX_FIELD_ERRORS, MAX_FIELD_LENGTH, FieldError
from tests.support.orders import make_item, make_order_fields

write = functools.partial(json.dumps, default=float)
MEDIA_TYPE = [(b"content-type", b"application/json")]
LARGE = 256 * 1024  # bytes


def refusal_of(body: bytes) -> Refusal:
    """Return the refusal of a body."""
    with pytest.raises(Refusal) as refused:
        parse_json(body, NewOrder)
    return refused.value


def unknown(number: int) -> dict[str, int]:
    """Return `count` fields that an order does not have."""
    return {f"field_{n}": n for n in range(number)}


def test_errors_above_the_limit_are_counted() -> None:
    """Errors of known fields are listed first, wherever the fields are in the body."""
    fields = {**unknown(7000), **make_order_fields(customer_name="!", order_type="boat")}

    refusal = refusal_of(write(fields).encode())

    assert len(refusal.errors) == MAX_FIELD_ERRORS
    assert [error.field for error in refusal.errors[:3]] == [
        "customer_name",
        "order_type",
        "field_0",
    ]
    assert "and 6952 more" in refusal.detail


def test_as_many_errors_as_the_limit_are_all_listed() -> None:
    fields = {**make_order_fields(), **unknown(MAX_FIELD_ERRORS)}

    refusal = refusal_of(write(fields).encode())

    assert len(refusal.errors) == MAX_FIELD_ERRORS
    assert refusal.detail == "The body breaks a rule."


def test_too_long_list_is_one_error() -> None:
    refusal = refusal_of(write(make_order_fields(items=[make_item()] * 5000)).encode())

    assert [error.field for error in refusal.errors] == ["items"]
    assert refusal.detail == "The body breaks a rule."


def test_long_names_of_unknown_and_duplicate_fields_are_truncated() -> None:
    name = "n" * 10_000

    for body in (
        write({**make_order_fields(), name: 1}).encode(),
        write(make_order_fields(items=[{**make_item(), name: 1}])).encode(),
        b'{"%b": 1, "%b": 2}' % (name.encode(), name.encode()),
    ):
        (error,) = refusal_of(body).errors
        assert len(error.field) == MAX_FIELD_LENGTH
        assert error.field.endswith("n…")


def test_name_of_the_maximum_length_is_not_truncated() -> None:
    longest = FieldError("n" * MAX_FIELD_LENGTH, ErrorText("is required"))
    assert longest.field == "n" * MAX_FIELD_LENGTH


def test_large_valid_body_is_not_trimmed() -> None:
    items = [make_item(name=f"Dish {n}", notes="n" * 200) for n in range(20)]

    order = parse_json(write(make_order_fields(items=items)).encode(), NewOrder)

    assert [item.name for item in order.items] == [f"Dish {n}" for n in range(20)]


BODIES = {
    "unknown fields": write({**make_order_fields(), **unknown(13_000)}),
    "unknown fields of an item": write(
        make_order_fields(items=[{**make_item(), **unknown(13_000)}])
    ),
    "entries of another type": write(make_order_fields(items=[5] * 80_000)),
    "empty entries": write(make_order_fields(items=[{}] * 60_000)),
    "invalid entries": write(make_order_fields(items=[{"name": 1, "x": 1}] * 11_000)),
    "lists in lists": write(make_order_fields(items=[[[5] * 300] * 250])),
    "items in items": write(
        make_order_fields(items=[{"items": [{"items": [{}] * 20}] * 20}] * 100)
    ),
    "unknown objects": write({**make_order_fields(), "x": [unknown(100)] * 150}),
    "deep lists": '{"items":' + "[" * 100_000 + "]" * 100_000 + "}",
    "deep objects": '{"items":' * 25_000 + "1" + "}" * 25_000,
    "a long name": write({"n" * LARGE: 1}),
    "a long number": '{"table_number":' + "1" * LARGE + "}",
    "a long fraction": '{"items":[{"price":1.' + "1" * (LARGE - 100) + "}]}",
    "exponents": '{"items":[' + ",".join(['{"price":1e999999}'] * 12_000) + "]}",
    "an exponent beyond bounds": '{"items":[{"price":1e999999999999999999999}]}',
    "invalid JSON": "[" + "1," * 100_000,
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
def test_refusing_a_body_costs_little_more_than_parsing_it(body: str) -> None:
    """A huge invalid body is refused about as fast as it is parsed; the response is short."""
    encoded = body.encode()

    seconds = min(_seconds_to_refuse(encoded) for _ in range(5))
    parsing = min(_seconds_to_parse(encoded) for _ in range(5))
    response = response_for(refusal_of(encoded), "id")

    assert seconds < 4 * parsing + 0.005
    assert len(response.body) < 10_000


def test_errors_of_any_model_are_limited() -> None:
    with pytest.raises(Refusal) as refused:
        parse_json(write(unknown(1000)).encode(), Move)

    assert len(refused.value.errors) == MAX_FIELD_ERRORS
    assert "and 950 more" in refused.value.detail


def _seconds_to_refuse(body: bytes) -> float:
    start = time.process_time()
    refusal_of(body)
    return time.process_time() - start


def _seconds_to_parse(body: bytes) -> float:
    start = time.process_time()
    with contextlib.suppress(ValueError):
        jiter.from_json(body, catch_duplicate_keys=True, float_mode="decimal")
    return time.process_time() - start


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (rb'{"a": "yum \ud83d"}', "yum "),
        (rb'{"a": "\uDE00 \ud83d\ud83d\ude00 \\ud83d"}', " \N{GRINNING FACE} \\ud83d"),
        (b'\xef\xbb\xbf{"a": "b"}', "b"),
        (b'{"a":\n"one\x00two\tthree\nfour"}', "one two three four"),
        (b'{"a": "Cr\xe8me br\xc3\xbbl\xe9e"}', "Cr\u00e8me br\u00fbl\u00e9e"),
        (rb'{"a": "\\", "b": "\"\ud83d"}', "\\"),
    ],
)
def test_text_that_no_json_may_contain_is_repaired(body: bytes, text: str) -> None:
    fields = read_any_json(MEDIA_TYPE, body)

    assert isinstance(fields, dict)
    assert fields["a"] == text


@pytest.mark.parametrize("body", [b'{"a": 1, "a": 2}', b"{", b'{"a": "b', b"\xff", b"[" * 500])
def test_json_whose_meaning_is_in_doubt_is_not_repaired(body: bytes) -> None:
    with pytest.raises(Refusal) as refused:
        read_any_json(MEDIA_TYPE, body)

    assert refused.value.status == 400
