from typing import Annotated

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from restaurant_system.error_texts import ErrorText
from restaurant_system.models.customer_name import ALLOWED
from restaurant_system.models.order import NewOrder
from restaurant_system.web.validation_errors import FieldError, field_errors
from tests.support.orders import make_item, make_order_fields


class Dish(BaseModel):
    """A pydantic model with one rule of each kind."""

    model_config = ConfigDict(strict=True)

    name: str = Field(min_length=2, max_length=5)
    spices: list[Annotated[int, Field(ge=1, le=9)]] = Field(default=[1], min_length=1, max_length=3)


def errors_of(model: type[BaseModel], value: object, *, skip: int = 0) -> list[FieldError]:
    """Return the errors of an invalid value."""
    with pytest.raises(ValidationError) as refusal:
        model.model_validate(value)
    return field_errors(refusal.value.errors(), skip=skip)


def message(**changes: object) -> str:
    """Return the only validation message for an invalid order."""
    (error,) = errors_of(NewOrder, make_order_fields(**changes))
    return error.message


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"tip": 5}, "is not a field that is known here"),
        ({"customer_name": 5}, "must be a string"),
        (
            {"customer_name": ""},
            "is required, except for dine_in or with a reference",
        ),
        ({"customer_name": "a" * 101}, "must have at most 100 characters"),
        (
            {"customer_name": "Ada!"},
            f'must not contain "!" (U+0021); {ALLOWED}',
        ),
        ({"order_type": "drive_in"}, "must be 'dine_in', 'takeout' or 'delivery'"),
        ({"items": 5}, "must be a list"),
        ({"items": []}, "must have at least one entry"),
        ({"items": [make_item()] * 101}, "must have at most 100 entries"),
        ({"items": [5]}, "must be an object"),
        ({"items": [make_item(quantity="1")]}, "must be a whole number"),
        ({"items": [make_item(quantity=0)]}, "must be at least 1"),
        ({"items": [make_item(quantity=1000)]}, "must be at most 999"),
        ({"items": [make_item(price="1")]}, "must be a number"),
        ({"items": [make_item(price=1_000_000)]}, "must be from 0 to 999999.99"),
        ({"items": [make_item(name="a\x00")]}, "must not contain the character U+0000 here"),
        (
            {"notes": "a\u202eb"},
            "must not contain the character U+202E (RIGHT-TO-LEFT OVERRIDE) here",
        ),
        (
            {"items": [make_item(modifiers=[{"name": "a", "modifiers": [{"name": "b"}] * 50}])]},
            "must have at most 50 modifiers, on all levels together",
        ),
        (
            {"items": [make_item(modifiers=[{"name": "a"}] * 51)], "reference": None, "table": ""},
            "must have at most 50 modifiers, on all levels together",
        ),
        ({"table_number": 5}, "is only for dine_in, not for takeout"),
        (
            {"order_type": "dine_in"},
            "is required for dine_in, unless table is sent or handoff is counter",
        ),
        (
            {"order_type": "delivery", "delivery_address": "1 St"},
            "must have at least 5 characters",
        ),
    ],
)
def test_message_says_what_the_value_must_be(changes: dict[str, object], expected: str) -> None:
    assert message(**changes) == expected


def test_missing_field_is_required() -> None:
    assert errors_of(Dish, {}) == [FieldError("name", ErrorText("is required"))]


def test_path_of_a_list_entry_has_its_index() -> None:
    found = errors_of(Dish, {"name": "x" * 6, "spices": [1, 10]})

    assert [error.field for error in found] == ["name", "spices.1"]


def test_first_parts_of_a_path_can_be_skipped() -> None:
    (error,) = errors_of(Dish, {"name": "Soup", "spices": [10]}, skip=1)

    assert error.field == "0"


def test_error_without_a_path_belongs_to_the_body() -> None:
    assert errors_of(Dish, []) == [FieldError("body", ErrorText("must be an object"))]


def test_list_with_invalid_entries_is_not_reported_as_too_short() -> None:
    errors = errors_of(Dish, {"name": "Soup", "spices": [0]})

    assert [error.field for error in errors] == ["spices.0"]


def test_short_list_is_reported_next_to_other_errors() -> None:
    found = errors_of(Dish, {"name": "", "spices": []})

    assert [error.field for error in found] == ["name", "spices"]


def test_error_of_another_type_keeps_pydantics_message() -> None:
    error = {"type": "url_parsing", "loc": ("site",), "msg": "Input should be a valid URL"}

    assert field_errors([error]) == [FieldError("site", ErrorText("Input should be a valid URL"))]
