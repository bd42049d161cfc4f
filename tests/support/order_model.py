"""A model of orders in plain Python, to compare the system under test with."""

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

from restaurant_system.database import workers
from restaurant_system.database.connection import Database
from restaurant_system.models.external_order import ExternalOrder
from restaurant_system.models.message import StatusChanged
from restaurant_system.models.order import order_number
from restaurant_system.models.status import ORIGINS, OrderStatus
from restaurant_system.models.worker import WorkerStatus
from tests.support.services import NOON

INTAKE = "order-service"
PROMISED_AFTER = {"takeout": timedelta(minutes=15), "delivery": timedelta(minutes=20)}
NOTHING = "nothing to claim"
FINISHED = "finished"
NOT_IN_FLIGHT = "not in flight"

KEYS = "SELECT key, number FROM idempotency_keys LEFT JOIN orders ON orders.id = order_id"
EXTERNAL_IDS = """
SELECT encode(digest, 'hex') AS digest, number
FROM external_orders LEFT JOIN orders ON orders.id = order_id
"""
NOT_ARRIVED = "not arrived"


@dataclass
class Entry:
    """An order with its status, its log and its published messages."""

    status: str
    updated_at: datetime
    rank_at: datetime
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
    external_ids: dict[str, str] = field(default_factory=dict)
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
    placed_at: dict[str, datetime] = field(default_factory=dict)
    passed_over: str | None = None  # an order that is locked while another one is claimed

    def place(self, order_type: str, key: str | None, external_id: str | None) -> str:
        """Place an order, unless its key or its external id was used or cancelled before."""
        order = f"{order_type} {external_id}"
        for names, name, refusal in (
            (self.state.keys, key, "IdempotencyKeyReused"),
            (self.state.external_ids, external_id and digest_of(external_id), "ExternalIdTaken"),
        ):
            if name is not None and name in names:
                if names[name] == NOT_ARRIVED:
                    return "OrderCancelledBefore"
                if self.used_for[name] != order:
                    return refusal
                if key is not None:
                    self.state.keys[key], self.used_for[key] = names[name], order
                return names[name]
        today = self.now.date()
        place = self.state.last_numbers.get(today, 0) + 1
        number = order_number(today, place)
        self.state.last_numbers[today] = place
        rank_at = self.now + PROMISED_AFTER[order_type]
        self.state.orders[number] = Entry(
            "received", self.now, rank_at, log=[("received", INTAKE, self.now)], tickets=1
        )
        self.placed_at[number] = self.now
        if key is not None:
            self.state.keys[key], self.used_for[key] = number, order
        if external_id is not None:
            digest = digest_of(external_id)
            self.state.external_ids[digest], self.used_for[digest] = number, order
        return number

    def cancel_by_key(self, key: str) -> str:
        """Cancel an order by its key, also before it arrives."""
        return self._withdraw(self.state.keys.setdefault(key, NOT_ARRIVED))

    def cancel_external(self, external_id: str) -> str:
        """Cancel an order by its external id, also before it arrives."""
        return self._withdraw(
            self.state.external_ids.setdefault(digest_of(external_id), NOT_ARRIVED)
        )

    def _withdraw(self, number: str) -> str:
        if number == NOT_ARRIVED or self.state.orders[number].status == "cancelled":
            return number
        answer = self.cancel(number)
        return number if answer == "cancelled" else answer

    def cancel(self, number: str) -> str:
        """Cancel an order, as a program does: none that is ready."""
        if number in self.state.orders and self.state.orders[number].status == "ready":
            return "IllegalMove from ready"
        return self._request_move(number, OrderStatus.CANCELLED)

    def complete(self, number: str) -> str:
        """Complete an order."""
        return self._request_move(number, OrderStatus.COMPLETED)

    def claim(self, cook: str) -> str:
        """Let a cook claim an order: an abandoned one, or else a waiting one of this day."""
        chosen = self._first(lambda number: self._is_abandoned(number, cook))
        if chosen is not None:
            order = self.state.orders[chosen]
            if order.processed_by != cook:
                order.processed_by, order.updated_at = cook, self.now
        else:
            chosen = self._first(self._is_waiting)
            if chosen is None:
                return NOTHING
            order = self.state.orders[chosen]
            self._move(order, OrderStatus.COOKING, cook)
            order.processed_by = cook
        self.in_flight.add((cook, chosen))
        return chosen

    def _first(self, is_candidate: Callable[[str], bool]) -> str | None:
        """Return the number of the order that ranks first; of equals, the oldest."""
        orders = self.state.orders
        numbers = [each for each in orders if each != self.passed_over and is_candidate(each)]
        return min(numbers, key=lambda number: (orders[number].rank_at, number), default=None)

    def _is_abandoned(self, number: str, cook: str) -> bool:
        order = self.state.orders[number]
        is_own = order.processed_by == cook
        return (
            order.status == "cooking"
            and (cook, number) not in self.in_flight
            and (is_own or order.processed_by not in self.state.online)
        )

    def _is_waiting(self, number: str) -> bool:
        is_held = self.placed_at[number].date() < self.now.date()
        return self.state.orders[number].status == "received" and not is_held

    def finish(self, cook: str, number: str) -> str:
        """End the cooking time of an order at a cook."""
        if (cook, number) not in self.in_flight:
            return NOT_IN_FLIGHT
        self.in_flight.remove((cook, number))
        order = self.state.orders[number]
        if (order.status, order.processed_by) == ("cooking", cook):
            self._move(order, OrderStatus.READY, cook)
            order.completed_at = self.now
            self.state.cooked[cook] += 1
        return FINISHED

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


def digest_of(external_id: str) -> str:
    """Return the digest of an id of the only channel."""
    return ExternalOrder(channel="uber", external_id=external_id).digest.hex()


async def stored_state(database: Database) -> State:
    """Read the state from the database."""
    state = State()
    async with database.transaction() as tx:
        for row in await tx.fetch("SELECT * FROM orders"):
            state.orders[row["number"]] = Entry(
                row["status"],
                row["updated_at"],
                row["rank_at"],
                row["processed_by"],
                row["completed_at"],
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
            state.keys[row["key"]] = row["number"] or NOT_ARRIVED
        for row in await tx.fetch(EXTERNAL_IDS):
            state.external_ids[row["digest"]] = row["number"] or NOT_ARRIVED
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
