"""Hand over orders that are ready, mark those not fetched, and send them back to the kitchen.

A hand-over is a mark at first, which can be undone; the order leaves the board at once. Any process
completes marked orders once the time for that is over. What was sent back to the kitchen can be
undone for the same time, as long as the kitchen has not finished it again.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from uuid import uuid4

from restaurant_system.config import KitchenSettings
from restaurant_system.database import audit, idempotency, orders, ready_orders, tickets
from restaurant_system.database.connection import Connection, Database
from restaurant_system.database.orders import MovedOrder
from restaurant_system.database.preparation_times import LearnedTimes
from restaurant_system.database.ready_orders import HandedOver, LockedOrder
from restaurant_system.errors import (
    HandedOverAlready,
    NotReady,
    OrderChanged,
    OrderNotFound,
    TooLateToUndo,
)
from restaurant_system.logger import get_logger, joined_lines
from restaurant_system.messaging.order_messages import Sender, move_with_update
from restaurant_system.messaging.relay import Relay
from restaurant_system.metrics.order_moves import observe_move
from restaurant_system.models.audit import Act, Actor, AuditAction
from restaurant_system.models.clock import Clock, rfc_3339
from restaurant_system.models.order import MoveOfReadyOrder
from restaurant_system.models.status import OrderStatus
from restaurant_system.models.ticket import UNDO_WINDOW
from restaurant_system.services.order.periodic import process_in_batches
from restaurant_system.services.order.service import NAME

UNDO_SLACK = timedelta(seconds=2)  # for an undo that was sent in time, over a slow connection
INTERVAL = 1.0  # s between two searches for orders to complete
BATCH_SIZE = 200  # orders that are completed in one transaction
FAILURE = ("completion_failed", "Orders that were handed over could not be completed.")
HANDED_OVER, SENT_BACK, UNDONE = "handed over", "sent back", "sent back, undone"

log = get_logger(NAME)


class ReadyAction(StrEnum):
    """An action on an order that is ready, by its path below the order's."""

    HAND_OVER = "hand-over"
    UNDO_HAND_OVER = "hand-over/undo"
    MARK_UNCOLLECTED = "uncollected"
    UNDO_UNCOLLECTED = "uncollected/undo"
    SEND_BACK = "send-back"
    UNDO_SEND_BACK = "send-back/undo"


AUDIT_ACTIONS = {
    ReadyAction.HAND_OVER: AuditAction.HAND_OVER_ORDER,
    ReadyAction.UNDO_HAND_OVER: AuditAction.UNDO_HAND_OVER,
    ReadyAction.MARK_UNCOLLECTED: AuditAction.MARK_UNCOLLECTED,
    ReadyAction.UNDO_UNCOLLECTED: AuditAction.UNDO_UNCOLLECTED,
    ReadyAction.SEND_BACK: AuditAction.SEND_BACK_ORDER,
    ReadyAction.UNDO_SEND_BACK: AuditAction.UNDO_SEND_BACK,
}
STATUS_AFTER = {
    action: OrderStatus.COOKING if action is ReadyAction.SEND_BACK else OrderStatus.READY
    for action in ReadyAction
}
WANTED = {
    ReadyAction.HAND_OVER: "handed over",
    ReadyAction.MARK_UNCOLLECTED: "marked as not fetched",
    ReadyAction.SEND_BACK: "sent back to the kitchen",
}
# No other action is performed on an order that was handed over: the customer has it.
OF_HAND_OVER = frozenset({ReadyAction.HAND_OVER, ReadyAction.UNDO_HAND_OVER})


@dataclass(frozen=True, slots=True, kw_only=True)
class ActOnReadyOrder:
    """A person's request for an action on an order, by the name in `move`."""

    number: str
    action: ReadyAction
    move: MoveOfReadyOrder
    request_id: str
    by: Actor | None = None

    @property
    def fingerprint(self) -> bytes:
        """A hash that is equal for two requests if they are for the same action, else different."""
        text = f"{self.action} {self.number} {self.move.model_dump_json()}"
        return hashlib.sha256(text.encode()).digest()


