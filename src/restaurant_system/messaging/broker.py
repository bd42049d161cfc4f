"""What any broker promises.

`rabbitmq` and `postgres` keep it; one test suite holds both to it.

Delivery is at least once: a message may come twice, and whoever handles one must be able to take it
twice. A broker never loses a message that it has confirmed, and never hands one to two consumers of
a queue at the same time.
"""

import contextlib
import dataclasses
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol

from restaurant_system.config import DeliverySettings
from restaurant_system.errors import BrokerUnavailable, TooManyDeadLetters
from restaurant_system.logger import get_logger
from restaurant_system.messaging import topology
from restaurant_system.messaging.dead_letter_limit import DeadLetterLimit
from restaurant_system.models.message import Header, Message
from restaurant_system.models.text import escape_nonprintable

log = get_logger()

# What a message that failed carries with it, on either broker.
ATTEMPTS = "x-attempts"
FIRST_SEEN = "x-first-seen"
REASON = "x-reason"
QUEUE = "x-queue"
EXCHANGE = "x-exchange"
ROUTING_KEY = "x-routing-key"
STORY = frozenset({ATTEMPTS, FIRST_SEEN, REASON, QUEUE, EXCHANGE, ROUTING_KEY})

MOST_ATTEMPTS = 2**31  # beyond, somebody else has written the header
LONGEST_REASON = 500  # characters; a header of an AMQP message must fit into one frame


@dataclass(frozen=True, slots=True)
class Refused:
    """A message that the broker did not take, and why; it is still the publisher's."""

    message: Message
    reason: str


def unroutable(message: Message) -> str:
    """Return the reason for refusing a message that is routed to no queue."""
    if message.exchange == topology.DEFAULT.name:
        return f"there is no queue {message.routing_key!r}"
    return f"no queue takes {message.routing_key!r} from {message.exchange}"


class Delivery(ABC):
    """A message in hand. Exactly one of its methods settles it.

    Each raises `BrokerUnavailable` when the line to the broker is gone; the broker then delivers
    the message again. None may be called before what the message asked for is committed.
    """

    def __init__(
        self,
        message: Message,
        *,
        queue: str,
        redelivered: bool,
        settings: DeliverySettings,
        limit: DeadLetterLimit,
    ) -> None:
        self.message = message
        self.queue = queue
        self.redelivered = redelivered
        self._settings = settings
        self._limit = limit

    @property
    def attempt(self) -> int:
        """Which attempt this is, from 1; being deferred, or dropped by a crash, does not count."""
        return _count(self.message.headers.get(ATTEMPTS)) + 1

    @abstractmethod
    async def ack(self) -> None:
        """Done: the message is gone for good."""

    @abstractmethod
    async def requeue(self) -> None:
        """Give it back unhandled, at once and at its old place in the queue."""

    @abstractmethod
    async def _publish_and_ack(self, successor: Message, delay: timedelta | None) -> None:
        """Put `successor` in this message's place: back to `queue` after a delay, or published.

        A crash half-way leaves both rather than none.
        """

    async def move_to(self, queue: str) -> None:
        """Move the message, as it is, to the end of another queue of the topology."""
        successor = dataclasses.replace(
            self.message, exchange=topology.DEFAULT.name, routing_key=queue
        )
        await self._publish_and_ack(successor, None)

    async def defer(self) -> None:
        """Look at it again later; this is not a failure, and may happen any number of times."""
        await self._publish_and_ack(self._with(self._origin()), self._delay(2))

    async def retry(self, reason: str) -> bool:
        """Bring it back, for it failed for now, after a delay that grows with each attempt.

        After the last attempt it becomes a dead letter. Returns whether it will be tried again.
        """
        if self.attempt >= self._settings.max_attempts:
            await self.dead_letter(f"gave up after {self.attempt} attempts: {reason}")
            return False
        reason, delay = one_line(reason), self._delay(self.attempt)
        await self._publish_and_ack(
            self._with({**self._origin(), ATTEMPTS: self.attempt, REASON: reason}), delay
        )
        log.warning(
            "retry_attempted",
            message=f"Attempt {self.attempt} failed; next in {delay.total_seconds():g} s: {reason}",
            message_id=str(self.message.message_id),
            queue=self.queue,
        )
        return True

    async def dead_letter(self, reason: str) -> None:
        """Put it aside for a person, with the reason: it can never succeed.

        Where this process has put too many aside of late, the message goes back to its queue
        instead, and `TooManyDeadLetters` is raised: whoever handles messages must stop.
        """
        reason = one_line(reason)
        try:
            self._limit.count(reason)
        except TooManyDeadLetters as error:
            log.error("dead_letters_limited", message=str(error), queue=self.queue)  # noqa: TRY400 - the sentence says it all
            with contextlib.suppress(BrokerUnavailable):  # then it is back in its queue already
                await self.requeue()
            raise
        headers = {**self._origin(), ATTEMPTS: self.attempt, REASON: reason}
        successor = dataclasses.replace(
            self._with(headers), exchange=topology.ORDERS_DLX.name, routing_key=self.queue
        )
        await self._publish_and_ack(successor, None)
        log.error(
            "message_dead_lettered",
            message=f"A message was put aside: {reason}",
            message_id=str(self.message.message_id),
            queue=self.queue,
            attempts=self.attempt,
        )

    def _with(self, headers: Mapping[str, Header]) -> Message:
        return dataclasses.replace(self.message, headers={**self.message.headers, **headers})

    def _origin(self) -> dict[str, Header]:
        """Say where the message first came from and when it first gave trouble."""
        known = self.message.headers
        return {
            QUEUE: known.get(QUEUE, self.queue),
            EXCHANGE: known.get(EXCHANGE, self.message.exchange),
            ROUTING_KEY: known.get(ROUTING_KEY, self.message.routing_key),
            FIRST_SEEN: known.get(FIRST_SEEN, datetime.now(UTC).isoformat(timespec="milliseconds")),
        }

    def _delay(self, attempt: int) -> timedelta:
        delays = self._settings.retry_delays
        return timedelta(seconds=delays[min(attempt, len(delays)) - 1])


