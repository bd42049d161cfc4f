"""Read, requeue and discard dead letters.

Each function holds all dead letters unacknowledged while it works, so that two commands cannot
requeue the same one. The second command gets an error.
"""

import asyncio
import dataclasses
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Coroutine,
    Iterable,
    Iterator,
    Sequence,
)
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeVar
from uuid import UUID

import jiter

from restaurant_system.database import audit
from restaurant_system.database.connection import Database
from restaurant_system.errors import DeadLetterNotFound, MessageRejected
from restaurant_system.logger import get_logger
from restaurant_system.messaging import retry_policy, topology
from restaurant_system.messaging.broker import Broker, Delivery, Refused
from restaurant_system.messaging.signature import Signer
from restaurant_system.models.audit import Act, Actor, AuditAction
from restaurant_system.models.clock import utc_now
from restaurant_system.models.message import (
    MAX_BODY_SIZE,
    Message,
    OrderReceived,
    StatusChanged,
    Undecodable,
    decode,
)
from restaurant_system.models.order import ORDER_NUMBER, OrderType

# Prefix of the headers that RabbitMQ adds to a message that it dead-letters itself.
FIRST_DEATH = "x-first-death-"
# Headers added on the way to the dead-letter queue; they are removed when it is requeued.
ADDED = retry_policy.HEADERS | {"x-death", "x-delivery-count", topology.RETRY_DELAY}
ADDED_PREFIXES = (FIRST_DEATH, "x-last-death-")
KITCHEN_QUEUES = frozenset(topology.kitchen_queues(tuple(OrderType)))
ORDER_KEYS = frozenset(
    topology.routing_key(order_type, priority)
    for order_type in OrderType
    for priority in range(1, topology.MAX_PRIORITY + 1)
)

BATCH_SIZE = 200  # dead letters that are requeued or discarded together

log = get_logger()


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A dead-lettered message; a property that its headers do not state is empty."""

    message: Message

    @property
    def id(self) -> str:
        """The message's id. Copies of one message, from several queues, share it."""
        return str(self.message.message_id)

    @property
    def first_seen(self) -> str:
        """The time of its first failure, in ISO 8601."""
        return self._header(retry_policy.FIRST_SEEN)

    @property
    def attempts(self) -> str:
        """The number of attempts to process it."""
        return self._header(retry_policy.ATTEMPTS)

    @property
    def reason(self) -> str:
        """The reason that our consumer, or else RabbitMQ, gave for dead-lettering it."""
        return self._header(retry_policy.REASON) or self._header(f"{FIRST_DEATH}reason")

    @property
    def queue(self) -> str:
        """The queue whose consumer could not process it."""
        return self._header(retry_policy.QUEUE) or self._header(f"{FIRST_DEATH}queue")

    @property
    def exchange(self) -> str:
        """The exchange to which it was first published; empty for the default exchange."""
        if retry_policy.EXCHANGE in self.message.headers:
            return self._header(retry_policy.EXCHANGE)
        return self._header(f"{FIRST_DEATH}exchange")

    @property
    def routing_key(self) -> str:
        """The routing key with which it was first published."""
        return self._header(retry_policy.ROUTING_KEY) or self.message.routing_key

    @property
    def order_number(self) -> str:
        """The order number in its body; empty if there is no well-formed one."""
        number = self._field("order_number")
        return number if ORDER_NUMBER.fullmatch(number) else ""

    @property
    def customer_name(self) -> str:
        """The customer's name in its body; empty if there is none."""
        return self._field("customer_name")

    @property
    def names(self) -> list[str]:
        """The names in its body: the customer's, the reference, and those of the diners."""
        items = self._body().get("items")
        diners = [
            each.get("guest")
            for each in (items if isinstance(items, list) else ())
            if isinstance(each, dict)
        ]
        found = [self.customer_name, self._field("reference"), *diners]
        return [name for name in found if isinstance(name, str) and name]

    @property
    def phone(self) -> str:
        """The customer's phone number in its body; empty if there is none."""
        return self._field("phone")

    def original(self) -> Message:
        """Return the message without the headers that its failures added.

        Raises `MessageRejected` if it does not belong where its headers send it.
        """
        exchange, routing_key = self._destination()
        return dataclasses.replace(
            self.message,
            exchange=exchange,
            routing_key=routing_key,
            headers={
                name: value
                for name, value in self.message.headers.items()
                if name not in ADDED and not name.startswith(ADDED_PREFIXES)
            },
        )

    def _destination(self) -> tuple[str, str]:
        """Return the exchange and the routing key for publishing it again.

        An order is addressed to its exchange with a key of this system, or to its kitchen queue. A
        status update failed for one subscriber only, and is addressed to that one's queue. No
        signature covers the headers: any other destination could be a third party's queue, and an
        order contains an address.
        """
        if self.message.type != StatusChanged.TYPE:  # third parties may omit the type
            if self.exchange == topology.ORDERS_TOPIC.name and self.routing_key in ORDER_KEYS:
                return self.exchange, self.routing_key
            if self.queue in KITCHEN_QUEUES:
                return topology.DEFAULT.name, self.queue
        if self.queue.startswith(topology.SUBSCRIBER_QUEUE_PREFIX) and _is_update(self.message):
            return topology.DEFAULT.name, self.queue
        raise MessageRejected(
            f"{self.queue!r} is no queue to which a message of type {self.message.type!r} returns"
        )

    def _field(self, name: str) -> str:
        value = self._body().get(name)
        return value if isinstance(value, str) else ""

    def _body(self) -> dict[str, Any]:
        """Return its body; empty if that is too large or not a JSON object."""
        if len(self.message.body) > MAX_BODY_SIZE:
            return {}
        try:
            body = jiter.from_json(self.message.body)
        except ValueError:
            return {}
        return body if isinstance(body, dict) else {}

    def _header(self, name: str) -> str:
        return str(self.message.headers.get(name, ""))


