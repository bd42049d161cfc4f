"""Breaks the product on purpose, each time in the way of some system that loses meals.

Run in place of a service: ``python -m tests.faults.sabotage NAME SERVICE [OPTIONS]``. The checker
must find each of these; the product itself knows nothing of them.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

from restaurant_system import cli
from restaurant_system.database import idempotency, orders, outbox
from restaurant_system.database.connection import Connection
from restaurant_system.database.outbox import Owed
from restaurant_system.messaging import topology
from restaurant_system.messaging.broker import Delivery
from restaurant_system.models.order import order_number
from restaurant_system.services.kitchen.worker import KitchenWorker


def ack_before_commit() -> None:
    """Take an order off its queue first, and cook it then."""
    cook = KitchenWorker._cook_and_settle

    async def acked_first(self: KitchenWorker, delivery: Delivery) -> None:
        await delivery.ack()
        await cook(self, _Settled(delivery))

    KitchenWorker._cook_and_settle = acked_first


class _Settled:
    """A delivery that has been acknowledged; nothing more can be done with it."""

    def __init__(self, delivery: Delivery) -> None:
        self.message = delivery.message

    async def ack(self) -> None:
        """Nothing: it is gone."""

    async def defer(self) -> None:
        """Nothing: it is gone."""

    async def retry(self, reason: str) -> None:
        """Nothing: it is gone."""

    async def dead_letter(self, reason: str) -> None:
        """Nothing: it is gone."""


def unroutable_unnoticed() -> None:
    """Publish without asking whether a message reached any queue."""
    find = topology.exchange
    topology.exchange = lambda name: replace(find(name), mandatory=False)


def outbox_by_cursor() -> None:
    """Read the outbox on from the last id that was seen."""
    seen = 0

    async def claim(tx: Connection, limit: int) -> list[Owed]:
        nonlocal seen
        rows = await tx.fetch(
            "SELECT * FROM outbox WHERE id > $1 ORDER BY id LIMIT $2", seen, limit
        )
        seen = max([seen, *(row["id"] for row in rows)])
        return [outbox._owed(row) for row in rows]

    async def claim_fresh(tx: Connection, ids: Sequence[int]) -> list[Owed]:
        return await claim(tx, len(ids))

    async def claim_left_behind(tx: Connection, _: timedelta, limit: int) -> list[Owed]:
        return await claim(tx, limit)

    outbox.claim, outbox.claim_left_behind = claim_fresh, claim_left_behind


def no_compare_and_set() -> None:
    """Move an order wherever it stands."""
    condition = "WHERE number = $1 AND status = $2 AND ($3 <> 'ready' OR processed_by = $5)"
    assert condition in orders.MOVE
    orders.MOVE = orders.MOVE.replace(condition, "WHERE number = $1 AND $2 <> ''")


def number_from_sequence() -> None:
    """Number the orders by a sequence, which keeps no number back for who fails."""

    async def take_number(tx: Connection, business_date: date) -> str:
        return order_number(business_date, await tx.fetchval("SELECT nextval('order_numbers')"))

    orders.take_number = take_number


def no_idempotency_key() -> None:
    """Take each request for a new order."""

    async def take(*_: Any) -> bool:
        return True

    async def answer(*_: Any) -> None:
        """Remember nothing."""

    idempotency.take, idempotency.answer = take, answer


SWITCHES: dict[str, Callable[[], None]] = {
    switch.__name__.replace("_", "-"): switch
    for switch in (
        ack_before_commit,
        unroutable_unnoticed,
        outbox_by_cursor,
        no_compare_and_set,
        number_from_sequence,
        no_idempotency_key,
    )
}


if __name__ == "__main__":
    SWITCHES[sys.argv.pop(1)]()
    cli.main()
