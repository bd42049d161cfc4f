"""The last notifications of `up`, when they are slow to arrive."""

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import deployments
from tests.support.deployments import Deployment
from tests.support.processes import Process

# Until the lock is released, the subscription of this queue is handed nothing.
HOLD_BACK = "SELECT pg_advisory_lock(hashtext(queue)) FROM broker_subscriptions"
RELEASE = "SELECT pg_advisory_unlock_all()"


@pytest.fixture
def deployment(dsn: str, data_dir: Path) -> Iterator[Deployment]:
    """Open a restaurant whose broker is in PostgreSQL, where a delivery can be held back."""
    with deployments.running(dsn, RESTAURANT_DATA_DIR=str(data_dir)) as deployment:
        yield deployment


def stop_with_notifications_in_flight(deployment: Deployment) -> tuple[Process, str]:
    """Have an order cooked whose two notifications are held back, and send SIGTERM."""
    up = deployment.up()
    deployment.ready()
    up.wait_for("subscribed")
    assert deployment.rows(HOLD_BACK)
    number = deployment.order()
    deployment.wait_for(number, "ready")
    deployment.wait_until_nothing_is_owed()
    up.signal(signal.SIGTERM)
    return up, number


def test_notification_in_flight_at_a_stop_is_waited_for_and_printed(
    deployment: Deployment,
) -> None:
    """It takes longer than everything else that a stop takes."""
    up, number = stop_with_notifications_in_flight(deployment)

    time.sleep(2)
    assert up.running
    assert f"Notification for order {number}" not in up.stdout
    deployment.rows(RELEASE)

    assert up.wait() == 0
    assert up.stdout.count(f"Notification for order {number}") == 2


def test_second_signal_ends_the_wait_for_notifications_in_flight(deployment: Deployment) -> None:
    """They stay unprinted, and the exit code is 0."""
    up, number = stop_with_notifications_in_flight(deployment)
    time.sleep(1.5)

    up.signal(signal.SIGTERM)

    assert up.wait(10) == 0
    assert f"Notification for order {number}" not in up.stdout
