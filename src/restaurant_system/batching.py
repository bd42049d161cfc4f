"""Many callers' work done together: what PostgreSQL calls group commit, what others call a batch.

While one batch is worked on, the next gathers. There is no timer, so nobody waits for company: a
lone caller is served at once, and the more callers there are, the more share one piece of work.
Where two batches may be worked on at a time, the second begins when as many have gathered for it as
are in the first: small ones would cost more than they save.
"""

import asyncio
import contextvars
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Generic, TypeVar

from restaurant_system.errors import Unavailable

T = TypeVar("T")
R = TypeVar("R")

Work = Callable[[Sequence[T]], Awaitable[Sequence[R | asyncio.Future[R]]]]
Waiting = tuple[T, asyncio.Future[R]]


class Batcher(Generic[T, R]):
    """Collects items and has `work` done on up to `max_batch_size` of them at once.

    `work` gets items in the order in which they came, and returns as many results in the same
    order; one that is a future is waited for by its own caller alone. It must take effect for all
    of them or, when it raises, for none: items that were refused together are then tried one by
    one, so that a bad one fails alone. Only `Unavailable` is taken for everyone's, because then it
    is unknown whether there was an effect; work that is cancelled from within counts as that.
    Every caller of a batch whose results do not match its items gets a `RuntimeError`.

    An item whose caller has gone before its batch began is left out; one that is under way is
    worked on to the end. Up to `concurrency` batches are worked on at a time.
    """

    def __init__(self, work: Work[T, R], *, max_batch_size: int, concurrency: int = 1) -> None:
        self._work = work
        self._max_batch_size = max_batch_size
        self._concurrency = concurrency
        self._gathered: deque[Waiting[T, R]] = deque()
        # Each with the items it works on, counted; one that has yet to begin may take all that fit.
        self._workers: dict[asyncio.Task[None], int] = {}
        self._loop: asyncio.AbstractEventLoop | None = None

    def submit(self, item: T) -> "asyncio.Future[R]":
        """Return, once it is awaited, what became of `item`; its batch begins after this call."""
        # To ask for the running loop would cost Python 3.11 a call to the kernel each time.
        loop = self._loop = self._loop or asyncio.get_running_loop()
        outcome: asyncio.Future[R] = loop.create_future()
        self._gathered.append((item, outcome))
        if len(self._workers) < self._concurrency and self._is_worth_a_batch():
            # A context of its own: what is bound to the caller's log lines is not everyone's.
            worker = loop.create_task(self._run(), context=contextvars.Context())
            self._workers[worker] = self._max_batch_size
        return outcome

    def _is_worth_a_batch(self) -> bool:
        return len(self._gathered) >= sum(self._workers.values())

    async def _run(self) -> None:
        """Work on one batch after the other while there are any."""
        worker = asyncio.current_task()
        assert worker is not None  # noqa: S101 - it is what runs this
        try:
            while batch := self._next_batch():
                self._workers[worker] = len(batch)
                await self._do_together(batch)
        finally:
            del self._workers[worker]
            while self._gathered and not self._workers:  # cancelled: nobody is left to work on them
                _, outcome = self._gathered.popleft()
                outcome.cancel()

    def _next_batch(self) -> list[Waiting[T, R]]:
        batch: list[Waiting[T, R]] = []
        while self._gathered and len(batch) < self._max_batch_size:
            item, outcome = self._gathered.popleft()
            if not outcome.done():
                batch.append((item, outcome))
        return batch

    async def _do_together(self, batch: Sequence[Waiting[T, R]]) -> None:
        """Work on a batch; each of its callers gets a result or an error, whatever happens."""
        try:
            results = await self._work([item for item, _ in batch])
        except Exception as error:  # noqa: BLE001 - each caller is told
            if len(batch) == 1 or isinstance(error, Unavailable):
                _tell_all(batch, error)
            else:
                await self._do_one_by_one(batch)
        except BaseException as error:
            if not isinstance(error, asyncio.CancelledError) or _is_cancelled():
                _cancel_all(batch)
                raise
            _tell_all(batch, Unavailable("The work was cut off; its effect is unknown."))
        else:
            _hand_out(batch, results)

    async def _do_one_by_one(self, batch: Sequence[Waiting[T, R]]) -> None:
        waiting = deque(batch)
        try:
            while waiting:
                each = waiting.popleft()
                if not each[1].done():
                    await self._do_together([each])
        except BaseException:
            _cancel_all(waiting)
            raise


def _is_cancelled() -> bool:
    """Tell whether this task was cancelled, and not just something that it waited for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _hand_out(batch: Sequence[Waiting[T, R]], results: Sequence[R | asyncio.Future[R]]) -> None:
    """Give each caller its result; none, if it cannot be told whose is whose.

    The work has taken effect by now, so it is not tried again.
    """
    try:
        pairs = list(zip(batch, results, strict=True))
    except (TypeError, ValueError):
        _tell_all(batch, RuntimeError(f"The work on {len(batch)} items returned other results."))
        return
    for (_, outcome), result in pairs:
        if isinstance(result, asyncio.Future):
            _follow(outcome, result)
        elif not outcome.done():
            outcome.set_result(result)


def _follow(outcome: asyncio.Future[R], later: asyncio.Future[R]) -> None:
    """Have one future end as another does; who waits for it no longer wants the other either."""

    def tell(_: object) -> None:
        error = None if later.cancelled() else later.exception()
        if outcome.done():
            return
        if later.cancelled():
            outcome.cancel()
        elif error is not None:
            outcome.set_exception(error)
        else:
            outcome.set_result(later.result())

    later.add_done_callback(tell)
    outcome.add_done_callback(lambda _: later.cancel())


def _tell_all(batch: Sequence[Waiting[T, R]], error: Exception) -> None:
    for _, outcome in batch:
        if not outcome.done():
            outcome.set_exception(error)


def _cancel_all(batch: Iterable[Waiting[T, R]]) -> None:
    for _, outcome in batch:
        outcome.cancel()
