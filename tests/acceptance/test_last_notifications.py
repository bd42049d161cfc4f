"""Notifications that are in flight while `up` stops."""

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support import deployments
from tests.support.deployments import Deployment
from tests.support.processes import Process
from tests.support.waiting import wait_until

# Until the lock is released, no message of this queue is delivered.
HOLD_BACK = "SELECT pg_advisory_lock(hashtext(queue)) FROM broker_subscriptions"
RELEASE = "SELECT pg_advisory_unlock_all()"


@pytest.fixture
def deployment(dsn: str, data_dir: Path) -> Iterator[Deployment]:
    """Run a deployment with the broker in PostgreSQL, where deliveries can be held back."""
    with deployments.running(dsn, RESTAURANT_DATA_DIR=str(data_dir)) as deployment:
        yield deployment


def stop_with_notifications_in_flight(deployment: Deployment) -> tuple[Process, str]:
    """Cook an order, hold back its two notifications, and send SIGTERM."""
    up = deployment.start_all_in_one()
    deployment.wait_until_ready()
    up.wait_for("subscribed")
    assert deployment.query(HOLD_BACK)
    number = deployment.place_order()
    deployment.wait_for_status(number, "ready")
    deployment.wait_until_outbox_is_empty()
    up.signal(signal.SIGTERM)
    wait_until(lambda: not listens(deployment), seconds=30, doing="for other components to stop")
    return up, number


def listens(deployment: Deployment) -> bool:
    """Tell whether the port of the order service accepts connections."""
    try:
        deployment.orders.get("/health/live")
    except httpx.TransportError:
        return False
    return True


def test_notification_in_flight_at_a_stop_is_printed(
    deployment: Deployment,
) -> None:
    """The notification is printed after all other components have stopped."""
    up, number = stop_with_notifications_in_flight(deployment)

    time.sleep(0.5)
    assert up.running
    assert f"Notification for order {number}" not in up.stdout
    deployment.query(RELEASE)

    assert up.wait() == 0
    assert up.stdout.count(f"Notification for order {number}") == 2


def test_second_signal_ends_the_wait_for_notifications_in_flight(deployment: Deployment) -> None:
    """After a second signal, notifications in flight are not printed; the exit code is 0."""
    up, number = stop_with_notifications_in_flight(deployment)
    assert up.running

    up.signal(signal.SIGTERM)

    assert up.wait(10) == 0
    assert f"Notification for order {number}" not in up.stdout
