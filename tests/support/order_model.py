"""The life of orders in plain Python: what the database has to show, whatever happens."""

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
ON_THE_STOVE = "on the stove"
NOTHING_IN_HAND = "nothing in hand"

KEYS = "SELECT key, number FROM idempotency_keys JOIN orders ON orders.id = order_id"


@dataclass
class Entry:
    """An order: where it stands, how it came there, and what was said about it."""

    status: str
    updated_at: datetime
    processed_by: str | None = None
    completed_at: datetime | None = None
    log: list[tuple[str, str, datetime]] = field(default_factory=list)
    tickets: int = 0
    updates: list[tuple[str, str, str]] = field(default_factory=list)

    @property
    def is_closed(self) -> bool:
        """Whether nothing can become of it any more."""
        return self.status in ("completed", "cancelled")


@dataclass
class State:
    """All that is kept."""

    orders: dict[str, Entry] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)
    last_numbers: dict[date, int] = field(default_factory=dict)
    cooked: Counter[str] = field(default_factory=Counter)
    present: set[str] = field(default_factory=set)


@dataclass
class OrderModel:
    """What each step does and answers, one step at a time."""

    now: datetime = NOON
    ledger: State = field(default_factory=State)
    used_for: dict[str, str] = field(default_factory=dict)
    in_hand: set[tuple[str, str]] = field(default_factory=set)

    def place(self, order_type: str, key: str | None) -> str:
        """Take an order, unless its key was used before."""
        if key is not None and key in self.ledger.keys:
            return (
                self.ledger.keys[key]
                if self.used_for[key] == order_type
                else "IdempotencyKeyReused"
            )
        today = self.now.date()
        place = self.ledger.last_numbers.get(today, 0) + 1
        number = order_number(today, place)
        self.ledger.last_numbers[today] = place
        self.ledger.orders[number] = Entry(
            "received", self.now, log=[("received", INTAKE, self.now)], tickets=1
        )
        if key is not None:
            self.ledger.keys[key], self.used_for[key] = number, order_type
        return number

    def cancel(self, number: str) -> str:
        """Call an order off."""
        return self._ask_for(number, OrderStatus.CANCELLED)

    def complete(self, number: str) -> str:
        """Hand an order over."""
        return self._ask_for(number, OrderStatus.COMPLETED)

    def deliver(self, cook: str, number: str) -> str:
        """Bring a cook the message of an order: for the first time, again, or far too late."""
        if (cook, number) in self.in_hand:
            return Outcome.OTHER_WORKER.name
        if number not in self.ledger.orders:
            return "MessageRejected"
        order = self.ledger.orders[number]
        if order.status == "received":
            self._move(order, OrderStatus.COOKING, cook)
        elif order.status != "cooking":
            return Outcome.NOT_NEEDED.name
        elif order.processed_by != cook and order.processed_by in self.ledger.present:
            return Outcome.OTHER_WORKER.name
        order.processed_by, order.updated_at = cook, self.now
        self.in_hand.add((cook, number))
        return ON_THE_STOVE

    def finish(self, cook: str, number: str) -> str:
        """Let a cook come to the end of an order that it has begun."""
        if (cook, number) not in self.in_hand:
            return NOTHING_IN_HAND
        self.in_hand.remove((cook, number))
        order = self.ledger.orders[number]
        if (order.status, order.processed_by) != ("cooking", cook):
            return Outcome.NOT_NEEDED.name
        self._move(order, OrderStatus.READY, cook)
        order.completed_at = self.now
        self.ledger.cooked[cook] += 1
        return Outcome.COOKED.name

    def fall_silent(self, cook: str) -> None:
        """Let a cook's lease run out, though it may still be cooking."""
        self.ledger.present.discard(cook)

    def die(self, cook: str) -> None:
        """Let a cook drop everything, and be gone."""
        self.ledger.present.discard(cook)
        self.in_hand = {held for held in self.in_hand if held[0] != cook}

    def come_back(self, cook: str) -> bool:
        """Let somebody sign on under this name."""
        came = cook not in self.ledger.present
        self.ledger.present.add(cook)
        return came

    def _ask_for(self, number: str, target: OrderStatus) -> str:
        if number not in self.ledger.orders:
            return "OrderNotFound"
        order = self.ledger.orders[number]
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
    """Read what the database shows."""
    ledger = State()
    async with database.transaction() as tx:
        for row in await tx.fetch("SELECT * FROM orders"):
            ledger.orders[row["number"]] = Entry(
                row["status"], row["updated_at"], row["processed_by"], row["completed_at"]
            )
        for row in await tx.fetch(
            "SELECT number, log.status, changed_by, changed_at"
            " FROM order_status_log AS log JOIN orders ON orders.id = order_id ORDER BY log.id"
        ):
            entry = (row["status"], row["changed_by"], row["changed_at"])
            ledger.orders[row["number"]].log.append(entry)
        for row in await tx.fetch("SELECT type, body FROM outbox ORDER BY id"):
            _enter_message(ledger, row["type"], json.loads(row["body"]))
        for row in await tx.fetch(KEYS):
            ledger.keys[row["key"]] = row["number"]
        for row in await tx.fetch("SELECT business_date, last_number FROM order_counters"):
            ledger.last_numbers[row["business_date"]] = row["last_number"]
        for worker in await workers.list_recent(tx):
            ledger.cooked[worker.name] = worker.orders_processed
            if worker.status is WorkerStatus.ONLINE:
                ledger.present.add(worker.name)
    return ledger


def _enter_message(ledger: State, kind: str, body: dict[str, str]) -> None:
    order = ledger.orders[body["order_number"]]
    if kind == StatusChanged.TYPE:
        order.updates.append((body["old_status"], body["new_status"], body["changed_by"]))
    else:
        order.tickets += 1
