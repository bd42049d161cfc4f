"""Limit what HTTP requests do with dead letters: the same process accepts orders."""

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import TypeVar

import stamina

from restaurant_system.error_texts import ErrorText
from restaurant_system.errors import DeadLettersLocked
from restaurant_system.messaging import topology
from restaurant_system.messaging.broker import Broker
from restaurant_system.web.problem import Refusal
from restaurant_system.web.request_checks import ConcurrencyLimit

MAX_LETTERS = 2_000  # dead letters that a request has in memory; commands have no limit
LOCK_TIMEOUT = 3.0  # s that a request waits for another process that has the dead letters locked
MIN_LOCK_DELAY, MAX_LOCK_DELAY = 0.1, 0.3  # s between two tries to lock them

T = TypeVar("T")


class DeadLetterRequests:
    """Runs what requests do with dead letters, one after the other."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._limit = ConcurrencyLimit(1)

    async def count(self) -> int:
        """Return the number of dead letters that no command or request has locked."""
        await self._broker.connect()  # declares the queue, which a new broker does not have
        return (await self._broker.depths())[topology.DEAD_LETTERS.name]

    async def run(self, step: Callable[[], Awaitable[T]]) -> T:
        """Return the result of a step; repeat it while another process has the letters locked.

        A step that raises `DeadLettersLocked` has changed no dead letter. That is raised after
        `LOCK_TIMEOUT`, and `Overloaded` if other requests of this process take too long.
        """
        async with self._limit:
            async for attempt in stamina.retry_context(
                on=DeadLettersLocked,
                attempts=None,
                timeout=LOCK_TIMEOUT,
                wait_initial=MIN_LOCK_DELAY,
                wait_max=MAX_LOCK_DELAY,
                wait_jitter=MIN_LOCK_DELAY,
            ):
                with attempt:
                    result = await step()
        return result

    async def run_on_all(self, step: Callable[[], Awaitable[T]]) -> T:
        """Run a step that reads all dead letters; raises `Refusal` if they are too many."""

        async def checked() -> T:
            if (count := await self.count()) > MAX_LETTERS:
                message = (
                    f"There are {count} dead letters, more than the {MAX_LETTERS} that a request"
                    " takes; use `restaurant-system dead-letters` and `privacy` instead."
                )
                text = ErrorText(message, "too_many_to_read", count=count, most=MAX_LETTERS)
                raise Refusal(HTTPStatus.CONFLICT, text)
            return await step()

        return await self.run(checked)
