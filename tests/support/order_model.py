"""A model of orders in plain Python, to compare the system under test with."""

import json
from collections import Counter
from dataclasses import dataclass, field
from datetime import date, datetime

from restaurant_system.database import workers
from restaurant_system.database.connection import Database
from restaurant_system.models.message import StatusChanged
from restaurant_system.models.order import order_number
from restaurant_system.models.status import ORIGINS, OrderStatus
from restaurant_system.models.worker import WorkerStatus
from restaurant_system.worker.order_processor import Outcome
from tests.support.services import NOON

INTAKE = "order-service"
IS_COOKING = "is cooking"
NOT_IN_FLIGHT = "not in flight"

KEYS = "SELECT key, number FROM idempotency_keys JOIN orders ON orders.id = order_id"


@dataclass
class Entry:
    """An order with its status, its log and its published messages."""

    status: str
    updated_at: datetime
    processed_by: str | None = None
    completed_at: datetime | None = None
    log: list[tuple[str, str, datetime]] = field(default_factory=list)
    tickets: int = 0
    updates: list[tuple[str, str, str]] = field(default_factory=list)

    @property
    def is_closed(self) -> bool:
        """Return whether the order is completed or cancelled."""
        return self.status in ("completed", "cancelled")


@dataclass
class State:
    """The rows of the database that are compared."""

    orders: dict[str, Entry] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)
    last_numbers: dict[date, int] = field(default_factory=dict)
    cooked: Counter[str] = field(default_factory=Counter)
    online: set[str] = field(default_factory=set)


@dataclass
class OrderModel:
    """Performs each step on a `State`, and returns the expected answer."""

    now: datetime = NOON
    state: State = field(default_factory=State)
    used_for: dict[str, str] = field(default_factory=dict)
    in_flight: set[tuple[str, str]] = field(default_factory=set)

    def place(self, order_type: str, key: str | None) -> str:
        """Place an order, unless its key was used before."""
        if key is not None and key in self.state.keys:
            return (
                self.state.keys[key] if self.used_for[key] == order_type else "IdempotencyKeyReused"
            )
        today = self.now.date()
        place = self.state.last_numbers.get(today, 0) + 1
        number = order_number(today, place)
        self.state.last_numbers[today] = place
        self.state.orders[number] = Entry(
            "received", self.now, log=[("received", INTAKE, self.now)], tickets=1
        )
        if key is not None:
            self.state.keys[key], self.used_for[key] = number, order_type
        return number

    def cancel(self, number: str) -> str:
        """Cancel an order."""
        return self._request_move(number, OrderStatus.CANCELLED)

    def complete(self, number: str) -> str:
        """Complete an order."""
        return self._request_move(number, OrderStatus.COMPLETED)

    def deliver(self, cook: str, number: str) -> str:
        """Deliver the message of an order to a cook, for the first time or again."""
        if (cook, number) in self.in_flight:
            return Outcome.OTHER_WORKER.name
        if number not in self.state.orders:
            return "MessageRejected"
        order = self.state.orders[number]
        if order.status == "received":
            self._move(order, OrderStatus.COOKING, cook)
        elif order.status != "cooking":
            return Outcome.NOT_NEEDED.name
        elif order.processed_by != cook and order.processed_by in self.state.online:
            return Outcome.OTHER_WORKER.name
        order.processed_by, order.updated_at = cook, self.now
        self.in_flight.add((cook, number))
        return IS_COOKING

    def finish(self, cook: str, number: str) -> str:
        """End the cooking time of an order at a cook."""
        if (cook, number) not in self.in_flight:
            return NOT_IN_FLIGHT
        self.in_flight.remove((cook, number))
        order = self.state.orders[number]
        if (order.status, order.processed_by) != ("cooking", cook):
            return Outcome.NOT_NEEDED.name
        self._move(order, OrderStatus.READY, cook)
        order.completed_at = self.now
        self.state.cooked[cook] += 1
        return Outcome.COOKED.name

    def expire_lease(self, cook: str) -> None:
        """Expire the lease of a cook, which may still be cooking."""
        self.state.online.discard(cook)

    def crash(self, cook: str) -> None:
        """Remove all orders of a cook and mark it offline."""
        self.state.online.discard(cook)
        self.in_flight = {each for each in self.in_flight if each[0] != cook}

    def register(self, cook: str) -> bool:
        """Register a cook; return whether its name was free."""
        registered = cook not in self.state.online
        self.state.online.add(cook)
        return registered

    def _request_move(self, number: str, target: OrderStatus) -> str:
        if number not in self.state.orders:
            return "OrderNotFound"
        order = self.state.orders[number]
        if order.status not in ORIGINS[target]:
            return f"IllegalMove from {order.status}"
        self._move(order, target, INTAKE)
        if target is OrderStatus.CANCELLED:
            order.completed_at = None
        return target

    def _move(self, order: Entry, target: OrderStatus, by: str) -> None:
        order.updates.append((order.status, target, by))
        order.log.append((target, by, self.now))
        order.status, order.updated_at = target, self.now


async def stored_state(database: Database) -> State:
    """Read the state from the database."""
    state = State()
    async with database.transaction() as tx:
        for row in await tx.fetch("SELECT * FROM orders"):
            state.orders[row["number"]] = Entry(
                row["status"], row["updated_at"], row["processed_by"], row["completed_at"]
            )
        for row in await tx.fetch(
            "SELECT number, log.status, changed_by, changed_at"
            " FROM order_status_log AS log JOIN orders ON orders.id = order_id ORDER BY log.id"
        ):
            entry = (row["status"], row["changed_by"], row["changed_at"])
            state.orders[row["number"]].log.append(entry)
        for row in await tx.fetch("SELECT type, body FROM outbox ORDER BY id"):
            _add_message(state, row["type"], json.loads(row["body"]))
        for row in await tx.fetch(KEYS):
            state.keys[row["key"]] = row["number"]
        for row in await tx.fetch("SELECT business_date, last_number FROM order_counters"):
            state.last_numbers[row["business_date"]] = row["last_number"]
        for worker in await workers.list_recent(tx):
            state.cooked[worker.name] = worker.orders_processed
            if worker.status is WorkerStatus.ONLINE:
                state.online.add(worker.name)
    return state


def _add_message(state: State, kind: str, body: dict[str, str]) -> None:
    order = state.orders[body["order_number"]]
    if kind == StatusChanged.TYPE:
        order.updates.append((body["old_status"], body["new_status"], body["changed_by"]))
    else:
        order.tickets += 1
