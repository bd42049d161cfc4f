"""The items of an order with their modifiers: what is to be cooked, and what it costs."""

from collections.abc import Sequence
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any

from pydantic import (
    Field,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    field_validator,
)
from pydantic_core import InitErrorDetails

from restaurant_system.error_texts import ErrorText
from restaurant_system.models.fields import (
    EMPTY_IS_NONE,
    NULL_IS_EMPTY,
    Diner,
    ItemName,
    Notes,
    Sku,
    StrictModel,
    error_details,
    invalid_value,
    without_unset,
)
from restaurant_system.models.money import MAX_PRICE, ZERO, Price, PriceChange, json_number

MAX_MODIFIERS = 50  # of one item, on all levels together
MAX_DEPTH = 4  # levels of modifiers
MAX_QUANTITY = 999  # of an item
MAX_MODIFIER_QUANTITY = 99


class ModifierKind(StrEnum):
    """What a modifier does to its item."""

    ADD = "add"
    REMOVE = "remove"
    CHOICE = "choice"
    INSTRUCTION = "instruction"


Location = tuple[int | str, ...]


def _check_nesting(value: object, handler: ValidatorFunctionWrapHandler) -> object:
    """Report too many levels of modifiers together with what is wrong with each modifier.

    Too many modifiers are the only fault that is reported, because each of them takes time.
    """
    if not isinstance(value, list | tuple):
        return handler(value)
    too_deep: Location | None = None
    count = 0
    levels: list[tuple[Location, Sequence[object]]] = [((), value)]
    for location, modifiers in levels:
        count += len(modifiers)
        if count > MAX_MODIFIERS:
            message = f"must have at most {MAX_MODIFIERS} modifiers, on all levels together"
            raise invalid_value(ErrorText(message, "too_many_modifiers", max_length=MAX_MODIFIERS))
        if too_deep is None and modifiers and len(location) >= 2 * MAX_DEPTH:
            too_deep = location
        for position, each in enumerate(modifiers):
            inner = (
                each.get("modifiers")
                if isinstance(each, dict)
                else getattr(each, "modifiers", None)
            )
            if isinstance(inner, list | tuple):
                levels.append(((*location, position, "modifiers"), inner))
    if too_deep is None:
        return handler(value)
    errors: list[InitErrorDetails] = []
    try:
        handler(value)
    except ValidationError as error:
        errors = error_details(error)
    message = f"must not be nested deeper than {MAX_DEPTH} levels"
    fault = ErrorText(message, "modifiers_too_deep", levels=MAX_DEPTH)
    errors.append({"type": invalid_value(fault), "loc": too_deep, "input": None})
    raise ValidationError.from_exception_data("modifiers", errors)


class Modifier(StrictModel):
    """A change of an item, such as an extra, a choice or an ingredient that is left out."""

    name: ItemName
    kind: Annotated[ModifierKind, Field(strict=False)] = ModifierKind.ADD
    quantity: int = Field(default=1, ge=1, le=MAX_MODIFIER_QUANTITY)
    # Validated, so that a price of 0 is equal to none, also in the hash of an order.
    price: PriceChange = Field(
        default=ZERO, validate_default=True, json_schema_extra={"default": 0}
    )
    modifiers: Annotated[
        "tuple[Modifier, ...]",
        Field(max_length=MAX_MODIFIERS, strict=False),
        NULL_IS_EMPTY,
    ] = ()


class OrderItem(StrictModel):
    """An item of an order."""

    name: ItemName
    quantity: int = Field(ge=1, le=MAX_QUANTITY)
    price: Price
    notes: Annotated[Notes | None, EMPTY_IS_NONE] = None
    modifiers: Annotated[
        tuple[Modifier, ...],
        Field(max_length=MAX_MODIFIERS, strict=False),
        WrapValidator(_check_nesting),
        NULL_IS_EMPTY,
    ] = ()
    guest: Annotated[Diner | None, EMPTY_IS_NONE] = Field(
        default=None, description="Whose dish it is"
    )
    course: int | None = Field(default=None, ge=1, le=9)
    sku: Annotated[Sku | None, EMPTY_IS_NONE] = Field(
        default=None, description="The id of the item in the menu or on the platform"
    )

    @field_validator("modifiers")
    @classmethod
    def _check_price(
        cls, modifiers: tuple[Modifier, ...], info: ValidationInfo
    ) -> tuple[Modifier, ...]:
        """Keep the price of one piece within the bounds that keep the total exact."""
        price = info.data.get("price", ZERO) + modifiers_total(modifiers)
        if not -MAX_PRICE <= price <= MAX_PRICE:
            message = f"must with the price add up to at most {MAX_PRICE}"
            highest = json_number(MAX_PRICE)
            raise invalid_value(
                ErrorText(message, "price_with_modifiers_too_high", highest=highest)
            )
        return modifiers

    @property
    def has_optional_fields(self) -> bool:
        """Whether an optional field has a value."""
        return bool(self.modifiers or self.guest or self.course or self.sku)

    @property
    def optional_fields(self) -> dict[str, Any] | None:
        """The optional fields that were sent, as JSON; `None` if there are none."""
        if not self.has_optional_fields:
            return None
        fields = self.model_dump(mode="json", include=set(OPTIONAL_OF_ITEM))
        return without_unset(fields, OPTIONAL_OF_ITEM) or None


# Messages and responses contain these fields only if they were sent.
OPTIONAL_OF_ITEM = frozenset({"modifiers", "guest", "course", "sku"})


def modifiers_total(modifiers: Sequence[Modifier]) -> Decimal:
    """Return what modifiers add to the price of one piece."""
    return sum(
        ((each.price + modifiers_total(each.modifiers)) * each.quantity for each in modifiers),
        ZERO,
    )


def total(items: Sequence[OrderItem]) -> Decimal:
    """Return the total of order items: the sum of their prices with modifiers, times quantity."""
    amount = ZERO
    for item in items:
        price = item.price
        if item.modifiers:
            price += modifiers_total(item.modifiers)
        amount += price * item.quantity
    return amount
