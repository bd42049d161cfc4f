"""Retry, move or dead-letter messages that were not processed."""

import dataclasses
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from uuid import UUID

from restaurant_system import tracing
from restaurant_system.config import DeliverySettings
from restaurant_system.errors import TooManyDeadLetters
from restaurant_system.logger import get_logger
from restaurant_system.messaging import topology
from restaurant_system.messaging.broker import Delivery
from restaurant_system.metrics import definitions as metrics
from restaurant_system.models.message import Header, Message, OrderReceived, StatusChanged
from restaurant_system.models.text import escape_nonprintable

log = get_logger()

# Headers of a message that was retried or dead-lettered.
ATTEMPTS = "x-attempts"
FIRST_SEEN = "x-first-seen"
REASON = "x-reason"
QUEUE = "x-queue"
EXCHANGE = "x-exchange"
ROUTING_KEY = "x-routing-key"
HEADERS = frozenset({ATTEMPTS, FIRST_SEEN, REASON, QUEUE, EXCHANGE, ROUTING_KEY})

MAX_ATTEMPTS_HEADER = 2**31  # a larger value was not written by this program
MAX_REASON_LENGTH = 500  # characters; all headers of an AMQP message must fit into one frame

RETRIED = "retried"  # the error of a span


class Cause(StrEnum):
    """The kinds of reasons for a dead letter, by which they are counted."""

    INVALID = "invalid"  # the message cannot be read
    UNKNOWN_ORDER = "unknown_order"
    UNVERIFIED = "unverified"  # without a valid signature
    ATTEMPTS_EXHAUSTED = "attempts_exhausted"


class _QueueCounters:
    """The counters of the deliveries from one queue."""

    def __init__(self, queue: str) -> None:
        self.deliveries = metrics.deliveries_total.labels(queue)
        self.redeliveries = metrics.redeliveries_total.labels(queue)
        self.retries = metrics.delivery_retries_total.labels(queue)


_NOTIFICATIONS = _QueueCounters("notifications")  # queues of subscribers have any name
_COUNTERS = {queue.name: _QueueCounters(queue.name) for queue in topology.KITCHEN_QUEUES}
_DEAD_LETTERS = {cause: metrics.dead_letters_total.labels(cause) for cause in Cause}


def count_delivery(delivery: Delivery) -> None:
    """Count a delivery, and whether it is a redelivery."""
    counters = _counters_of(delivery)
    counters.deliveries.inc()
    if delivery.redelivered:
        counters.redeliveries.inc()


def _type_of(queue: str) -> str:
    """Return the type of the messages that this system publishes to a queue."""
    return OrderReceived.TYPE if queue in _COUNTERS else StatusChanged.TYPE


def _counters_of(delivery: Delivery) -> _QueueCounters:
    return _COUNTERS.get(delivery.queue, _NOTIFICATIONS)


class DeadLetterLimit:
    """Limits the dead letters of one process within a time window.

    Without it, a faulty deployment would move every waiting message to the dead-letter queue.
    (Sentry's arroyo has such a limit too: `DlqLimit`.) `clock` returns monotonic seconds.
    """

    def __init__(self, settings: DeliverySettings, clock: Callable[[], float]) -> None:
        self._max = settings.max_dead_letters
        self._window = settings.dead_letter_window
        self._clock = clock
        self._times = OrderedDict[UUID, float]()  # by message id, oldest first

    def count(self, message_id: UUID, reason: str) -> bool:
        """Count a dead letter, once for all copies of a message within the window.

        Returns whether it was not counted before. Raises `TooManyDeadLetters` if the dead letter
        would exceed the limit.
        """
        now = self._clock()
        while self._times and next(iter(self._times.values())) <= now - self._window:
            self._times.popitem(last=False)
        if message_id in self._times:
            return False
        if len(self._times) >= self._max:
            raise TooManyDeadLetters(
                f"More than {self._max} messages in {self._window:g} s failed for good (the"
                f" last: {reason}); see `restaurant-system dead-letters list`, correct the cause"
                " and restart the service."
            )
        self._times[message_id] = now
        return True

    def uncount(self, message_id: UUID) -> None:
        """Remove a dead letter from the count."""
        self._times.pop(message_id, None)


