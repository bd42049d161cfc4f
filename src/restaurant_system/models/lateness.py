"""How many orders are late."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Lateness:
    """How many of some orders are late; orders that were cancelled are not among them.

    An order is late from the age on that the configuration names for its type: for good if it was
    not ready before, for now if it is not ready yet.
    """

    orders: int = 0
    late: int = 0

    def __add__(self, other: "Lateness") -> "Lateness":
        return Lateness(self.orders + other.orders, self.late + other.late)

    @property
    def share(self) -> float | None:
        """The share that is late, from 0 to 1; of no orders there is none."""
        return self.late / self.orders if self.orders else None
