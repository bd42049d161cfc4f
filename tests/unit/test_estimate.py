from datetime import UTC, datetime, timedelta

import pytest

from restaurant_system.models.order import OrderType
from restaurant_system.models.timing import Crew, completion_of_waiting, crew_for
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
    """Estimate in how many seconds a waiting takeout order will be ready."""
    done_at = completion_of_waiting(
        now=NOW,
        own=DURATIONS[OrderType.TAKEOUT],
        ahead=ahead or {},
        durations=DURATIONS,
        crew=crew or make_crew([make_worker(f"cook-{place}") for place in range(cooks)], due_in),
    )
    return (done_at - NOW).total_seconds()


def make_worker(name: str, *types: OrderType, status: WorkerStatus = WorkerStatus.ONLINE) -> Worker:
    """Have somebody cook these types, or everything."""
    return Worker(name, types or tuple(OrderType), status, orders_processed=0, last_seen=NOW)


def make_crew(workers: list[Worker], due_in: tuple[float, ...] = ()) -> Crew:
    """Find who cooks takeout; the first worker has something in hand."""
    due = [(workers[0].name, NOW + timedelta(seconds=seconds)) for seconds in due_in]
    return crew_for(OrderType.TAKEOUT, workers, due, NOW)


def test_nobody_ahead() -> None:
    """With nothing before it, an order takes its own time."""
    assert seconds_left() == 10


def test_orders_ahead() -> None:
    """Each order ahead adds the time of its type."""
    ahead = {OrderType.DINE_IN: 2, OrderType.TAKEOUT: 1, OrderType.DELIVERY: 1}

    assert seconds_left(ahead=ahead) == 8 + 8 + 10 + 12 + 10


def test_what_is_cooking() -> None:
    """An order that cooks adds what is left of its time."""
    assert seconds_left(due_in=(3, 4)) == 3 + 4 + 10


def test_what_is_overdue() -> None:
    """An order that is overdue adds nothing, and takes nothing away."""
    assert seconds_left(due_in=(-60, 4)) == 4 + 10


@pytest.mark.parametrize(("cooks", "seconds"), [(1, 30), (2, 20), (4, 15)])
def test_cooks_share_the_work(cooks: int, seconds: float) -> None:
    """Several cooks share the work before an order, but not the order itself."""
    ahead = {OrderType.DINE_IN: 1, OrderType.DELIVERY: 1}

    assert seconds_left(ahead=ahead, cooks=cooks) == seconds


def test_no_cook_on_duty() -> None:
    """With no cook on duty the estimate is as if one came now."""
    assert seconds_left(ahead={OrderType.TAKEOUT: 1}, cooks=0) == 20


def test_only_what_its_crew_cooks_is_ahead() -> None:
    """Who waits for nothing that the crew cooks is in nobody's way."""
    crew = make_crew(
        [make_worker("mario", OrderType.TAKEOUT), make_worker("luigi", OrderType.DELIVERY)]
    )
    ahead = dict.fromkeys(OrderType, 1)

    assert seconds_left(ahead=ahead, crew=crew) == 10 + 10


def test_a_crew_is_who_is_on_duty_and_cooks_the_type() -> None:
    """What one of them cooks besides is in the way, too; what others have in hand is not."""
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
        under_way=timedelta(seconds=2 + 3),
    )
