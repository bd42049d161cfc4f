"""Which orders the board for customers shows."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from restaurant_system.error_texts import ErrorText
from restaurant_system.models.order import Handoff, OrderType

OWN_PICKUP = (Handoff.COUNTER, Handoff.CURBSIDE, Handoff.DRIVE_THROUGH)


class UnknownOrderTypes(ValueError):
    """Texts that are no order types."""

    def __init__(self, unknown: Sequence[str]) -> None:
        self.unknown = unknown
        known, wrong = ", ".join(OrderType), ", ".join(unknown)
        message = f"must be some of {known}, not {wrong}"
        self.fault = ErrorText(message, "order_types_unknown", expected=known, unknown=wrong)
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class BoardSelection:
    """The orders of these types, and those of the other types with one of these handoffs.

    By default the orders that customers fetch themselves.
    """

    order_types: tuple[OrderType, ...] = (OrderType.TAKEOUT,)
    handoffs: tuple[Handoff, ...] = OWN_PICKUP

    @classmethod
    def of(cls, order_types: str | None) -> Self:
        """Return the selection of these types, separated by commas; of none, the default.

        Raises `UnknownOrderTypes`.
        """
        wanted = [each.strip() for each in (order_types or "").split(",") if each.strip()]
        if unknown := [each for each in wanted if each not in list(OrderType)]:
            raise UnknownOrderTypes(unknown)
        if not wanted:
            return cls()
        return cls(tuple(each for each in OrderType if each in wanted), ())

    def __str__(self) -> str:
        """Return the text of which this is the selection; empty for the default."""
        return "" if self.handoffs else ",".join(self.order_types)
