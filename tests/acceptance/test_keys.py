"""Services that share a key: what they tell one another is trusted, also over a change of keys."""

import json

from tests.support import deployments
from tests.support.waiting import wait_until

OLD, NEW = "an old key, soon to be dropped", "a new key, fresh from the mint"
STRANGE = "a key that nobody knows"


def keys(*stated: str) -> dict[str, str]:
    """Name the keys as an operator does."""
    return {"RESTAURANT_SIGNING__KEYS": json.dumps(stated)}


def open_under(key: str, dsn: str, amqp_url: str | None) -> tuple[str, str]:
    """Take two orders, call the first off, and close; nobody cooks, and nobody listens."""
    with deployments.running(dsn, amqp_url, **keys(key)) as restaurant:
        restaurant.take_orders()
        restaurant.ready()
        cancelled, waiting = restaurant.order(), restaurant.order()
        restaurant.orders.post(f"/orders/{cancelled}/cancel", json={}).raise_for_status()
        restaurant.wait_until_nothing_is_owed()
    return cancelled, waiting


def test_keys_are_changed_while_messages_wait(dsn: str, optional_amqp_url: str | None) -> None:
    """What was signed with the old key is good after it, a stranger's is not; no key is shown."""
    with deployments.running(dsn, optional_amqp_url) as restaurant:
        restaurant.listen("display")  # whose queue keeps what it misses from now on
        restaurant.ready()
    forged = open_under(STRANGE, dsn, optional_amqp_url)
    cancelled, waiting = open_under(OLD, dsn, optional_amqp_url)

    with deployments.running(dsn, optional_amqp_url, **keys(NEW, OLD)) as restaurant:
        restaurant.take_orders()
        cook, display = restaurant.cook("anna"), restaurant.listen("display")
        restaurant.ready()
        fresh = restaurant.order()
        for number in (waiting, fresh):
            restaurant.wait_for(number, "ready")
        wait_until(lambda: display.stdout.count("\n") == 5, seconds=30, doing="for 5 updates")

        assert cancelled in display.stdout
        assert not any(number in display.stdout for number in forged)
        for process in (cook, display):
            process.wait_for("message_dead_lettered", attempts=1)
        for process in restaurant.started:
            assert not any(key in process.stdout + process.stderr for key in (OLD, NEW))
