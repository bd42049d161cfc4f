"""Services that share a key: what they tell one another is trusted, also over a change of keys."""

import json

from tests.support import restaurant as restaurants
from tests.support.servers import wait_until

OLD, NEW = "an old key, soon to be dropped", "a new key, fresh from the mint"


def keys(*stated: str) -> dict[str, str]:
    """Name the keys as an operator does."""
    return {"RESTAURANT_SIGNING__KEYS": json.dumps(stated)}


def test_keys_are_changed_while_messages_wait(dsn: str, amqp_url_if_any: str | None) -> None:
    """Orders and updates signed with the old key are good after it, and no key is ever shown."""
    with restaurants.opened(dsn, amqp_url_if_any, **keys(OLD)) as before:
        before.take_orders()
        display = before.listen("display")
        before.ready()
        display.kill()  # what is told from now on waits for the next display
        cancelled, waiting = before.order(), before.order()
        before.orders.post(f"/orders/{cancelled}/cancel", json={}).raise_for_status()
        before.wait_until_nothing_is_owed()

    with restaurants.opened(dsn, amqp_url_if_any, **keys(NEW, OLD)) as after:
        after.take_orders()
        after.cook("anna")
        display = after.listen("display")
        after.ready()
        fresh = after.order()
        for number in (waiting, fresh):
            after.wait_for(number, "ready")
        wait_until(lambda: display.stdout.count("\n") == 5, seconds=30, doing="for 5 updates")

        assert f"{cancelled}: Status changed from 'received' to 'cancelled'" in display.stdout
        for process in after.started:
            assert not process.logged("message_dead_lettered")
            assert not any(key in process.stdout + process.stderr for key in (OLD, NEW))