class RetryPolicy:
    """Settles deliveries whose messages were not processed.

    All consumers of a process share one policy, because they share its limit of dead letters. Each
    method settles the delivery and raises `BrokerUnavailable` as the methods of `Delivery` do.
    """

    def __init__(
        self, settings: DeliverySettings, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._max_attempts = settings.max_attempts
        self._retry_delays = settings.retry_delays
        self._limit = DeadLetterLimit(settings, clock)

    async def retry(self, delivery: Delivery, reason: str) -> bool:
        """Deliver the message again after a delay that grows with each attempt.

        After the last attempt the message is dead-lettered. Returns whether it will be retried.
        """
        attempt = attempt_of(delivery.message)
        if attempt >= self._max_attempts:
            reason = f"gave up after {attempt} attempts: {reason}"
            await self.dead_letter(delivery, reason, Cause.ATTEMPTS_EXHAUSTED)
            return False
        reason, delay = one_line(reason), self._delay_after(attempt)
        headers = {**_origin(delivery), ATTEMPTS: attempt, REASON: reason}
        await delivery.replace(_with_headers(delivery.message, headers), delay)
        _counters_of(delivery).retries.inc()
        tracing.set_failed(RETRIED)
        log.warning(
            "retry_attempted",
            message=f"Attempt {attempt} failed; next in {delay.total_seconds():g} s: {reason}",
            message_id=str(delivery.message.message_id),
            queue=delivery.queue,
        )
        return True

    async def dead_letter(
        self, delivery: Delivery, reason: str, cause: Cause = Cause.INVALID
    ) -> None:
        """Move the message to the dead-letter queue, because no retry can succeed.

        If the process has dead-lettered too many messages recently, leaves the message unsettled
        and raises `TooManyDeadLetters`: the process must stop consuming, which returns the message
        to its place. A message that the broker
        did not accept is redelivered, and does not count. Nor does one whose type is not that of
        its queue: this system does not publish such messages, so that they do not show that a
        deployment is faulty.
        """
        reason = one_line(reason)
        if delivery.message.type != _type_of(delivery.queue):
            await _dead_letter(delivery, reason, cause)
            return
        try:
            is_counted = self._limit.count(delivery.message.message_id, reason)
        except TooManyDeadLetters as error:
            log.error("dead_letters_limited", message=str(error), queue=delivery.queue)  # noqa: TRY400 - the message says it all
            raise
        try:
            await _dead_letter(delivery, reason, cause)
        except BaseException:
            if is_counted:
                self._limit.uncount(delivery.message.message_id)
            raise

    async def reject(self, delivery: Delivery, reason: str) -> None:
        """Move a message of an unverified sender to the dead-letter queue.

        It does not count toward the limit: otherwise anyone who can publish could stop all
        consumers with a few messages.
        """
        await _dead_letter(delivery, one_line(reason), Cause.UNVERIFIED)

    def _delay_after(self, attempt: int) -> timedelta:
        delays = self._retry_delays
        return timedelta(seconds=delays[min(attempt, len(delays)) - 1])


async def _dead_letter(delivery: Delivery, reason: str, cause: Cause) -> None:
    attempt = attempt_of(delivery.message)
    headers = {**_origin(delivery), ATTEMPTS: attempt, REASON: reason}
    successor = dataclasses.replace(
        _with_headers(delivery.message, headers),
        exchange=topology.ORDERS_DLX.name,
        routing_key=delivery.queue,
    )
    await delivery.replace(successor)
    _DEAD_LETTERS[cause].inc()
    tracing.set_failed(cause)
    log.error(
        "message_dead_lettered",
        message=f"Message dead-lettered: {reason}",
        message_id=str(delivery.message.message_id),
        queue=delivery.queue,
        attempts=attempt,
    )


async def move(delivery: Delivery, queue: str) -> None:
    """Move the message unchanged to the end of another queue of the topology."""
    successor = dataclasses.replace(
        delivery.message, exchange=topology.DEFAULT.name, routing_key=queue
    )
    await delivery.replace(successor)


def attempt_of(message: Message) -> int:
    """Return the number of this attempt, from 1; crashes are not counted."""
    failed = message.headers.get(ATTEMPTS)
    if isinstance(failed, int) and 0 < failed < MAX_ATTEMPTS_HEADER:
        return failed + 1
    return 1


def one_line(reason: str) -> str:
    """Return a reason as one printable line that fits into a header."""
    line = escape_nonprintable(" ".join(reason.split()))
    return line if len(line) <= MAX_REASON_LENGTH else f"{line[: MAX_REASON_LENGTH - 1]}…"


def _with_headers(message: Message, headers: Mapping[str, Header]) -> Message:
    return dataclasses.replace(message, headers={**message.headers, **headers})


def _origin(delivery: Delivery) -> dict[str, Header]:
    """Return the headers that say where a message came from and when it first failed."""
    message = delivery.message
    return {
        QUEUE: message.headers.get(QUEUE, delivery.queue),
        EXCHANGE: message.headers.get(EXCHANGE, message.exchange),
        ROUTING_KEY: message.headers.get(ROUTING_KEY, message.routing_key),
        FIRST_SEEN: message.headers.get(
            FIRST_SEEN, datetime.now(UTC).isoformat(timespec="milliseconds")
        ),
    }