def _is_update(message: Message) -> bool:
    try:
        decode(message, StatusChanged)
    except Undecodable:
        return False
    return message.type != OrderReceived.TYPE


L = TypeVar("L", DeadLetter, Delivery)

# Records that dead letters with these ids are about to be requeued or discarded. It is called
# before, because a broker takes part in no transaction: what cannot be recorded is not done.
Record: TypeAlias = Callable[[Sequence[UUID]], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class ById:
    """Selects dead letters by their ids or unique prefixes of these."""

    ids: Sequence[str]

    def select(self, letters: Sequence[L]) -> list[L]:
        """Return the selected dead letters; copies of one message share an id.

        Raises `DeadLetterNotFound` if an id or prefix matches none, or several different ids.
        """
        by_id: dict[str, list[L]] = {}
        for letter in letters:
            by_id.setdefault(str(letter.message.message_id), []).append(letter)
        selected = dict.fromkeys(_complete_id(prefix, by_id) for prefix in self.ids)
        return [letter for letter_id in selected for letter in by_id[letter_id]]


@dataclass(frozen=True, slots=True)
class All:
    """Selects every dead letter, or those that the user was shown before they confirmed."""

    counted: Collection[UUID] | None = None

    def select(self, letters: Sequence[L]) -> list[L]:
        """Return those of `letters` that are selected."""
        if self.counted is None:
            return list(letters)
        return [letter for letter in letters if letter.message.message_id in self.counted]


@dataclass(slots=True)
class Result:
    """The number of dead letters processed so far, correct also after an error or interruption.

    `refused` messages were routable to no queue, or not to the one that their headers name.
    `unverified` ones have no valid signature, or are too old. Both stay dead letters.
    """

    done: int = 0
    refused: list[Refused] = field(default_factory=list)
    unverified: int = 0


def recorder(
    database: Database, action: AuditAction, by: Actor, request_id: str | None = None
) -> Record:
    """Return a function that records who requeues or discards dead letters."""

    async def record(ids: Sequence[UUID]) -> None:
        now = utc_now()
        acts = [
            Act(at=now, actor=by, action=action, target=str(each), request_id=request_id)
            for each in ids
        ]
        async with database.transaction() as tx:
            await audit.write(tx, acts)

    return record


async def read(broker: Broker, *, limit: int | None = None) -> list[DeadLetter]:
    """Return all dead letters, or the first `limit`, oldest first."""
    async with _locked(broker, limit) as deliveries:
        return [DeadLetter(delivery.message) for delivery in deliveries]


async def requeue(
    broker: Broker,
    signer: Signer,
    selection: ById | All,
    result: Result,
    *,
    record: Record | None = None,
) -> Result:
    """Publish dead letters again to where they were first published, as if they were new.

    They are signed again: selecting one by its id vouches for its content, and renews a status
    update that is too old. With `All`, messages that the signer does not accept stay. None is sent
    where a message of its type does not belong. A dead letter is removed only after the broker has
    confirmed its publication. Raises `DeadLetterNotFound` before anything is changed.
    """
    async with _locked(broker) as deliveries:
        selected = selection.select(deliveries)
        is_vouched_for = isinstance(selection, ById)
        accepted = selected if is_vouched_for else _verified(signer, selected)
        result.unverified = len(selected) - len(accepted)
        sign = signer.renew if is_vouched_for else signer.sign
        for batch in _batches(accepted):
            await _record(record, batch)
            await _complete(_requeue_batch(broker, sign, batch, result))
    return result


async def discard(
    broker: Broker,
    selection: ById | All,
    result: Result,
    *,
    limit: int | None = None,
    record: Record | None = None,
) -> Result:
    """Delete those of the dead letters, or of the first `limit`, that are selected, for good.

    Raises `DeadLetterNotFound` before anything is changed.
    """
    async with _locked(broker, limit) as deliveries:
        for batch in _batches(selection.select(deliveries)):
            await _record(record, batch)
            await _complete(_discard_batch(broker, batch, result))
    return result


def _complete_id(prefix: str, ids: Collection[str]) -> str:
    """Return the id of the only dead letter whose id starts with `prefix`."""
    lower = prefix.lower()
    if lower in ids:
        return lower
    matches = [each for each in ids if lower and each.startswith(lower)]
    if not matches:
        raise DeadLetterNotFound(
            f"There is no dead letter {prefix!r}, or not any more; list the dead letters again."
        )
    if len(matches) > 1:
        raise DeadLetterNotFound(f"{prefix!r} matches several ids; write more of its characters.")
    return matches[0]


@asynccontextmanager
async def _locked(broker: Broker, limit: int | None = None) -> AsyncIterator[Sequence[Delivery]]:
    await broker.connect()  # declares the queue, which a new broker does not have
    async with broker.browse(topology.DEAD_LETTERS.name, limit=limit) as deliveries:
        yield deliveries


def _verified(signer: Signer, deliveries: Iterable[Delivery]) -> list[Delivery]:
    """Return the messages that may be requeued unseen."""
    return [each for each in deliveries if _is_verified(signer, each.message)]


def _is_verified(signer: Signer, message: Message) -> bool:
    try:
        signer.verify(message)
    except MessageRejected:
        return False
    return True


def _batches(deliveries: Sequence[Delivery]) -> Iterator[Sequence[Delivery]]:
    return (
        deliveries[start : start + BATCH_SIZE] for start in range(0, len(deliveries), BATCH_SIZE)
    )


async def _record(record: Record | None, batch: Sequence[Delivery]) -> None:
    if record is not None:
        await record([delivery.message.message_id for delivery in batch])


async def _requeue_batch(
    broker: Broker, sign: Callable[[Message], Message], batch: Sequence[Delivery], result: Result
) -> None:
    originals: list[tuple[Delivery, Message]] = []
    for each in batch:
        try:
            originals.append((each, sign(DeadLetter(each.message).original())))
        except MessageRejected as error:
            result.refused.append(Refused(each.message, retry_policy.one_line(str(error))))
    refused = await broker.publish([message for _, message in originals])
    result.refused += refused
    remaining = {id(refusal.message) for refusal in refused}  # copies are equal, not identical
    requeued = [each for each, message in originals if id(message) not in remaining]
    await broker.ack_all(requeued)
    result.done += len(requeued)
    for delivery in requeued:
        _log("dead_letter_requeued", "requeued", delivery)


async def _discard_batch(broker: Broker, batch: Sequence[Delivery], result: Result) -> None:
    await broker.ack_all(batch)
    result.done += len(batch)
    for delivery in batch:
        _log("dead_letter_discarded", "discarded", delivery)


async def _complete(step: Coroutine[Any, Any, None]) -> None:
    """Run a step to its end even if the caller is cancelled, so that its result is counted."""
    task = asyncio.create_task(step)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await task
        raise


def _log(action: str, done: str, delivery: Delivery) -> None:
    message_id = str(delivery.message.message_id)
    log.info(action, message=f"Dead letter {message_id} {done}.", message_id=message_id)
