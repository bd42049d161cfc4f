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
    with deployments.running(dsn, amqp_url, **keys(key)) as restaurant:
        restaurant.take_orders()
        restaurant.ready()
        cancelled, waiting = restaurant.order(), restaurant.order()
        restaurant.orders.post(f"/orders/{cancelled}/cancel", json={}).raise_for_status()
        restaurant.wait_until_nothing_is_owed()
    return cancelled, waiting


def test_signing_key_is_replaced_while_messages_wait(
    dsn: str, optional_amqp_url: str | None
) -> None:
    """Messages signed with the old key are accepted, those with an unknown key are not."""
    with deployments.running(dsn, optional_amqp_url) as restaurant:
        restaurant.listen("display")  # its queue keeps updates from now on
        restaurant.ready()
    forged = place_orders(UNKNOWN, dsn, optional_amqp_url)
    cancelled, waiting = place_orders(OLD, dsn, optional_amqp_url)

    with deployments.running(dsn, optional_amqp_url, **keys(NEW, OLD)) as restaurant:
        restaurant.take_orders()
        cook, display = restaurant.cook("anna"), restaurant.listen("display")
        restaurant.ready()
        later = restaurant.order()
        for number in (waiting, later):
            restaurant.wait_for(number, "ready")
        wait_until(lambda: display.stdout.count("\n") == 5, seconds=30, doing="for 5 updates")

        assert cancelled in display.stdout
        assert not any(number in display.stdout for number in forged)
        for process in (cook, display):
            process.wait_for("message_dead_lettered", attempts=1)
        for process in restaurant.started:
            assert not any(key in process.stdout + process.stderr for key in (OLD, NEW))