def _count(header: Header | None) -> int:
    return header if isinstance(header, int) and 0 < header < MOST_ATTEMPTS else 0


def one_line(reason: str) -> str:
    """Write a reason as one line that any broker can carry and any terminal can show."""
    line = escape_nonprintable(" ".join(reason.split()))
    return line if len(line) <= LONGEST_REASON else f"{line[: LONGEST_REASON - 1]}…"


class Consumer(Protocol):
    """A line on which messages arrive.

    Iterating raises `BrokerUnavailable` when the line breaks, and ends after `stop`.
    """

    def __aiter__(self) -> AsyncIterator[Delivery]:
        """Hand out messages, never more than `prefetch` unsettled ones at once."""

    async def stop(self) -> None:
        """Take no more; what was not yet handed out goes back. What is in hand can be settled."""


class Publisher(Protocol):
    """The part of a broker that publishes."""

    async def publish(self, messages: Sequence[Message]) -> list[Refused]:
        """Publish in this order; return, once the broker has confirmed, those that it refused.

        A mandatory message that reaches no queue is refused. After `BrokerUnavailable` it is
        unknown which of the messages were taken: publish them again.
        """


class UpdateSource(Protocol):
    """The part of a broker that hands out status updates."""

    async def connect(self) -> None:
        """Open the line and declare the topology; may be called again at any time."""

    def subscribe(self, name: str | None = None) -> AbstractAsyncContextManager[Consumer]:
        """Take every status update from now on.

        Without a `name` the queue goes with the subscriber. With one it stays and keeps what the
        subscriber missed. Of all who use the same name one at a time is handed updates, so that
        they stay in their order; the next one is when that one is gone.
        """


class Broker(Publisher, UpdateSource, Protocol):
    """A broker. A call that finds the line broken opens it anew, or raises `BrokerUnavailable`."""

    name: str

    async def close(self) -> None:
        """Close the line; what is in hand goes back to its queue."""

    async def ping(self) -> float:
        """Return how long the broker took to answer, in milliseconds."""

    def consume(
        self, queues: Sequence[str], *, prefetch: int
    ) -> AbstractAsyncContextManager[Consumer]:
        """Take the most urgent message first, of equals the oldest, whichever queue it is in.

        At most `prefetch` are unsettled at once, over all the queues together; the others stay in
        their queues, where another consumer finds them.
        """

    def browse(self, queue: str) -> AbstractAsyncContextManager[Sequence[Delivery]]:
        """Take everything in hand that is in a queue now, in its order.

        One at a time may do so: `DeadLettersInHand` tells the second. What is not settled when the
        block ends goes back unchanged to its old place, and so does everything when the process
        dies.
        """

    async def ack_all(self, deliveries: Sequence[Delivery]) -> None:
        """Acknowledge many deliveries together; each of them is settled."""
        for delivery in deliveries:
            await delivery.ack()

    async def depths(self) -> dict[str, int]:
        """Return how many messages wait in each queue of the topology."""

    async def delayed(self) -> int:
        """Return how many messages that failed, or were deferred, wait out their delay."""

    async def is_blank(self) -> bool:
        """Tell whether the broker was never marked: it is new, or has lost its disk."""

    async def mark(self) -> None:
        """Mark the broker, so that it is not blank for as long as it keeps its disk."""
