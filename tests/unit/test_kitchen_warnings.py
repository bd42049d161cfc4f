"""The warnings that follow from the state of the kitchen."""

from datetime import UTC, datetime, timedelta

import pytest

from restaurant_system.models.kitchen_warning import (
    KitchenState,
    OpenOrders,
    OrderGroup,
    QueueLength,
    WarningKind,
    current_warnings,
)
from restaurant_system.models.order import OrderType
from restaurant_system.models.worker import Worker, WorkerStatus

NOW = datetime(2024, 12, 16, 12, 0, tzinfo=UTC)
DELIVERY, TAKEOUT = OrderType.DELIVERY, OrderType.TAKEOUT


def ago(seconds: float) -> datetime:
    """Return the time so many seconds ago."""
    return NOW - timedelta(seconds=seconds)


def state(
    *,
    waiting: dict[OrderType, OrderGroup] | None = None,
    overdue: dict[OrderType, OrderGroup] | None = None,
    held: dict[OrderType, OrderGroup] | None = None,
    overdue_numbers: list[str] | None = None,
    held_numbers: list[str] | None = None,
    open_tickets: dict[str, OrderGroup] | None = None,
    workers: list[Worker] | None = None,
) -> KitchenState:
    """Return the state of a kitchen in which nothing else happens."""
    return KitchenState(
        orders=OpenOrders(
            waiting=waiting or {},
            cooking={},
            scheduled={},
            held=held or {},
            overdue=overdue or {},
        ),
        overdue_numbers=overdue_numbers or [],
        held_numbers=held_numbers or [],
        open_tickets=open_tickets or {},
        workers=workers or [],
    )


def cook(
    *order_types: OrderType, status: WorkerStatus = WorkerStatus.ONLINE, seen: float = 0
) -> Worker:
    """Return a worker, who was seen so many seconds ago."""
    return Worker("mario", order_types, status, 0, ago(seen))


def test_kitchen_in_which_all_is_well_has_no_warnings() -> None:
    busy = state(waiting={DELIVERY: OrderGroup(20, ago(3000))}, workers=[cook(DELIVERY)])

    assert current_warnings(busy, [QueueLength("kitchen_queue", list(OrderType), 20)], NOW) == []


@pytest.mark.parametrize(
    ("workers", "since"),
    [
        ([], 90),
        ([cook(TAKEOUT)], 90),
        ([cook(DELIVERY, status=WorkerStatus.OFFLINE, seen=70)], 70),
        ([cook(DELIVERY, status=WorkerStatus.OFFLINE, seen=400)], 90),
    ],
    ids=["nobody", "for another type", "left later", "left before"],
)
def test_orders_without_a_cook_are_reported_with_their_type(
    workers: list[Worker], since: float
) -> None:
    waiting = {DELIVERY: OrderGroup(2, ago(90))}

    (warning,) = current_warnings(state(waiting=waiting, workers=workers), [], NOW)

    assert warning.kind is WarningKind.NO_COOK_ON_DUTY
    assert (warning.count, warning.order_types, warning.since) == (2, [DELIVERY], ago(since))
    assert warning.message == "No cook for delivery is on duty, and 2 delivery orders wait."


@pytest.mark.parametrize(
    ("order_age", "seen"), [(59, 400), (400, 59)], ids=["new order", "cook has just left"]
)
def test_orders_without_a_cook_are_not_reported_within_a_minute(
    order_age: float, seen: float
) -> None:
    left = cook(DELIVERY, status=WorkerStatus.OFFLINE, seen=seen)
    waiting = {DELIVERY: OrderGroup(1, ago(order_age))}

    assert current_warnings(state(waiting=waiting, workers=[left]), [], NOW) == []


def test_overdue_and_held_orders_are_each_reported_once_for_all_types() -> None:
    overdue = {DELIVERY: OrderGroup(1, ago(5)), TAKEOUT: OrderGroup(2, ago(50))}
    held = {TAKEOUT: OrderGroup(1, ago(50_000))}

    late, old = current_warnings(
        state(
            overdue=overdue,
            overdue_numbers=["ORD_20241216_007"],
            held=held,
            held_numbers=["ORD_20241215_001"],
        ),
        [],
        NOW,
    )

    assert (late.kind, late.count, late.since) == (WarningKind.ORDERS_OVERDUE, 3, ago(50))
    assert late.order_types == [DELIVERY, TAKEOUT]
    assert late.orders == ["ORD_20241216_007"]
    assert (old.kind, old.count, old.since) == (WarningKind.ORDERS_HELD, 1, ago(50_000))
    assert old.orders == ["ORD_20241215_001"]
    assert old.message.startswith("1 order of an earlier business date was never started")


def test_station_with_open_tickets_is_reported_once_it_has_been_away_for_a_while() -> None:
    tickets = {"grill": OrderGroup(1, ago(10)), "fryer": OrderGroup(3, ago(9))}

    (warning,) = current_warnings(state(open_tickets=tickets), [], NOW)

    assert warning.kind is WarningKind.STATION_WITHOUT_SCREEN
    assert (warning.station, warning.count, warning.since) == ("grill", 1, ago(10))
    assert warning.message == "Station grill has 1 open ticket, and no screen shows it."


@pytest.mark.parametrize(
    ("workers", "waiting", "since"),
    [
        ([], {}, None),
        ([], {DELIVERY: OrderGroup(1, ago(61))}, 61),
        ([cook(DELIVERY, status=WorkerStatus.OFFLINE, seen=61)], {}, 61),
    ],
)
def test_queue_that_no_online_worker_consumes_is_reported(
    workers: list[Worker], waiting: dict[OrderType, OrderGroup], since: float | None
) -> None:
    queue = QueueLength("kitchen_delivery_queue", [DELIVERY], 4)

    warnings = current_warnings(state(workers=workers, waiting=waiting), [queue], NOW)

    (warning,) = [each for each in warnings if each.kind is WarningKind.QUEUE_NOT_CONSUMED]
    assert (warning.queue, warning.count) == ("kitchen_delivery_queue", 4)
    assert warning.since == (None if since is None else ago(since))


@pytest.mark.parametrize(
    ("workers", "messages"),
    [
        ([], 0),
        ([cook(TAKEOUT, DELIVERY)], 4),
        ([cook(DELIVERY, status=WorkerStatus.OFFLINE, seen=59)], 4),
    ],
    ids=["empty queue", "online worker", "worker has just left"],
)
def test_queue_is_not_reported_without_need(workers: list[Worker], messages: int) -> None:
    queue = QueueLength("kitchen_delivery_queue", [DELIVERY], messages)

    assert current_warnings(state(workers=workers), [queue], NOW) == []
