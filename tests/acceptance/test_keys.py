"""Signed messages between services, and the replacement of a signing key."""

import json

from tests.support import deployments
from tests.support.waiting import wait_until

OLD, NEW = "an old signing key", "a new signing key"
UNKNOWN = "an unknown signing key"


def keys(*values: str) -> dict[str, str]:
    """Return the environment variable of these keys."""
    return {"RESTAURANT_SIGNING__KEYS": json.dumps(values)}


def place_orders(key: str, dsn: str, amqp_url: str | None) -> tuple[str, str]:
    """Place two orders and cancel the first, without workers and subscribers."""
    with deployments.running(dsn, amqp_url, **keys(key)) as deployment:
        deployment.start_order_service()
        deployment.wait_until_ready()
        cancelled, waiting = deployment.place_order(), deployment.place_order()
        deployment.orders.post(f"/orders/{cancelled}/cancel", json={}).raise_for_status()
        deployment.wait_until_outbox_is_empty()
    return cancelled, waiting


def test_signing_key_is_replaced_while_messages_wait(
    dsn: str, optional_amqp_url: str | None
) -> None:
    """Messages signed with the old key are accepted, those with an unknown key are not.

    A rejected message wakes no worker, but its order is in the database, and so it is cooked.
    """
    with deployments.running(dsn, optional_amqp_url) as deployment:
        deployment.start_subscriber("display")  # its queue keeps updates from now on
        deployment.wait_until_ready()
    unaccepted, stored = place_orders(UNKNOWN, dsn, optional_amqp_url)
    cancelled, waiting = place_orders(OLD, dsn, optional_amqp_url)

    with deployments.running(dsn, optional_amqp_url, **keys(NEW, OLD)) as deployment:
        deployment.start_order_service()
        cook, display = deployment.start_worker("anna"), deployment.start_subscriber("display")
        deployment.wait_until_ready()
        later = deployment.place_order()
        for number in (stored, waiting, later):
            deployment.wait_for_status(number, "ready")
        wait_until(lambda: display.stdout.count("\n") == 7, seconds=30, doing="for 7 updates")

        assert cancelled in display.stdout
        assert unaccepted not in display.stdout
        for process in (cook, display):
            process.wait_for("message_dead_lettered", attempts=1)
        for process in deployment.started:
            assert not any(key in process.stdout + process.stderr for key in (OLD, NEW))
