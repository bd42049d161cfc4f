"""What a person does with dead letters: reads them, sends them back, throws them away.

One at a time may have the letters in hand: nobody else can send the same one back meanwhile.
"""

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Collection, Coroutine, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar
from uuid import UUID

import jiter

from restaurant_system.errors import DeadLetterNotFound, MessageRejected
from restaurant_system.logger import get_logger
from restaurant_system.messaging import broker as delivered
from restaurant_system.messaging import topology
from restaurant_system.messaging.broker import Broker, Delivery, Refused
from restaurant_system.messaging.signature import Signer
from restaurant_system.models.message import Message
from restaurant_system.models.order import ORDER_NUMBER

# What RabbitMQ writes on a message that it puts aside by itself: expired, too many, or rejected.
FIRST_DEATH = "x-first-death-"
# What else a letter collects on its way to the dead letters; none of it goes back with it.
COLLECTED = delivered.STORY | {"x-death", "x-delivery-count", topology.RETRY_DELAY}
COLLECTED_BEGINNINGS = (FIRST_DEATH, "x-last-death-")

BATCH = 200  # letters that are sent back, or thrown away, in one go

log = get_logger()


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that was put aside; what it does not say about itself is empty."""

    message: Message

    @property
    def id(self) -> str:
        """The message's id. Copies of one message, from several queues, share it."""
        return str(self.message.message_id)

    @property
    def first_seen(self) -> str:
        """When it first gave trouble, as ISO 8601."""
        return self._header(delivered.FIRST_SEEN)

    @property
    def attempts(self) -> str:
        """How often it was tried."""
        return self._header(delivered.ATTEMPTS)

    @property
    def reason(self) -> str:
        """Why it was put aside: in our words, else in RabbitMQ's."""
        return self._header(delivered.REASON) or self._header(f"{FIRST_DEATH}reason")

    @property
    def queue(self) -> str:
        """The queue whose consumer could not handle it."""
        return self._header(delivered.QUEUE) or self._header(f"{FIRST_DEATH}queue")

    @property
    def exchange(self) -> str:
        """The exchange that it first came by; empty if it was put straight into its queue."""
        if delivered.EXCHANGE in self.message.headers:
            return self._header(delivered.EXCHANGE)
        return self._header(f"{FIRST_DEATH}exchange")

    @property
    def routing_key(self) -> str:
        """The key under which it first came."""
        return self._header(delivered.ROUTING_KEY) or self.message.routing_key

    @property
    def order_number(self) -> str:
        """The order that its body names, if the body can be read and that is a number of ours."""
        try:
            body = jiter.from_json(self.message.body)
        except ValueError:
            return ""
        number = body.get("order_number") if isinstance(body, dict) else None
        return number if isinstance(number, str) and ORDER_NUMBER.fullmatch(number) else ""

    def as_it_first_came(self) -> Message:
        """Return the message as it was before anything went wrong.

        An order goes by its key. Anything else goes straight to its queue: an update is owed to
        one subscriber only, and what came by an exchange that is not ours may not find it again.
        """
        by_key = self.exchange == topology.ORDERS_TOPIC.name
        return dataclasses.replace(
            self.message,
            exchange=self.exchange if by_key else topology.DEFAULT.name,
            routing_key=self.routing_key if by_key else self.queue,
            headers={
                name: value
                for name, value in self.message.headers.items()
                if name not in COLLECTED and not name.startswith(COLLECTED_BEGINNINGS)
            },
        )

    def _header(self, name: str) -> str:
        return str(self.message.headers.get(name, ""))


L = TypeVar("L", DeadLetter, Delivery)


@dataclass(frozen=True, slots=True)
class Named:
    """The letters that somebody names, by their ids or the beginnings of these."""

    ids: Sequence[str]

    def among(self, letters: Sequence[L]) -> list[L]:
        """Return those that are meant: of copies, which share an id, all.

        Raises `DeadLetterNotFound` when an id, or its beginning, means none, or several.
        """
        by_id: dict[str, list[L]] = {}
        for letter in letters:
            by_id.setdefault(str(letter.message.message_id), []).append(letter)
        meant = dict.fromkeys(_whole_id(stated, by_id) for stated in self.ids)
        return [letter for letter_id in meant for letter in by_id[letter_id]]


@dataclass(frozen=True, slots=True)
class All:
    """Every letter; where somebody was asked, only what had been counted then."""

    counted: Collection[UUID] | None = None

    def among(self, letters: Sequence[L]) -> list[L]:
        """Return those that are meant."""
        if self.counted is None:
            return list(letters)
        return [letter for letter in letters if letter.message.message_id in self.counted]


