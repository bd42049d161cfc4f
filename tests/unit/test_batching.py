"""Batches of items from concurrent callers."""

import asyncio
import contextlib
import gc
from collections.abc import Sequence

import pytest

from restaurant_system.batching import Batcher
from restaurant_system.errors import DatabaseUnavailable, Unavailable

FEW = 4


class FakeWork:
    """Upper-cases words; a test decides when it may continue, and for which words it fails."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.begun = asyncio.Event()
        self.may_continue = asyncio.Event()
        self.may_continue.set()
        self.errors: dict[str, BaseException] = {}

    async def upper(self, words: Sequence[str]) -> list[str]:
        """Return the words in upper case; raise the error of the first that has one."""
        self.batches.append(list(words))
        self.begun.set()
        await self.may_continue.wait()
        for word in words:
            if word in self.errors:
                raise self.errors[word]
        return [word.upper() for word in words]


@pytest.fixture
def work() -> FakeWork:
    """Return work that continues at once."""
    return FakeWork()


async def test_single_item_is_processed_at_once(work: FakeWork) -> None:
    result = await Batcher(work.upper, max_batch_size=FEW).submit("soup")

    assert result == "SOUP"
    assert work.batches == [["soup"]]


async def test_items_that_arrive_during_a_batch_share_the_next_one(work: FakeWork) -> None:
    """Each caller of a shared batch gets the result of its own item."""
    batcher = Batcher(work.upper, max_batch_size=FEW)
    work.may_continue.clear()
    first = asyncio.ensure_future(batcher.submit("soup"))
    await work.begun.wait()

    later = [asyncio.ensure_future(batcher.submit(word)) for word in ("fish", "cake", "wine")]
    await asyncio.sleep(0)
    work.may_continue.set()

    assert await asyncio.gather(first, *later) == ["SOUP", "FISH", "CAKE", "WINE"]
    assert work.batches == [["soup"], ["fish", "cake", "wine"]]


async def test_second_concurrent_batch_begins_once_it_is_as_large_as_the_first(
    work: FakeWork,
) -> None:
    batcher = Batcher(work.upper, max_batch_size=FEW, concurrency=2)
    work.may_continue.clear()
    words = ["soup", "fish", "cake", "wine", "salt", "figs", "nuts"]
    begun = []

    results = []
    for word in words[:2], words[2:3], words[3:4], words[4:]:
        results += [batcher.submit(each) for each in word]
        await asyncio.sleep(0)
        begun.append(len(work.batches))
    work.may_continue.set()

    assert await asyncio.gather(*results) == [word.upper() for word in words]
    assert begun == [1, 1, 2, 2]
    assert work.batches == [["soup", "fish"], ["cake", "wine"], ["salt", "figs", "nuts"]]


async def test_items_beyond_the_first_batch_fill_the_others_at_once(work: FakeWork) -> None:
    batcher = Batcher(work.upper, max_batch_size=FEW, concurrency=2)
    work.may_continue.clear()

    results = [batcher.submit(word) for word in "abcdefghijkl"]
    await asyncio.sleep(0)
    begun = list(work.batches)
    work.may_continue.set()

    assert begun == [list("abcd"), list("efgh")]
    assert await asyncio.gather(*results) == list("ABCDEFGHIJKL")


@pytest.mark.parametrize("concurrency", [1, 2])
async def test_cancelled_task_cancels_the_callers_of_its_batch_and_of_waiting_items(
    work: FakeWork, concurrency: int
) -> None:
    """An item that is submitted after the cancellation is processed."""
    batcher = Batcher(work.upper, max_batch_size=1, concurrency=concurrency)
    work.may_continue.clear()
    cancelled = [batcher.submit(word) for word in ("soup", "fish")]
    await work.begun.wait()
    cancelled.append(batcher.submit("cake"))

    _cancel_other_tasks()
    ends = await _ends(*cancelled)
    work.may_continue.set()

    assert all(isinstance(end, asyncio.CancelledError) for end in ends)
    assert await batcher.submit("wine") == "WINE"


async def test_task_cancelled_while_trying_items_one_by_one_cancels_all_callers() -> None:
    begun = asyncio.Event()

    async def refuse_together(words: Sequence[str]) -> list[str]:
        if len(words) > 1:
            raise ValueError("one at a time")
        begun.set()
        await asyncio.Event().wait()
        return []

    batcher: Batcher[str, str] = Batcher(refuse_together, max_batch_size=FEW)
    callers = [batcher.submit(word) for word in ("soup", "fish", "cake")]
    await begun.wait()

    _cancel_other_tasks()

    assert all(isinstance(end, asyncio.CancelledError) for end in await _ends(*callers))


async def test_work_that_cancels_itself_raises_unavailable_to_its_callers(
    work: FakeWork,
) -> None:
    """Items that wait for the next batch are processed."""
    batcher = Batcher(work.upper, max_batch_size=2)
    work.errors["fish"] = asyncio.CancelledError()

    *ends, cake = await _ends(*(batcher.submit(word) for word in ("soup", "fish", "cake")))

    assert all(isinstance(end, Unavailable) for end in ends)
    assert cake == "CAKE"


@pytest.mark.parametrize("results", [[], ["SOUP"], ["SOUP", "FISH", "CAKE"], None])
async def test_wrong_number_of_results_raises_an_error_to_every_caller(
    results: Sequence[str],
) -> None:
    """Work that returned a wrong number of results took effect, so it is not repeated."""
    batches = list[list[str]]()

    async def work(words: Sequence[str]) -> Sequence[str]:
        batches.append(list(words))
        return results if len(words) == 2 else [word.upper() for word in words]

    batcher = Batcher(work, max_batch_size=2)

    *ends, cake = await _ends(*(batcher.submit(word) for word in ("soup", "fish", "cake")))

    assert all(isinstance(end, RuntimeError) for end in ends)
    assert cake == "CAKE"
    assert batches == [["soup", "fish"], ["cake"]]


async def _ends(*callers: "asyncio.Future[str]") -> list[str | BaseException]:
    async with asyncio.timeout(1):
        return await asyncio.gather(*callers, return_exceptions=True)


def _cancel_other_tasks() -> None:
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()


async def test_batcher_starts_again_after_idle_times(work: FakeWork) -> None:
    """An idle batcher runs as many concurrent batches as before."""
    batcher = Batcher(work.upper, max_batch_size=1, concurrency=2)

    for _ in range(3):
        work.batches.clear()
        work.may_continue.clear()
        results = [batcher.submit("soup")]
        await asyncio.sleep(0)
        results += [batcher.submit(word) for word in ("fish", "cake")]
        await asyncio.sleep(0)
        assert work.batches == [["soup"], ["fish"]]
        work.may_continue.set()
        await asyncio.gather(*results)


async def test_batch_has_at_most_max_batch_size_items(work: FakeWork) -> None:
    """Items above the maximum batch size are processed in later batches."""
    batcher = Batcher(work.upper, max_batch_size=2)

    results = await asyncio.gather(*(batcher.submit(word) for word in "abcde"))

    assert results == list("ABCDE")
    assert max(len(batch) for batch in work.batches) == 2


async def test_invalid_item_fails_alone(work: FakeWork) -> None:
    """After an invalid item, the items of its batch are processed one by one."""
    batcher = Batcher(work.upper, max_batch_size=FEW)
    work.errors["fish"] = ValueError("no fish today")

    results = await asyncio.gather(
        *(batcher.submit(word) for word in ("soup", "fish", "cake")), return_exceptions=True
    )

    assert results == ["SOUP", work.errors["fish"], "CAKE"]


async def test_unavailable_is_raised_to_every_caller_without_a_retry(work: FakeWork) -> None:
    """A batch that failed with `Unavailable` is not retried, because it may have taken effect."""
    batcher = Batcher(work.upper, max_batch_size=FEW)
    work.errors["fish"] = away = DatabaseUnavailable("away")

    results = await asyncio.gather(
        *(batcher.submit(word) for word in ("soup", "fish", "cake")), return_exceptions=True
    )

    assert results == [away, away, away]
    assert len(work.batches) == 1


async def test_batch_after_a_failed_one_is_processed(work: FakeWork) -> None:
    batcher = Batcher(work.upper, max_batch_size=FEW)
    work.errors["fish"] = DatabaseUnavailable("away")
    with contextlib.suppress(DatabaseUnavailable):
        await batcher.submit("fish")

    assert await batcher.submit("soup") == "SOUP"


async def test_item_of_a_cancelled_caller_is_left_out_before_its_batch_begins(
    work: FakeWork,
) -> None:
    batcher = Batcher(work.upper, max_batch_size=FEW)
    work.may_continue.clear()
    first = asyncio.ensure_future(batcher.submit("soup"))
    await work.begun.wait()
    gone, stays = [asyncio.ensure_future(batcher.submit(word)) for word in ("fish", "cake")]
    await asyncio.sleep(0)

    gone.cancel()
    work.may_continue.set()

    assert list(await asyncio.gather(first, stays)) == ["SOUP", "CAKE"]
    assert work.batches == [["soup"], ["cake"]]


async def test_caller_cancelled_during_a_batch_does_not_affect_the_others(work: FakeWork) -> None:
    batcher = Batcher(work.upper, max_batch_size=FEW)
    work.may_continue.clear()
    gone, stays = [asyncio.ensure_future(batcher.submit(word)) for word in ("fish", "cake")]
    await work.begun.wait()

    gone.cancel()
    await asyncio.sleep(0)
    work.may_continue.set()

    assert await stays == "CAKE"
    assert work.batches == [["fish", "cake"]]


async def test_future_result_is_awaited_by_its_own_caller_only() -> None:
    """Other callers have their results, and the next batch begins."""
    loop = asyncio.get_running_loop()
    late = {word: loop.create_future() for word in ("roast", "stew", "pie")}

    async def serve(words: Sequence[str]) -> "list[str | asyncio.Future[str]]":
        return [late.get(word, word.upper()) for word in words]

    batcher = Batcher(serve, max_batch_size=FEW)
    roast, soup, stew, pie = (batcher.submit(word) for word in ("roast", "soup", "stew", "pie"))
    assert await soup == "SOUP"
    assert await batcher.submit("wine") == "WINE"

    late["roast"].set_result("ROAST")
    late["stew"].set_exception(ValueError("burnt"))
    pie.cancel()

    assert await roast == "ROAST"
    with pytest.raises(ValueError, match="burnt"):
        await stew
    await asyncio.sleep(0)
    assert late["pie"].cancelled()


async def test_future_result_is_cancelled_with_its_caller() -> None:
    """A cancelled future leaves no exception that asyncio reports as never retrieved."""
    loop, complaints = asyncio.get_running_loop(), list[object]()
    loop.set_exception_handler(lambda _, context: complaints.append(context))
    begun, go_on = asyncio.Event(), asyncio.Event()
    late = {"roast": loop.create_future(), "stew": loop.create_future()}
    late["stew"].set_exception(ValueError("burnt"))

    async def serve(words: Sequence[str]) -> "list[asyncio.Future[str]]":
        begun.set()
        await go_on.wait()
        return [late.pop(word) for word in words]

    batcher: Batcher[str, str] = Batcher(serve, max_batch_size=FEW)
    roasting = late["roast"]
    callers = [batcher.submit("roast"), batcher.submit("stew")]
    await begun.wait()
    for caller in callers:
        caller.cancel()
    go_on.set()
    await asyncio.sleep(0.01)
    gc.collect()

    assert roasting.cancelled()
    assert complaints == []
