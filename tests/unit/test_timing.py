"""The estimate of when a waiting order is ready, and the count of late orders."""

from datetime import UTC, datetime, timedelta

import pytest

from restaurant_system.models.order import OrderType
from restaurant_system.models.timing import Crew, Lateness, completion_of_waiting, crew_for
from restaurant_system.models.worker import Worker, WorkerStatus

NOW = datetime(2024, 12, 16, 12, 0, tzinfo=UTC)
DURATIONS = {
    OrderType.DINE_IN: timedelta(seconds=8),
    OrderType.TAKEOUT: timedelta(seconds=10),
    OrderType.DELIVERY: timedelta(seconds=12),
}


def seconds_left(
    *,
    ahead: dict[OrderType, int] | None = None,
    due_in: tuple[float, ...] = (),
    cooks: int = 1,
    crew: Crew | None = None,
) -> float:
    """Return the estimated seconds until a waiting takeout order is ready."""
    done_at = completion_of_waiting(
        now=NOW,
        own=DURATIONS[OrderType.TAKEOUT],
        ahead=ahead or {},
        durations=DURATIONS,
        crew=crew or make_crew([make_worker(f"cook-{number}") for number in range(cooks)], due_in),
    )
    return (done_at - NOW).total_seconds()


def make_worker(name: str, *types: OrderType, status: WorkerStatus = WorkerStatus.ONLINE) -> Worker:
    """Return a worker that cooks these types, by default all."""
    return Worker(name, types or tuple(OrderType), status, orders_processed=0, last_seen=NOW)


def make_crew(workers: list[Worker], due_in: tuple[float, ...] = ()) -> Crew:
    """Return the crew for takeout; the first worker cooks orders that are due in these seconds."""
    due = [(workers[0].name, NOW + timedelta(seconds=seconds)) for seconds in due_in]
    return crew_for(OrderType.TAKEOUT, workers, due, NOW)


def test_order_with_none_ahead_takes_its_own_time() -> None:
    """The estimate is the cooking time of its type."""
    assert seconds_left() == 10


def test_orders_ahead_add_the_time_of_their_types() -> None:
    """Each order ahead adds the time of its type."""
    ahead = {OrderType.DINE_IN: 2, OrderType.TAKEOUT: 1, OrderType.DELIVERY: 1}

    assert seconds_left(ahead=ahead) == 8 + 8 + 10 + 12 + 10


def test_cooking_order_adds_the_rest_of_its_time() -> None:
    """Orders that the crew cooks now come before it."""
    assert seconds_left(due_in=(3, 4)) == 3 + 4 + 10


def test_overdue_order_adds_no_time() -> None:
    """An overdue cooking order counts as 0 s; it does not shorten the estimate."""
    assert seconds_left(due_in=(-60, 4)) == 4 + 10


@pytest.mark.parametrize(("cooks", "seconds"), [(1, 30), (2, 20), (4, 15)])
def test_cooks_share_the_work_before_an_order(cooks: int, seconds: float) -> None:
    """Cooks share the orders before it, but not the estimated order itself."""
    ahead = {OrderType.DINE_IN: 1, OrderType.DELIVERY: 1}

    assert seconds_left(ahead=ahead, cooks=cooks) == seconds


def test_estimate_without_an_online_cook_assumes_one() -> None:
    """Without an online cook, the estimate is that of one cook for all types."""
    assert seconds_left(ahead={OrderType.TAKEOUT: 1}, cooks=0) == 20


def test_orders_that_the_crew_does_not_cook_are_not_ahead() -> None:
    """Orders that only other workers cook do not delay the estimate."""
    crew = make_crew(
        [make_worker("mario", OrderType.TAKEOUT), make_worker("luigi", OrderType.DELIVERY)]
    )
    ahead = dict.fromkeys(OrderType, 1)

    assert seconds_left(ahead=ahead, crew=crew) == 10 + 10


def test_crew_is_the_online_workers_that_cook_the_type() -> None:
    """Their other types count too; orders that other workers cook do not."""
    workers = [
        make_worker("luigi", OrderType.DELIVERY),
        make_worker("mario", OrderType.TAKEOUT),
        make_worker("peach", OrderType.TAKEOUT, OrderType.DINE_IN),
        make_worker("toad", status=WorkerStatus.OFFLINE),
    ]
    due = [
        (name, NOW + timedelta(seconds=seconds))
        for name, seconds in (("luigi", 1), ("mario", 2), ("mario", 3), ("toad", 4), ("bowser", 5))
    ]

    assert crew_for(OrderType.TAKEOUT, workers, due, NOW) == Crew(
        cooks=2,
        order_types=frozenset({OrderType.TAKEOUT, OrderType.DINE_IN}),
        remaining=timedelta(seconds=2 + 3),
    )


def test_late_shares_are_weighted_by_orders() -> None:
    """The share of a sum is that of all its orders, not the mean of the shares."""
    takeout, delivery = Lateness(orders=9, late=0), Lateness(orders=1, late=1)

    assert (takeout + delivery).share == 0.1


def test_late_share_of_no_orders_is_none() -> None:
    """The late share of no orders is `None`, neither 0 nor 1."""
    assert Lateness().share is None
