"""Count down what people have limited on the menu, in the transaction that stores the orders."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from restaurant_system.database import menu_availability
from restaurant_system.database.connection import Connection
from restaurant_system.database.order_placement import PlaceOrder
from restaurant_system.models.menu_check import OrderFault, allot, moment_of
from restaurant_system.models.menu_offer import Limit


@dataclass(frozen=True, slots=True)
class MissingPortions:
    """The result for an order that wants more than is left.

    It is not `is_certain` if portions were reserved for an order that turned out to be stored
    already.
    """

    faults: Sequence[OrderFault]
    is_certain: bool = True


@dataclass(slots=True)
class Reservation:
    """Which orders have enough portions, and by `id` what they take and why others are refused."""

    accepted: list[PlaceOrder] = field(default_factory=list)
    taken: dict[int, Counter[str]] = field(default_factory=dict)
    faults: dict[int, Sequence[OrderFault]] = field(default_factory=dict)

    def refusals(self, *, is_certain: bool) -> dict[int, MissingPortions]:
        """Return the results of the refused orders."""
        return {order: MissingPortions(faults, is_certain) for order, faults in self.faults.items()}


async def reserve(tx: Connection, commands: Sequence[PlaceOrder], now: datetime) -> Reservation:
    """Reserve portions for orders, first come, first served.

    What is limited stays locked until the end of the transaction, in which `sell` must follow. This
    must be done before any other row is locked, so that two transactions cannot deadlock.
    """
    keys = {
        key
        for each in commands
        for portions in each.portions
        for choice in portions.choices
        for key in choice.keys
    }
    left = await menu_availability.lock_limits(tx, list(keys))
    reservation = Reservation()
    for each in commands:
        taken, faults = allot(each.portions, left, moment_of(each.order, now))
        if faults:
            reservation.faults[id(each)] = faults
            continue
        reservation.accepted.append(each)
        reservation.taken[id(each)] = taken
        for key, quantity in taken.items():
            left[key] = Limit(left[key].remaining - quantity, left[key].until)
    return reservation


async def sell(tx: Connection, reservation: Reservation, placed: Iterable[PlaceOrder]) -> None:
    """Subtract the portions of orders that were stored from what is left."""
    sold = sum((reservation.taken[id(each)] for each in placed), Counter[str]())
    if sold:
        await menu_availability.sell(tx, sold)
