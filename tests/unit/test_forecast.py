"""The forecast of when waiting orders will be ready."""

import math
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

import pytest

from restaurant_system.models.forecast import CookOnDuty, Forecast, WaitingOrders
from restaurant_system.models.order import OrderType

NOW = 1_000_000.0
DINE_IN, TAKEOUT, DELIVERY = OrderType
PREPARATION = {DINE_IN: 8.0, TAKEOUT: 10.0, DELIVERY: 12.0}
ALL = frozenset(OrderType)

Waiting = Sequence[tuple[OrderType, float]]  # types and ranks; the id of an order is its position


def make_forecast(waiting: Waiting, cooks: Iterable[CookOnDuty]) -> Forecast:
    """Return the complete forecast for a queue."""
    by_type: dict[OrderType, list[tuple[float, int]]] = {}
    for order_id, (kind, rank) in enumerate(waiting):
        by_type.setdefault(kind, []).append((rank, order_id))
    forecast = Forecast(
        now=NOW,
        released_since=datetime.fromtimestamp(NOW, UTC),
        cooks=cooks,
        waiting={
            kind: WaitingOrders(*map(list, zip(*sorted(orders), strict=True)))
            for kind, orders in by_type.items()
        },
        preparation=PREPARATION,
    )
    while forecast.advance(2):
        pass
    return forecast


def seconds_left(waiting: Waiting, *cooks: CookOnDuty) -> list[float | None]:
    """Return in how many seconds each order of a queue will be ready."""
    forecast = make_forecast(waiting, cooks)
    ready = [
        forecast.ready_at(kind, rank, order_id) for order_id, (kind, rank) in enumerate(waiting)
    ]
    return [None if each is None else each - NOW for each in ready]


def cook(*order_types: OrderType, busy: tuple[float, ...] = (), capacity: int = 1) -> CookOnDuty:
    """Return a cook for these types, by default all; its orders are ready in these seconds."""
    ready_at = tuple(NOW + each for each in busy)
    return CookOnDuty(frozenset(order_types) or ALL, ready_at, capacity)


QUEUE: Waiting = [(DINE_IN, 1), (TAKEOUT, 2), (DELIVERY, 3), (DINE_IN, 4)]


def test_one_cook_prepares_orders_one_after_the_other() -> None:
    assert seconds_left(QUEUE, cook()) == [8, 18, 30, 38]


def test_two_cooks_share_the_queue() -> None:
    assert seconds_left(QUEUE, cook(), cook()) == [8, 10, 20, 18]


def test_orders_are_forecast_in_the_sequence_of_their_ranks() -> None:
    """A rushed order has the rank minus infinity; of equal ranks the lower id is first."""
    queue: Waiting = [(TAKEOUT, 5), (DINE_IN, 5), (DELIVERY, 7), (DELIVERY, -math.inf)]

    assert seconds_left(queue, cook()) == [22, 30, 42, 12]


def test_orders_that_other_cooks_prepare_are_not_ahead() -> None:
    """A cook who may do everything takes what the specialist does not."""
    queue: Waiting = [*((DINE_IN, rank) for rank in range(10)), (TAKEOUT, 20)]

    assert seconds_left(queue, cook(), cook(TAKEOUT))[-1] == 10
    assert seconds_left(queue, cook())[-1] == 90


def test_order_has_no_estimate_without_a_cook_on_duty() -> None:
    assert seconds_left(QUEUE, cook(DINE_IN, TAKEOUT)) == [8, 18, None, 26]
    assert seconds_left(QUEUE) == [None] * 4


def test_cook_is_free_once_its_orders_are_ready() -> None:
    """An overdue order is expected at any moment; it does not make the estimate earlier."""
    assert seconds_left(QUEUE[:1], cook(busy=(4,))) == [12]
    assert seconds_left(QUEUE[:1], cook(busy=(-60,))) == [8]


def test_cook_takes_as_many_orders_at_a_time_as_now() -> None:
    assert seconds_left(QUEUE[:3], cook(busy=(1, 2, 3))) == [9, 12, 15]


def test_cook_takes_as_many_orders_at_a_time_as_its_capacity() -> None:
    assert seconds_left(QUEUE, cook(capacity=3)) == [8, 10, 12, 16]
    assert seconds_left(QUEUE[:3], cook(busy=(5,), capacity=2)) == [8, 15, 20]
    assert seconds_left(QUEUE[:3], cook(busy=(1, 2, 3), capacity=2)) == [9, 12, 15]


def test_order_that_is_newer_than_the_forecast_takes_the_place_of_another() -> None:
    forecast = make_forecast(QUEUE, [cook()])

    assert forecast.ready_at(DINE_IN, 2.5, 99) == NOW + 38
    assert forecast.ready_at(TAKEOUT, 9, 99) == NOW + 38 + 10


def test_cost_of_a_look_up_does_not_grow_with_the_queue() -> None:
    def seconds_of(orders: int) -> float:
        forecast = make_forecast([(TAKEOUT, rank) for rank in range(orders)], [cook(), cook()])
        started = time.perf_counter()
        for _ in range(2_000):
            forecast.ready_at(TAKEOUT, orders / 2, orders // 2)
        return time.perf_counter() - started

    few = min(seconds_of(100) for _ in range(3))
    many = min(seconds_of(20_000) for _ in range(3))

    assert many < 5 * few


@pytest.mark.parametrize("cooks", [1, 7])
def test_every_waiting_order_has_an_estimate_after_the_orders_before_it(cooks: int) -> None:
    queue: Waiting = [(kind, rank) for rank in range(100) for kind in OrderType]

    left = seconds_left(queue, *(cook() for _ in range(cooks)))

    for kind in range(3):
        of_type = [each for each in left[kind::3] if each is not None]
        assert len(of_type) == 100
        assert of_type == sorted(of_type)