@dataclass(slots=True)
class Tally:
    """What has been done so far: true also when an error, or Ctrl-C, comes in between.

    `refused` are letters that no queue would take, `doubtful` those that nobody vouches for: both
    are letters still.
    """

    done: int = 0
    refused: list[Refused] = field(default_factory=list)
    doubtful: int = 0


async def read(broker: Broker) -> list[DeadLetter]:
    """Return every dead letter, the oldest first."""
    async with _in_hand(broker) as deliveries:
        return [DeadLetter(delivery.message) for delivery in deliveries]


async def requeue(broker: Broker, signer: Signer, chosen: Named | All, tally: Tally) -> Tally:
    """Send letters back to where they first came from, as if they came for the first time.

    They are signed anew: whoever names one vouches for it. Of all, those without a signature of
    ours stay. Each is taken off the dead letters only once the broker has confirmed it. Raises
    `DeadLetterNotFound` before anything is touched.
    """
    async with _in_hand(broker) as deliveries:
        meant = chosen.among(deliveries)
        vouched_for = meant if isinstance(chosen, Named) else _genuine(signer, meant)
        tally.doubtful = len(meant) - len(vouched_for)
        for batch in _batches(vouched_for):
            await _to_its_end(_send_back(broker, signer, batch, tally))
    return tally


async def discard(broker: Broker, chosen: Named | All, tally: Tally) -> Tally:
    """Throw letters away for good.

    Raises `DeadLetterNotFound` before anything is touched.
    """
    async with _in_hand(broker) as deliveries:
        for batch in _batches(chosen.among(deliveries)):
            await _to_its_end(_throw_away(broker, batch, tally))
    return tally


def _whole_id(stated: str, ids: Collection[str]) -> str:
    """Return the one id that this is, or begins."""
    beginning = stated.lower()
    if beginning in ids:
        return beginning
    meant = [known for known in ids if beginning and known.startswith(beginning)]
    if not meant:
        raise DeadLetterNotFound(
            f"There is no dead letter {stated!r}; see `restaurant-system dead-letters list`."
        )
    if len(meant) > 1:
        raise DeadLetterNotFound(f"{stated!r} is the beginning of several ids; write more of it.")
    return meant[0]


@asynccontextmanager
async def _in_hand(broker: Broker) -> AsyncIterator[Sequence[Delivery]]:
    await broker.connect()  # on a broker that is new, the queue is not there yet
    async with broker.browse(topology.DEAD_LETTERS.name) as deliveries:
        yield deliveries


def _genuine(signer: Signer, deliveries: Iterable[Delivery]) -> list[Delivery]:
    """Leave out what is not signed as it must be. Its reason is no proof: anybody can write one."""
    return [each for each in deliveries if _is_genuine(signer, each.message)]


def _is_genuine(signer: Signer, message: Message) -> bool:
    try:
        signer.verify(message)
    except MessageRejected:
        return False
    return True


def _batches(deliveries: Sequence[Delivery]) -> Iterator[Sequence[Delivery]]:
    return (deliveries[start : start + BATCH] for start in range(0, len(deliveries), BATCH))


async def _send_back(
    broker: Broker, signer: Signer, batch: Sequence[Delivery], tally: Tally
) -> None:
    sent = [signer.sign(DeadLetter(each.message).as_it_first_came()) for each in batch]
    refused = await broker.publish(sent)
    tally.refused += refused
    stays = {id(refusal.message) for refusal in refused}  # copies are equal, but not the same
    gone = [each for each, message in zip(batch, sent, strict=True) if id(message) not in stays]
    await broker.ack_all(gone)
    tally.done += len(gone)
    for delivery in gone:
        _log("dead_letter_requeued", "sent back to where it came from", delivery)


async def _throw_away(broker: Broker, batch: Sequence[Delivery], tally: Tally) -> None:
    await broker.ack_all(batch)
    tally.done += len(batch)
    for delivery in batch:
        _log("dead_letter_discarded", "thrown away", delivery)


async def _to_its_end(step: Coroutine[Any, Any, None]) -> None:
    """Let a step end that is under way when we are called off, so that it is done and counted."""
    under_way = asyncio.create_task(step)
    try:
        await asyncio.shield(under_way)
    except asyncio.CancelledError:
        await under_way
        raise


def _log(action: str, what: str, delivery: Delivery) -> None:
    message_id = str(delivery.message.message_id)
    log.info(action, message=f"Dead letter {message_id} was {what}.", message_id=message_id)
