"""How much a refused body may cost, and how its faults are reported."""

import contextlib
import functools
import json
import time

import jiter
import pytest

from restaurant_system.models.order import Move, NewOrder
from restaurant_system.web.json_body import parse_json
from restaurant_system.web.problem import Refusal, response_for
from restaurant_system.web.validation_errors import MAX_FIELD_ERRORS, MAX_FIELD_LENGTH, FieldError
from tests.support.orders import make_item, make_order_fields

write = functools.partial(json.dumps, default=float)
LARGE = 256 * 1024  # bytes


def refusal_of(body: bytes) -> Refusal:
    """Have a body refused."""
    with pytest.raises(Refusal) as refused:
        parse_json(body, NewOrder)
    return refused.value


def unknown(number: int) -> dict[str, int]:
    """Return so many fields that no model has."""
    return {f"field_{n}": n for n in range(number)}


def test_more_faults_than_are_listed_are_counted() -> None:
    """The known fields' faults come first, whatever stands before them in the body."""
    stated = {**unknown(7000), **make_order_fields(customer_name="", order_type="boat")}

    refusal = refusal_of(write(stated).encode())

    assert len(refusal.errors) == MAX_FIELD_ERRORS
    assert [fault.field for fault in refusal.errors[:3]] == [
        "customer_name",
        "order_type",
        "field_0",
    ]
    assert "and 6952 more" in refusal.detail


def test_as_many_faults_as_may_be_listed_are_listed() -> None:
    """And no others are mentioned."""
    stated = {**make_order_fields(), **unknown(MAX_FIELD_ERRORS)}

    refusal = refusal_of(write(stated).encode())

    assert len(refusal.errors) == MAX_FIELD_ERRORS
    assert refusal.detail == "The body breaks a rule."


def test_valid_entries_beyond_the_longest_list_are_one_fault() -> None:
    """Entries beyond the limit are not counted as faults of their own."""
    refusal = refusal_of(write(make_order_fields(items=[make_item()] * 5000)).encode())

    assert [fault.field for fault in refusal.errors] == ["items"]
    assert refusal.detail == "The body breaks a rule."


def test_long_names_are_cut() -> None:
    """Whether the field is unknown or comes twice."""
    name = "n" * 10_000

    for body in (
        write({**make_order_fields(), name: 1}).encode(),
        write(make_order_fields(items=[{**make_item(), name: 1}])).encode(),
        b'{"%b": 1, "%b": 2}' % (name.encode(), name.encode()),
    ):
        (fault,) = refusal_of(body).errors
        assert len(fault.field) == MAX_FIELD_LENGTH
        assert fault.field.endswith("n…")


def test_a_name_of_the_longest_length_is_not_cut() -> None:
    """Sixty-four characters are kept."""
    assert FieldError("n" * MAX_FIELD_LENGTH, "is required").field == "n" * MAX_FIELD_LENGTH


def test_a_large_valid_body_is_read_as_it_is() -> None:
    """Nothing is dropped from an order that keeps the rules."""
    items = [make_item(name=f"Dish {n}", notes="n" * 200) for n in range(20)]

    order = parse_json(write(make_order_fields(items=items)).encode(), NewOrder)

    assert [item.name for item in order.items] == [f"Dish {n}" for n in range(20)]


BODIES = {
    "unknown fields": write({**make_order_fields(), **unknown(13_000)}),
    "unknown fields of an item": write(
        make_order_fields(items=[{**make_item(), **unknown(13_000)}])
    ),
    "entries of no type": write(make_order_fields(items=[5] * 80_000)),
    "empty entries": write(make_order_fields(items=[{}] * 60_000)),
    "faulty entries": write(make_order_fields(items=[{"name": 1, "x": 1}] * 11_000)),
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
    "no JSON": "[" + "1," * 100_000,
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
def test_a_refused_body_costs_little_and_gets_a_short_response(body: str) -> None:
    """About as little as parsing it; measured on the fastest of several times."""
    stated = body.encode()

    seconds = min(_seconds_to_refuse(stated) for _ in range(5))
    parsing = min(_seconds_to_parse(stated) for _ in range(5))
    response = response_for(refusal_of(stated), "id")

    assert seconds < 4 * parsing + 0.005
    assert len(response.body) < 10_000


def test_other_models_are_bounded_likewise() -> None:
    """A cancellation, for example."""
    with pytest.raises(Refusal) as refused:
        parse_json(write(unknown(1000)).encode(), Move)

    assert len(refused.value.errors) == MAX_FIELD_ERRORS
    assert "and 950 more" in refused.value.detail


def _seconds_to_refuse(body: bytes) -> float:
    began = time.process_time()
    refusal_of(body)
    return time.process_time() - began


def _seconds_to_parse(body: bytes) -> float:
    began = time.process_time()
    with contextlib.suppress(ValueError):
        jiter.from_json(body, catch_duplicate_keys=True, float_mode="decimal")
    return time.process_time() - began
