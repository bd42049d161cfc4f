"""Process items of concurrent callers in batches (group commit).

While one batch is in progress, the next one is collected. There is no timer: a single item is
processed at once, and the more callers there are, the larger the batches become. If two batches may
be in progress, the second begins once it is as large as the first: small batches would cost more
than they save.
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
    """Collects items and calls `work` with up to `max_batch_size` of them.

    `work` receives items in the order of their arrival and returns one result for each, in the same
    order; a result that is a future is awaited by its own caller only. `work` must take effect for
    all items or, if it raises, for none: the items are then tried one by one, so that an invalid
    item fails alone. `Unavailable` is raised to every caller instead, because it is then unknown
    whether there was an effect; work that cancels itself counts as unavailable. If the number of
    results is wrong, every caller gets a `RuntimeError`.

    An item whose caller was cancelled before its batch began is left out; a batch in progress is
    completed. Up to `concurrency` batches are in progress at a time.
    """

    def __init__(self, work: Work[T, R], *, max_batch_size: int, concurrency: int = 1) -> None:
        self._work = work
        self._max_batch_size = max_batch_size
        self._concurrency = concurrency
        self._collected: deque[Waiting[T, R]] = deque()
        # The number of items of each task; one that has not begun yet counts as a full batch.
        self._workers: dict[asyncio.Task[None], int] = {}
        self._loop: asyncio.AbstractEventLoop | None = None

    def submit(self, item: T) -> "asyncio.Future[R]":
        """Return a future for the result of `item`; its batch begins after this call."""
        # Python 3.11 makes a system call to get the running loop, so it is kept.
        loop = self._loop = self._loop or asyncio.get_running_loop()
        outcome: asyncio.Future[R] = loop.create_future()
        self._collected.append((item, outcome))
        if len(self._workers) < self._concurrency and self._is_worth_a_batch():
            # An empty context: the caller's request id must not be logged for other items.
            worker = loop.create_task(self._run(), context=contextvars.Context())
            self._workers[worker] = self._max_batch_size
        return outcome

    def _is_worth_a_batch(self) -> bool:
        return len(self._collected) >= sum(self._workers.values())

    async def _run(self) -> None:
        """Process one batch after another while there are items."""
        worker = asyncio.current_task()
        assert worker is not None  # noqa: S101 - this runs in a task
        try:
            while batch := self._next_batch():
                self._workers[worker] = len(batch)
                await self._process(batch)
        finally:
            del self._workers[worker]
            while (
                self._collected and not self._workers
            ):  # cancelled: no task is left to process them
                _, outcome = self._collected.popleft()
                outcome.cancel()

    def _next_batch(self) -> list[Waiting[T, R]]:
        batch: list[Waiting[T, R]] = []
        while self._collected and len(batch) < self._max_batch_size:
            item, outcome = self._collected.popleft()
            if not outcome.done():
                batch.append((item, outcome))
        return batch

    async def _process(self, batch: Sequence[Waiting[T, R]]) -> None:
        """Process a batch; each of its callers gets a result or an error."""
        try:
            results = await self._work([item for item, _ in batch])
        except Exception as error:  # noqa: BLE001 - raised to each caller
            if len(batch) == 1 or isinstance(error, Unavailable):
                _fail_all(batch, error)
            else:
                await self._process_one_by_one(batch)
        except BaseException as error:
            if not isinstance(error, asyncio.CancelledError) or _is_cancelled():
                _cancel_all(batch)
                raise
            _fail_all(batch, Unavailable("The work was cancelled; its effect is unknown."))
        else:
            _set_results(batch, results)

    async def _process_one_by_one(self, batch: Sequence[Waiting[T, R]]) -> None:
        waiting = deque(batch)
        try:
            while waiting:
                each = waiting.popleft()
                if not each[1].done():
                    await self._process([each])
        except BaseException:
            _cancel_all(waiting)
            raise


def _is_cancelled() -> bool:
    """Return whether this task was cancelled, and not only something that it awaited."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _set_results(batch: Sequence[Waiting[T, R]], results: Sequence[R | asyncio.Future[R]]) -> None:
    """Set the result of each caller; raise an error to all if their numbers differ.

    The work has taken effect, so it is not tried again.
    """
    try:
        pairs = list(zip(batch, results, strict=True))
    except (TypeError, ValueError):
        _fail_all(batch, RuntimeError(f"The work on {len(batch)} items returned other results."))
        return
    for (_, outcome), result in pairs:
        if isinstance(result, asyncio.Future):
            _follow(outcome, result)
        elif not outcome.done():
            outcome.set_result(result)


def _follow(outcome: asyncio.Future[R], later: asyncio.Future[R]) -> None:
    """Complete `outcome` as `later` completes; cancel `later` once `outcome` is done."""

    def complete(_: object) -> None:
        error = None if later.cancelled() else later.exception()
        if outcome.done():
            return
        if later.cancelled():
            outcome.cancel()
        elif error is not None:
            outcome.set_exception(error)
        else:
            outcome.set_result(later.result())

    later.add_done_callback(complete)
    outcome.add_done_callback(lambda _: later.cancel())


def _fail_all(batch: Sequence[Waiting[T, R]], error: Exception) -> None:
    for _, outcome in batch:
        if not outcome.done():
            outcome.set_exception(error)


def _cancel_all(batch: Iterable[Waiting[T, R]]) -> None:
    for _, outcome in batch:
        outcome.cancel()
