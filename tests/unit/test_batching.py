"""Many callers' work done together."""

import asyncio
import contextlib
import gc
from collections.abc import Sequence

import pytest

from restaurant_system.batching import Batcher
from restaurant_system.errors import DatabaseUnavailable, Unavailable

FEW = 4


class Kitchen:
    """Work that a test watches: it shouts, as soon as it is let."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.begun = asyncio.Event()
        self.open = asyncio.Event()
        self.open.set()
        self.errors: dict[str, BaseException] = {}

    async def shout(self, words: Sequence[str]) -> list[str]:
        """Return the words in capitals; raise the error of the first that has one."""
        self.batches.append(list(words))
        self.begun.set()
        await self.open.wait()
        for word in words:
            if word in self.errors:
                raise self.errors[word]
        return [word.upper() for word in words]


@pytest.fixture
def kitchen() -> Kitchen:
    """Work to be done."""
    return Kitchen()


async def test_a_lone_item_waits_for_nobody(kitchen: Kitchen) -> None:
    """Work begins at once, and the caller gets its result."""
    result = await Batcher(kitchen.shout, max_batch_size=FEW).submit("soup")

    assert result == "SOUP"
    assert kitchen.batches == [["soup"]]


async def test_what_comes_while_a_batch_is_under_way_shares_the_next_one(kitchen: Kitchen) -> None:
    """Each caller gets its own result, whoever it shares with."""
    batcher = Batcher(kitchen.shout, max_batch_size=FEW)
    kitchen.open.clear()
    first = asyncio.ensure_future(batcher.submit("soup"))
    await kitchen.begun.wait()

    later = [asyncio.ensure_future(batcher.submit(word)) for word in ("fish", "cake", "wine")]
    await asyncio.sleep(0)
    kitchen.open.set()

    assert await asyncio.gather(first, *later) == ["SOUP", "FISH", "CAKE", "WINE"]
    assert kitchen.batches == [["soup"], ["fish", "cake", "wine"]]


async def test_a_second_batch_begins_when_it_is_worth_a_first(kitchen: Kitchen) -> None:
    """Where two may be worked on at a time, as many as are under way are gathered for it."""
    batcher = Batcher(kitchen.shout, max_batch_size=FEW, concurrency=2)
    kitchen.open.clear()
    words = ["soup", "fish", "cake", "wine", "salt", "figs", "nuts"]
    begun = []

    results = []
    for word in words[:2], words[2:3], words[3:4], words[4:]:
        results += [batcher.submit(each) for each in word]
        await asyncio.sleep(0)
        begun.append(len(kitchen.batches))
    kitchen.open.set()

    assert await asyncio.gather(*results) == [word.upper() for word in words]
    assert begun == [1, 1, 2, 2]
    assert kitchen.batches == [["soup", "fish"], ["cake", "wine"], ["salt", "figs", "nuts"]]


async def test_a_crowd_fills_all_batches_at_once(kitchen: Kitchen) -> None:
    """What does not fit into the first batch is not left for later."""
    batcher = Batcher(kitchen.shout, max_batch_size=FEW, concurrency=2)
    kitchen.open.clear()

    results = [batcher.submit(word) for word in "abcdefghijkl"]
    await asyncio.sleep(0)
    begun = list(kitchen.batches)
    kitchen.open.set()

    assert begun == [list("abcd"), list("efgh")]
    assert await asyncio.gather(*results) == list("ABCDEFGHIJKL")


@pytest.mark.parametrize("concurrency", [1, 2])
async def test_cancelled_worker_cancels_its_callers_and_those_who_wait_behind_them(
    kitchen: Kitchen, concurrency: int
) -> None:
    """Nobody waits in vain, and the next caller is served."""
    batcher = Batcher(kitchen.shout, max_batch_size=1, concurrency=concurrency)
    kitchen.open.clear()
    cancelled = [batcher.submit(word) for word in ("soup", "fish")]
    await kitchen.begun.wait()
    cancelled.append(batcher.submit("cake"))

    _cancel_other_tasks()
    ends = await _ends(*cancelled)
    kitchen.open.set()

    assert all(isinstance(end, asyncio.CancelledError) for end in ends)
    assert await batcher.submit("wine") == "WINE"


async def test_worker_cancelled_while_it_tries_items_one_by_one_cancels_all_of_them() -> None:
    """Those whose turn had not come yet are not left waiting."""
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


async def test_work_that_is_cancelled_from_within_is_an_error_for_its_callers(
    kitchen: Kitchen,
) -> None:
    """Its effect is unknown; those who wait behind it are served."""
    batcher = Batcher(kitchen.shout, max_batch_size=2)
    kitchen.errors["fish"] = asyncio.CancelledError()

    *ends, cake = await _ends(*(batcher.submit(word) for word in ("soup", "fish", "cake")))

    assert all(isinstance(end, Unavailable) for end in ends)
    assert cake == "CAKE"


@pytest.mark.parametrize("results", [[], ["SOUP"], ["SOUP", "FISH", "CAKE"], None])
async def test_results_that_do_not_match_the_items_are_an_error_for_every_caller(
    results: Sequence[str],
) -> None:
    """The work took effect, so it is not repeated; the next batch is served."""
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


async def test_batches_that_are_over_leave_room_for_others(kitchen: Kitchen) -> None:
    """However often it was still, a batcher begins anew, with as many batches as before."""
    batcher = Batcher(kitchen.shout, max_batch_size=1, concurrency=2)

    for _ in range(3):
        kitchen.batches.clear()
        kitchen.open.clear()
        results = [batcher.submit("soup")]
        await asyncio.sleep(0)
        results += [batcher.submit(word) for word in ("fish", "cake")]
        await asyncio.sleep(0)
        assert kitchen.batches == [["soup"], ["fish"]]
        kitchen.open.set()
        await asyncio.gather(*results)


async def test_a_batch_has_a_limit(kitchen: Kitchen) -> None:
    """More than `at_most` are never worked on together, and none is forgotten."""
    batcher = Batcher(kitchen.shout, max_batch_size=2)

    results = await asyncio.gather(*(batcher.submit(word) for word in "abcde"))

    assert results == list("ABCDE")
    assert max(len(batch) for batch in kitchen.batches) == 2


async def test_a_bad_item_fails_alone(kitchen: Kitchen) -> None:
    """Its neighbours succeed, each tried by itself."""
    batcher = Batcher(kitchen.shout, max_batch_size=FEW)
    kitchen.errors["fish"] = ValueError("no fish today")

    results = await asyncio.gather(
        *(batcher.submit(word) for word in ("soup", "fish", "cake")), return_exceptions=True
    )

    assert results == ["SOUP", kitchen.errors["fish"], "CAKE"]


async def test_an_absence_is_everyones(kitchen: Kitchen) -> None:
    """Nothing is tried again when it is unknown whether it took effect."""
    batcher = Batcher(kitchen.shout, max_batch_size=FEW)
    kitchen.errors["fish"] = away = DatabaseUnavailable("away")

    results = await asyncio.gather(
        *(batcher.submit(word) for word in ("soup", "fish", "cake")), return_exceptions=True
    )

    assert results == [away, away, away]
    assert len(kitchen.batches) == 1


async def test_after_a_failure_the_next_is_served(kitchen: Kitchen) -> None:
    """One bad batch ends nothing."""
    batcher = Batcher(kitchen.shout, max_batch_size=FEW)
    kitchen.errors["fish"] = DatabaseUnavailable("away")
    with contextlib.suppress(DatabaseUnavailable):
        await batcher.submit("fish")

    assert await batcher.submit("soup") == "SOUP"


async def test_who_has_gone_before_the_batch_began_is_left_out(kitchen: Kitchen) -> None:
    """Nothing is done for nobody."""
    batcher = Batcher(kitchen.shout, max_batch_size=FEW)
    kitchen.open.clear()
    first = asyncio.ensure_future(batcher.submit("soup"))
    await kitchen.begun.wait()
    gone, stays = [asyncio.ensure_future(batcher.submit(word)) for word in ("fish", "cake")]
    await asyncio.sleep(0)

    gone.cancel()
    kitchen.open.set()

    assert list(await asyncio.gather(first, stays)) == ["SOUP", "CAKE"]
    assert kitchen.batches == [["soup"], ["cake"]]


async def test_who_goes_while_the_batch_is_under_way_disturbs_nobody(kitchen: Kitchen) -> None:
    """The others of the batch get their results."""
    batcher = Batcher(kitchen.shout, max_batch_size=FEW)
    kitchen.open.clear()
    gone, stays = [asyncio.ensure_future(batcher.submit(word)) for word in ("fish", "cake")]
    await kitchen.begun.wait()

    gone.cancel()
    await asyncio.sleep(0)
    kitchen.open.set()

    assert await stays == "CAKE"
    assert kitchen.batches == [["fish", "cake"]]


async def test_a_result_that_is_still_to_come_is_waited_for_by_its_own_caller() -> None:
    """The others have theirs already, and the next batch begins."""
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


async def test_what_is_still_to_come_is_not_done_for_one_who_has_gone() -> None:
    """Nor does anybody hear of an error that nobody waits for."""
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
