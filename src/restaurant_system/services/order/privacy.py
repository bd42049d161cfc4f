"""Find, export and erase the personal data of customers: names, phones, addresses and notes.

Erasing is irreversible; the figures, times and types of an order stay. Every step may be
interrupted and repeated: an order's row, items and log are erased in one transaction, and the
messages about erased orders are found by the numbers of these orders.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, TypeAlias
from uuid import UUID

from restaurant_system.database import audit, personal_data
from restaurant_system.database.connection import Connection, Database
from restaurant_system.database.personal_data import CustomerOrder
from restaurant_system.database.standbys import wait_for_standbys
from restaurant_system.errors import (
    ErasureRefused,
    OrderNotFound,
    OrderOfAnotherCustomer,
    TooManyOrders,
)
from restaurant_system.logger import get_logger
from restaurant_system.messaging import dead_letters, topology
from restaurant_system.messaging.broker import Broker
from restaurant_system.messaging.dead_letters import All, DeadLetter, Result
from restaurant_system.messaging.postgres.queues import delete_erased
from restaurant_system.models.audit import Act, Actor, AuditAction
from restaurant_system.models.clock import Clock, rfc_3339
from restaurant_system.models.privacy import normalized_name, normalized_phone
from restaurant_system.services.order.service import NAME

SCAN_SIZE = 250  # orders that are compared with a name at once; requests wait for it
BATCH_SIZE = 200  # orders that are erased in one transaction
DEAD_LETTERS_SIZE = 500  # dead letters that the periodic task has in memory at once

log = get_logger(NAME)

Match: TypeAlias = Callable[[CustomerOrder | DeadLetter], bool]


@dataclass(frozen=True, slots=True)
class Customer:
    """A customer by name, by phone, by the numbers of orders, or by several of these.

    Each order of the customer has all that is given. The name may be that of the customer, that of
    a person whose dish an item is (`guest`), or the `reference`.
    """

    name: str | None = None
    numbers: tuple[str, ...] = ()
    phone: str | None = None


@dataclass(frozen=True, slots=True)
class ErasurePlan:
    """What erasing a customer changes.

    The data of `unfinished` orders is still needed and stays. `unattributed` counts the dead
    letters that belong to no stored order and contain no readable name.
    """

    finished: Sequence[CustomerOrder]
    unfinished: Sequence[CustomerOrder]
    dead_letters: Collection[UUID]
    unattributed: int


@dataclass(slots=True)
class Erased:
    """What has been erased so far, correct also after an error or interruption."""

    orders: list[str] = field(default_factory=list)
    messages: int = 0
    dead_letters: Result = field(default_factory=Result)


class PersonalData:
    """Finds, exports and erases the personal data of customers, and records who does.

    `by` is the person or program that does, by a request or a command; `None` is a service.
    """

    def __init__(
        self,
        database: Database,
        broker: Broker,
        *,
        clock: Clock,
        by: Actor | None = None,
        request_id: str | None = None,
    ) -> None:
        self._database = database
        self._broker = broker
        self._clock = clock
        self._by = by
        self._request_id = request_id

    async def find(self, customer: Customer) -> list[CustomerOrder]:
        """Return the orders of a customer, oldest first.

        Names are compared by `normalized_name`, phones by `normalized_phone`; an erased order has
        neither. Raises `OrderNotFound` for an unknown number, and `OrderOfAnotherCustomer` for an
        order with another name or phone.
        """
        is_theirs = _match(customer)
        if not customer.numbers:
            return await self._find_all(is_theirs)
        async with self._database.connection() as connection:
            orders = await personal_data.orders_by_number(
                connection, customer.numbers, at=self._clock()
            )
        known = {order.number: order for order in orders}
        for number in customer.numbers:
            if number not in known:
                raise OrderNotFound(number)
            if _is_described(customer) and not is_theirs(known[number]):
                raise OrderOfAnotherCustomer(number)
        return orders

    async def export(self, customer: Customer, *, max_orders: int | None = None) -> dict[str, Any]:
        """Return everything that is stored about the orders of a customer.

        These are the orders, the dead letters about them and, unless the customer is named by
        orders, those with the name or phone that belong to no stored order. Raises as `find`,
        `BrokerUnavailable`, and `TooManyOrders` if there are more than `max_orders`.
        """
        orders = await self.find(customer)
        if max_orders is not None and len(orders) > max_orders:
            raise TooManyOrders(len(orders), max_orders)
        letters = await dead_letters.read(self._broker)
        stored = await self._which_are_erased(letters)
        numbers = [order.number for order in orders]
        is_theirs = _match(customer)
        theirs = [
            letter
            for letter in letters
            if letter.order_number in numbers
            or (not customer.numbers and letter.order_number not in stored and is_theirs(letter))
        ]
        async with self._database.transaction() as tx:
            rows = await personal_data.export(tx, [order.id for order in orders])
            targets = [*numbers, *(letter.id for letter in theirs)]
            await self._record(tx, AuditAction.EXPORT_PERSONAL_DATA, targets)
        return {
            "exported_at": rfc_3339(self._clock()),
            "orders": rows,
            "dead_letters": [_exported(letter) for letter in theirs],
        }

    async def plan(self, customer: Customer) -> ErasurePlan:
        """Return what `erase` would change; raises as `find`, and `BrokerUnavailable`.

        Dead letters about orders that are erased already are part of every plan.
        """
        orders = await self.find(customer)
        letters = await dead_letters.read(self._broker)
        is_erased = await self._which_are_erased(letters)
        is_theirs = _match(customer)
        finished = {order.number for order in orders if order.is_finished}

        def is_to_be_discarded(letter: DeadLetter) -> bool:
            if letter.order_number in is_erased:
                return letter.order_number in finished or is_erased[letter.order_number]
            return _is_described(customer) and is_theirs(letter)

        return ErasurePlan(
            finished=[each for each in orders if each.is_finished and not each.is_erased],
            unfinished=[each for each in orders if not each.is_finished],
            dead_letters=_ids(letters, is_to_be_discarded),
            unattributed=sum(
                not letter.customer_name and letter.order_number not in is_erased
                for letter in letters
            ),
        )

    async def erase(self, plan: ErasurePlan, result: Erased) -> Erased:
        """Erase the orders of a plan, and their idempotency keys, messages and dead letters.

        If it fails half-way, a new plan for the same customer contains what is left.
        """
        for ids in _batches([order.id for order in plan.finished]):
            async with self._database.transaction() as tx:
                numbers = await self._erase(tx, ids)
                await personal_data.erase_fingerprints(tx, ids)
                await self._record(tx, AuditAction.ERASE_PERSONAL_DATA, numbers)
            result.orders += numbers
        result.messages += await delete_erased(self._database)
        async with self._database.connection() as connection:
            await wait_for_standbys(connection)  # the plan leaves out what was erased before
        if plan.dead_letters:
            selection = All(plan.dead_letters)
            await dead_letters.discard(
                self._broker, selection, result.dead_letters, record=self._record_discards
            )
        return result

    async def erase_due(self, retention: timedelta, refused: dict[int, ErasureRefused]) -> int:
        """Erase the next orders that finished before the retention period; return their number.

        Those that the database refuses to erase are added to `refused`, by id, and left out.
        Several processes may do so at once. The idempotency keys of the orders have expired,
        because the settings allow no shorter period.
        """
        while True:
            async with self._database.transaction() as tx:
                before = self._clock() - retention
                ids = await personal_data.lock_due(tx, before, BATCH_SIZE, refused)
                erased = await self._erase_unless_refused(tx, ids, refused) if ids else 0
            if erased or not ids:
                return erased

    async def _erase_unless_refused(
        self, tx: Connection, ids: Sequence[int], refused: dict[int, ErasureRefused]
    ) -> int:
        """Erase orders together or, if the database refuses that, one by one."""
        try:
            async with tx.transaction():
                return len(await self._erase(tx, ids))
        except ErasureRefused as error:
            if len(ids) == 1:
                refused[ids[0]] = error
                return 0
        return sum([await self._erase_unless_refused(tx, [each], refused) for each in ids])

    async def delete_messages(self, retention: timedelta | None) -> int:
        """Delete messages and dead letters of erased orders; return their number.

        With a `retention`, dead letters that belong to no stored order are deleted too once they
        are older. Raises `Unavailable`, and `DeadLettersLocked` while another process has them
        locked.
        """
        deleted = await delete_erased(self._database)
        if (await self._broker.depths())[topology.DEAD_LETTERS.name]:
            deleted += await self._discard_dead_letters(retention)
        return deleted

    async def _discard_dead_letters(self, retention: timedelta | None) -> int:
        """Discard dead letters in batches while each has some to discard; return their number."""
        result = Result()
        while True:
            letters = await dead_letters.read(self._broker, limit=DEAD_LETTERS_SIZE)
            is_erased = await self._which_are_erased(letters)
            overdue_before = None if retention is None else self._clock() - retention
            ids = {
                letter.message.message_id
                for letter in letters
                if is_erased.get(letter.order_number, _is_older(letter, overdue_before))
            }
            before = result.done
            if ids:
                await dead_letters.discard(self._broker, All(ids), result, limit=DEAD_LETTERS_SIZE)
            if result.done == before:
                return result.done

    async def _record_discards(self, ids: Sequence[UUID]) -> None:
        async with self._database.transaction() as tx:
            await self._record(tx, AuditAction.DISCARD_DEAD_LETTER, list(map(str, ids)))

    async def _record(self, tx: Connection, action: AuditAction, targets: Sequence[str]) -> None:
        if self._by is not None:
            now, by, request_id = self._clock(), self._by, self._request_id
            acts = [
                Act(at=now, actor=by, action=action, target=target, request_id=request_id)
                for target in targets
            ]
            await audit.write(tx, acts)

    async def _erase(self, tx: Connection, ids: Sequence[int]) -> list[str]:
        numbers = await personal_data.erase(
            tx, ids, at=self._clock(), exchange=topology.ORDERS_TOPIC.name
        )
        await personal_data.erase_external_fingerprints(tx, ids)
        return numbers

    async def _find_all(self, is_theirs: Match) -> list[CustomerOrder]:
        found: list[CustomerOrder] = []
        after = 0
        while True:
            async with self._database.connection() as connection:
                orders = await personal_data.next_orders(
                    connection, after=after, limit=SCAN_SIZE, at=self._clock()
                )
            if not orders:
                return found
            found += [order for order in orders if is_theirs(order)]
            after = orders[-1].id

    async def _which_are_erased(self, letters: Sequence[DeadLetter]) -> dict[str, bool]:
        """Return whether the orders of dead letters are erased, without those not stored."""
        numbers = {letter.order_number for letter in letters} - {""}
        async with self._database.connection() as connection:
            return await personal_data.which_are_erased(connection, sorted(numbers))


def _is_described(customer: Customer) -> bool:
    """Tell whether a customer is given by more than the numbers of orders."""
    return customer.name is not None or customer.phone is not None


def _match(customer: Customer) -> Match:
    """Return whether an order or a dead letter has the name and the phone that are given."""
    name = None if customer.name is None else normalized_name(customer.name)
    phone = None if customer.phone is None else normalized_phone(customer.phone)

    def is_theirs(each: CustomerOrder | DeadLetter) -> bool:
        if isinstance(each, CustomerOrder) and each.is_erased:
            return False
        if name is not None and not any(normalized_name(other) == name for other in each.names):
            return False
        return phone is None or normalized_phone(each.phone or "") == phone

    return is_theirs


def _exported(letter: DeadLetter) -> dict[str, str]:
    """Return a dead letter for an export; bytes that are not UTF-8 are replaced."""
    return {
        "id": letter.id,
        "first_seen": letter.first_seen,
        "reason": letter.reason,
        "body": letter.message.body.decode(errors="replace"),
    }


def _ids(letters: Sequence[DeadLetter], condition: Callable[[DeadLetter], bool]) -> set[UUID]:
    return {letter.message.message_id for letter in letters if condition(letter)}


def _batches(ids: Sequence[int]) -> list[Sequence[int]]:
    return [ids[start : start + BATCH_SIZE] for start in range(0, len(ids), BATCH_SIZE)]


def _is_older(letter: DeadLetter, moment: datetime | None) -> bool:
    """Return whether a dead letter failed first, or was sent, before a time."""
    if moment is None:
        return False
    try:
        return datetime.fromisoformat(letter.first_seen) < moment
    except (ValueError, TypeError):  # written by a third party, or without a time zone
        return letter.message.timestamp < moment
