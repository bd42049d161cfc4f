"""Warnings: what somebody in the restaurant should look at now.

They follow from the state of orders, workers and queues alone, so that every process finds the
same ones. A warning that may end by itself within a minute, as when a worker restarts, is not
raised before.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from functools import reduce
from operator import add

from restaurant_system.models.order import OrderType
from restaurant_system.models.worker import Worker, WorkerStatus

NO_COOK_AFTER = timedelta(seconds=60)  # that a worker may be away from orders that wait
NO_SCREEN_AFTER = timedelta(seconds=10)  # that a station may be away from its tickets


class WarningKind(StrEnum):
    """What is wrong."""

    NO_COOK_ON_DUTY = "no_cook_on_duty"
    ORDERS_OVERDUE = "orders_overdue"
    QUEUE_NOT_CONSUMED = "queue_not_consumed"
    ORDERS_HELD = "orders_held"
    STATION_WITHOUT_SCREEN = "station_without_screen"


@dataclass(frozen=True, slots=True, kw_only=True)
class KitchenWarning:
    """A warning about `count` orders or messages, of these order types, since a time.

    `queue` and `station` name what it is about; `orders` are the numbers of its first orders, if a
    person must look at each. The time is unknown for a queue whose workers are unknown.
    """

    kind: WarningKind
    message: str
    since: datetime | None
    count: int
    order_types: Sequence[OrderType] = ()
    queue: str | None = None
    station: str | None = None
    orders: Sequence[str] = ()

    @property
    def subject(self) -> str:
        """What distinguishes it from other warnings of its kind that exist at the same time."""
        if self.kind is WarningKind.NO_COOK_ON_DUTY:
            return ",".join(self.order_types)
        return self.queue or self.station or ""


@dataclass(frozen=True, slots=True)
class OrderGroup:
    """The number of orders in the same situation, and when the first of them came into it."""

    count: int
    since: datetime

    def __add__(self, other: "OrderGroup") -> "OrderGroup":
        return OrderGroup(self.count + other.count, min(self.since, other.since))


@dataclass(frozen=True, slots=True)
class QueueLength:
    """A queue for orders of these types, and the number of messages that wait in it."""

    name: str
    order_types: Collection[OrderType]
    messages: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenOrders:
    """The orders that are not ready, by their situation.

    `waiting` orders were released to the kitchen on this business date, `held` ones on an earlier
    one, and `scheduled` ones not yet. `overdue` are those of the waiting and the cooking ones that
    should have been ready by now, since the time that was promised.
    """

    waiting: Mapping[OrderType, OrderGroup]
    cooking: Mapping[OrderType, OrderGroup]
    scheduled: Mapping[OrderType, OrderGroup]
    held: Mapping[OrderType, OrderGroup]
    overdue: Mapping[OrderType, OrderGroup]


@dataclass(frozen=True, slots=True, kw_only=True)
class KitchenState:
    """The orders that are not ready, the tickets of stations, and the workers.

    The numbers are those of the first overdue and held orders. `open_tickets` are those that a
    station has started, by its name, if it is not online; `since` is when it was online last.
    `workers` are those that are online or were so lately.
    """

    orders: OpenOrders
    overdue_numbers: Sequence[str]
    held_numbers: Sequence[str]
    open_tickets: Mapping[str, OrderGroup]
    workers: Sequence[Worker]


def current_warnings(
    state: KitchenState, queues: Iterable[QueueLength], now: datetime
) -> list[KitchenWarning]:
    """Return what is wrong now, the most urgent first."""
    return [
        *_no_cook_on_duty(state, now),
        *_overdue(state),
        *_held(state),
        *_without_screen(state, now),
        *_not_consumed(state, queues, now),
    ]


def _no_cook_on_duty(state: KitchenState, now: datetime) -> Iterator[KitchenWarning]:
    for order_type, waiting in state.orders.waiting.items():
        if _has_cook(state.workers, [order_type]):
            continue
        left_at = _last_seen(state.workers, [order_type])
        since = waiting.since if left_at is None else max(waiting.since, left_at)
        if now - since >= NO_COOK_AFTER:
            kind = _words(order_type)
            yield KitchenWarning(
                kind=WarningKind.NO_COOK_ON_DUTY,
                message=f"No cook for {kind} is on duty, and"
                f" {_counted(waiting.count, f'{kind} order')} {_waits(waiting.count)}.",
                since=since,
                count=waiting.count,
                order_types=[order_type],
            )


def _overdue(state: KitchenState) -> Iterator[KitchenWarning]:
    if state.orders.overdue:
        overdue = _sum(state.orders.overdue)
        yield KitchenWarning(
            kind=WarningKind.ORDERS_OVERDUE,
            message=f"{_counted(overdue.count, 'order')} should have been ready by now.",
            since=overdue.since,
            count=overdue.count,
            order_types=list(state.orders.overdue),
            orders=state.overdue_numbers,
        )


def _held(state: KitchenState) -> Iterator[KitchenWarning]:
    if state.orders.held:
        held = _sum(state.orders.held)
        yield KitchenWarning(
            kind=WarningKind.ORDERS_HELD,
            message=f"{_counted(held.count, 'order')} of an earlier business date"
            f" {'was' if held.count == 1 else 'were'} never started; nothing of an earlier date is"
            " cooked unless somebody releases it.",
            since=held.since,
            count=held.count,
            order_types=list(state.orders.held),
            orders=state.held_numbers,
        )


def _without_screen(state: KitchenState, now: datetime) -> Iterator[KitchenWarning]:
    for station, tickets in state.open_tickets.items():
        if now - tickets.since >= NO_SCREEN_AFTER:
            yield KitchenWarning(
                kind=WarningKind.STATION_WITHOUT_SCREEN,
                message=f"Station {station} has {_counted(tickets.count, 'open ticket')}, and no"
                " screen shows it.",
                since=tickets.since,
                count=tickets.count,
                station=station,
            )


def _not_consumed(
    state: KitchenState, queues: Iterable[QueueLength], now: datetime
) -> Iterator[KitchenWarning]:
    # A worker that consumes nothing, because its connection to the broker is broken, sends no
    # heartbeats once it has finished its orders.
    for queue in queues:
        if not queue.messages or _has_cook(state.workers, queue.order_types):
            continue
        released = [
            state.orders.waiting[kind].since
            for kind in queue.order_types
            if kind in state.orders.waiting
        ]
        left_at = _last_seen(state.workers, queue.order_types)
        times = [*([min(released)] if released else []), *([left_at] if left_at else [])]
        since = max(times, default=None)
        if since is None or now - since >= NO_COOK_AFTER:
            yield KitchenWarning(
                kind=WarningKind.QUEUE_NOT_CONSUMED,
                message=f"No worker that consumes {queue.name} is online, and it has"
                f" {_counted(queue.messages, 'message')}.",
                since=since,
                count=queue.messages,
                order_types=list(queue.order_types),
                queue=queue.name,
            )


def _has_cook(workers: Iterable[Worker], order_types: Collection[OrderType]) -> bool:
    """Return whether a worker for any of these types is online."""
    return any(
        worker.status is WorkerStatus.ONLINE and any(map(worker.can_cook, order_types))
        for worker in workers
    )


def _last_seen(workers: Iterable[Worker], order_types: Collection[OrderType]) -> datetime | None:
    """Return when a worker for any of these types was online last."""
    return max(
        (worker.last_seen for worker in workers if any(map(worker.can_cook, order_types))),
        default=None,
    )


def _sum(groups: Mapping[OrderType, OrderGroup]) -> OrderGroup:
    return reduce(add, groups.values())


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _waits(count: int) -> str:
    return "waits" if count == 1 else "wait"


def _words(order_type: OrderType) -> str:
    return order_type.replace("_", "-")
