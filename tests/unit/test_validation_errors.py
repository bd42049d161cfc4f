from typing import Annotated

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from restaurant_system.models.order import NewOrder
from restaurant_system.web.validation_errors import FieldError, field_errors
from tests.support.orders import make_item, make_order_fields


class Dish(BaseModel):
    """Something to break the rules of."""

    model_config = ConfigDict(strict=True)

    name: str = Field(min_length=2, max_length=5)
    spices: list[Annotated[int, Field(ge=1, le=9)]] = Field(default=[1], min_length=1, max_length=3)


def faults(model: type[BaseModel], stated: object, *, skip: int = 0) -> list[FieldError]:
    """State something that breaks the model's rules."""
    with pytest.raises(ValidationError) as refusal:
        model.model_validate(stated)
    return field_errors(refusal.value.errors(), skip=skip)


def message(**changes: object) -> str:
    """Return what is said about an order with one fault."""
    (fault,) = faults(NewOrder, make_order_fields(**changes))
    return fault.message


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"tip": 5}, "is not a field that is known here"),
        ({"customer_name": 5}, "must be a string"),
        ({"customer_name": ""}, "must have at least one character"),
        ({"customer_name": "a" * 101}, "must have at most 100 characters"),
        (
            {"customer_name": "Ada!"},
            "may contain only letters, digits, spaces, hyphens and apostrophes",
        ),
        ({"order_type": "drive_in"}, "must be 'dine_in', 'takeout' or 'delivery'"),
        ({"items": 5}, "must be a list"),
        ({"items": []}, "must have at least one entry"),
        ({"items": [make_item()] * 21}, "must have at most 20 entries"),
        ({"items": [5]}, "must be an object"),
        ({"items": [make_item(quantity="1")]}, "must be a whole number"),
        ({"items": [make_item(quantity=0)]}, "must be at least 1"),
        ({"items": [make_item(quantity=11)]}, "must be at most 10"),
        ({"items": [make_item(price="1")]}, "must be a number"),
        ({"items": [make_item(price=1000)]}, "must be from 0.01 to 999.99"),
        ({"items": [make_item(name="a\x00")]}, "must not contain the character U+0000 here"),
        ({"table_number": 5}, "is only for dine_in, not for takeout"),
        ({"order_type": "dine_in"}, "is required for dine_in"),
        (
            {"order_type": "delivery", "delivery_address": "short"},
            "must have at least 10 characters",
        ),
    ],
)
def test_sentences(changes: dict[str, object], sentence: str) -> None:
    """Each broken rule is put into words for whoever wrote the request."""
    assert message(**changes) == sentence


def test_missing() -> None:
    """A field that is missing is said to be required."""
    assert faults(Dish, {}) == [FieldError("name", "is required")]


def test_paths() -> None:
    """A field is named by its path, places in a list counted from 0."""
    found = faults(Dish, {"name": "x" * 6, "spices": [1, 10]})

    assert [fault.field for fault in found] == ["name", "spices.1"]


def test_skip() -> None:
    """The parts of a path that the requester did not write are left out."""
    (fault,) = faults(Dish, {"name": "Soup", "spices": [10]}, skip=1)

    assert fault.field == "0"


def test_the_whole() -> None:
    """A fault of no field in particular is the body's."""
    assert faults(Dish, []) == [FieldError("body", "must be an object")]


def test_a_list_of_faulty_entries() -> None:
    """A list whose entries are faulty is not called too short as well."""
    assert [fault.field for fault in faults(Dish, {"name": "Soup", "spices": [0]})] == ["spices.0"]


def test_a_short_list() -> None:
    """A list that is too short is called so, whatever else is wrong elsewhere."""
    found = faults(Dish, {"name": "", "spices": []})

    assert [fault.field for fault in found] == ["name", "spices"]


def test_an_error_without_words_of_ours() -> None:
    """An error that we have no sentence for keeps pydantic's."""
    error = {"type": "url_parsing", "loc": ("site",), "msg": "Input should be a valid URL"}

    assert field_errors([error]) == [FieldError("site", "Input should be a valid URL")]