@dataclass(frozen=True, slots=True)
class ActionResult:
    """The order's status after an action; `replayed` if the action had taken effect before."""

    status: OrderStatus
    replayed: bool = False


class ReadyOrders:
    """Performs actions on ready orders, and completes those that were handed over."""

    def __init__(
        self,
        database: Database,
        relay: Relay,
        *,
        clock: Clock,
        kitchen: KitchenSettings,
        times: LearnedTimes,
    ) -> None:
        self._database = database
        self._relay = relay
        self._clock = clock
        self._kitchen = kitchen
        self._times = times

    async def run(self) -> None:
        """Complete orders that were handed over until cancelled; see `process_in_batches`."""
        await process_in_batches(
            self.complete_handed_over, batch_size=BATCH_SIZE, interval=INTERVAL, failure=FAILURE
        )

    async def complete_handed_over(self) -> int:
        """Complete a batch of the orders whose hand-over cannot be undone any more; count them.

        Raises `DatabaseUnavailable`.
        """
        now = self._clock()
        until = now - UNDO_WINDOW - UNDO_SLACK
        async with self._database.transaction() as tx:
            due = await ready_orders.lock_handed_over(tx, until=until, limit=BATCH_SIZE)
            moves = [
                move_with_update(
                    each.number,
                    origin=OrderStatus.READY,
                    target=OrderStatus.COMPLETED,
                    at=now,
                    by=each.by,
                    sender=_sender(each),
                    notes=HANDED_OVER,
                )
                for each in due
            ]
            moved = await orders.move(tx, moves) if moves else []
        self._enqueue(moved, OrderStatus.READY, OrderStatus.COMPLETED)
        with joined_lines():
            for each in due:
                log.info(
                    "order_moved",
                    message=f"Order {each.number} is completed: it was handed over.",
                    order_number=each.number,
                )
        return len(due)

    async def perform(self, act: ActOnReadyOrder, *, key: str | None) -> ActionResult:
        """Perform an action on an order, once for each idempotency key, and record who does so.

        What is so already stays so: of two people who hand over an order, the first one does it.
        Raises `OrderNotFound`, `NotReady`, `HandedOverAlready`, `TooLateToUndo`, `OrderChanged` if
        the order has changed since it was shown, and `IdempotencyKeyReused` for a key that was used
        for another action.
        """
        target = STATUS_AFTER[act.action]
        if act.action is ReadyAction.SEND_BACK:
            await self._times.latest()
        async with self._database.transaction() as tx:
            order = await ready_orders.lock(tx, act.number)
            if order is None:
                raise OrderNotFound(act.number)
            if key is not None and not await idempotency.take_for_action(
                tx, f"act {key}", act.fingerprint, act.number
            ):
                return ActionResult(target, replayed=True)
            if _is_so_already(act.action, order):
                return ActionResult(target)
            _check_status(act, order)
            moved = await self._perform(tx, act, order)
            if act.by is not None:
                await audit.write(tx, [self._record(act, act.by)])
        self._enqueue([moved], order.status, target)
        log.info(
            "order_marked" if moved is None else "order_moved",
            message=f"Order {act.number}: {act.action}.",
            order_number=act.number,
        )
        return ActionResult(target)

    async def _perform(
        self, tx: Connection, act: ActOnReadyOrder, order: LockedOrder
    ) -> MovedOrder | None:
        """Perform an action; return the outbox message of a status change, if any."""
        now = self._clock()
        match act.action:
            case ReadyAction.HAND_OVER:
                await ready_orders.hand_over(tx, act.number, at=now, by=_author(act))
            case ReadyAction.UNDO_HAND_OVER:
                await ready_orders.undo_hand_over(tx, act.number, at=now)
            case ReadyAction.MARK_UNCOLLECTED:
                await ready_orders.mark_uncollected(tx, act.number, since=now, at=now)
            case ReadyAction.UNDO_UNCOLLECTED:
                await ready_orders.mark_uncollected(tx, act.number, since=None, at=now)
            case ReadyAction.SEND_BACK:
                return await self._send_back(tx, act, order)
            case ReadyAction.UNDO_SEND_BACK:
                return await self._undo_send_back(tx, act, order)
        return None

    async def _send_back(
        self, tx: Connection, act: ActOnReadyOrder, order: LockedOrder
    ) -> MovedOrder | None:
        """Return an order to its worker, who cooks it again; another one, if that is offline."""
        now = self._clock()
        cooking_time = self._times.known.expected(order.order_type)
        move = move_with_update(
            act.number,
            origin=OrderStatus.READY,
            target=OrderStatus.COOKING,
            at=now,
            by=_author(act),
            sender=Sender(NAME, act.request_id),
            estimated_completion=now + timedelta(seconds=cooking_time),
            notes=act.move.reason or SENT_BACK,
        )
        (moved,) = await orders.move(tx, [move], by_people=True)
        await tickets.show_again(tx, act.number)
        return moved

    async def _undo_send_back(
        self, tx: Connection, act: ActOnReadyOrder, order: LockedOrder
    ) -> MovedOrder | None:
        now = self._clock()
        recall = await ready_orders.last_recall(tx, act.number)
        if recall is None or recall.at < now - UNDO_WINDOW - UNDO_SLACK:
            raise TooLateToUndo(act.number, order.status)
        move = move_with_update(
            act.number,
            origin=OrderStatus.COOKING,
            target=OrderStatus.READY,
            at=now,
            by=_author(act),
            sender=Sender(NAME, act.request_id),
            notes=UNDONE,
        )
        (moved,) = await orders.move(tx, [move], by_people=True)
        await ready_orders.ready_as_before(tx, act.number, since=recall.ready_since)
        return moved

    def _enqueue(
        self, moved: Sequence[MovedOrder | None], origin: OrderStatus, target: OrderStatus
    ) -> None:
        """Pass the messages of committed moves to the relay, and observe the moves."""
        for each in moved:
            if each is not None:
                self._relay.enqueue(each)
                observe_move(each.order_type, origin, target, each.seconds_since_placed)

    def _record(self, act: ActOnReadyOrder, by: Actor) -> Act:
        return Act(
            at=self._clock(),
            actor=by,
            action=AUDIT_ACTIONS[act.action],
            target=act.number,
            request_id=act.request_id,
        )


