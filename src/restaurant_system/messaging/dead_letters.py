"""What a person does with dead letters: reads them, sends them back, throws them away.

Whoever has taken the letters in hand has them: meanwhile nobody else can send them back again.
"""

import dataclasses
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import jiter

from restaurant_system.errors import NoSuchDeadLetter
from restaurant_system.logger import get_logger
from restaurant_system.messaging import broker as delivered
from restaurant_system.messaging import topology
from restaurant_system.messaging.broker import Broker, Delivery, Refused
from restaurant_system.messaging.signature import Signer
from restaurant_system.models.message import Message

# What RabbitMQ writes on a message that it puts aside by itself: expired, too many, or rejected.
FIRST_DEATH = "x-first-death-"
# What else a letter collects on its way to the dead letters; none of it goes back with it.
COLLECTED = delivered.STORY | {"x-death", "x-delivery-count", topology.RETRY_DELAY}
COLLECTED_BEGINNINGS = (FIRST_DEATH, "x-last-death-")

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
        """The order that its body names, if the body can be read."""
        try:
            body = jiter.from_json(self.message.body)
        except ValueError:
            return ""
        return str(body.get("order_number", "")) if isinstance(body, dict) else ""

    def as_it_first_came(self) -> Message:
        """Return the message as it was before anything went wrong.

        One that came by no exchange, or by one that is not ours, goes straight to its queue.
        """
        by_ours = any(known.name == self.exchange for known in topology.EXCHANGES)
        return dataclasses.replace(
            self.message,
            exchange=self.exchange if by_ours else topology.DEFAULT.name,
            routing_key=self.routing_key if by_ours else self.queue,
            headers={
                name: value
                for name, value in self.message.headers.items()
                if name not in COLLECTED and not name.startswith(COLLECTED_BEGINNINGS)
            },
        )

    def _header(self, name: str) -> str:
        return str(self.message.headers.get(name, ""))


@dataclass(frozen=True, slots=True)
class Requeued:
    """How many letters went back, and those that no queue would take: these are letters still."""

    count: int
    refused: Sequence[Refused]


async def read(broker: Broker) -> list[DeadLetter]:
    """Return every dead letter, the oldest first."""
    async with broker.browse(topology.DEAD_LETTERS.name) as deliveries:
        return [DeadLetter(delivery.message) for delivery in deliveries]


async def requeue(broker: Broker, signer: Signer, ids: Sequence[str]) -> Requeued:
    """Send letters back to where they first came from, as if they came for the first time.

    They are signed anew: whoever sends one back vouches for it. Each is taken off the dead letters
    only once the broker has confirmed it. Raises `NoSuchDeadLetter` before anything is touched.
    """
    count, refused = 0, list[Refused]()
    async with _in_hand(broker, ids) as letters:
        for delivery in letters:
            message = DeadLetter(delivery.message).as_it_first_came()
            refusals = await broker.publish([signer.sign(message)])
            if refusals:
                refused += refusals
                continue
            await delivery.ack()
            count += 1
            _log("dead_letter_requeued", "sent back to where it came from", delivery)
    return Requeued(count, refused)


async def discard(broker: Broker, ids: Sequence[str]) -> int:
    """Throw letters away for good, and return how many they were.

    Raises `NoSuchDeadLetter` before anything is touched.
    """
    async with _in_hand(broker, ids) as letters:
        for delivery in letters:
            await delivery.ack()
            _log("dead_letter_discarded", "thrown away", delivery)
        return len(letters)


def find(letters: Sequence[DeadLetter], stated: str) -> list[DeadLetter]:
    """Return the letters that an id, or the beginning of one, means: all with one and the same id.

    Raises `NoSuchDeadLetter` when it means none, or several.
    """
    meant = [letter for letter in letters if stated and letter.id.startswith(stated.lower())]
    if not meant:
        raise NoSuchDeadLetter(
            f"There is no dead letter {stated!r}, or somebody else has it in hand just now; see"
            " `restaurant-system dead-letters list`."
        )
    if len({letter.id for letter in meant}) > 1:
        raise NoSuchDeadLetter(f"{stated!r} is the beginning of several ids; write more of it.")
    return meant


@asynccontextmanager
async def _in_hand(broker: Broker, ids: Sequence[str]) -> AsyncIterator[list[Delivery]]:
    async with broker.browse(topology.DEAD_LETTERS.name) as deliveries:
        letters = [DeadLetter(delivery.message) for delivery in deliveries]
        meant = {letter.id for stated in ids for letter in find(letters, stated)}
        yield [each for each in deliveries if str(each.message.message_id) in meant]


def _log(action: str, what: str, delivery: Delivery) -> None:
    message_id = str(delivery.message.message_id)
    log.info(action, message=f"Dead letter {message_id} was {what}.", message_id=message_id)