def _is_so_already(action: ReadyAction, order: LockedOrder) -> bool:
    """Tell whether an order is ready, and already as it is to be."""
    is_marked = {
        ReadyAction.HAND_OVER: order.handed_over_at is not None,
        ReadyAction.UNDO_HAND_OVER: order.handed_over_at is None,
        ReadyAction.MARK_UNCOLLECTED: order.uncollected_at is not None,
        ReadyAction.UNDO_UNCOLLECTED: order.uncollected_at is None,
        ReadyAction.SEND_BACK: False,
        ReadyAction.UNDO_SEND_BACK: True,
    }
    return order.status is OrderStatus.READY and is_marked[action]


def _check_status(act: ActOnReadyOrder, order: LockedOrder) -> None:
    """Refuse an action that the status of an order, or its mark, does not allow."""
    wanted = WANTED.get(act.action)
    if act.action is ReadyAction.UNDO_SEND_BACK:
        if order.status is not OrderStatus.COOKING:
            raise TooLateToUndo(act.number, order.status)
    elif order.status is not OrderStatus.READY:
        if wanted is None:
            raise TooLateToUndo(act.number, order.status)
        raise NotReady(act.number, order.status, wanted)
    elif order.handed_over_at is not None and act.action not in OF_HAND_OVER:
        raise HandedOverAlready(act.number, wanted or "as it was")
    as_of = act.move.as_of
    if as_of is not None and rfc_3339(as_of) != rfc_3339(order.updated_at):  # screens get ms
        raise OrderChanged(act.number, order.status)


def _author(act: ActOnReadyOrder) -> str:
    return act.move.changed_by or NAME


def _sender(order: HandedOver) -> Sender:
    return Sender(NAME, order.request_id or str(uuid4()), order.trace)
