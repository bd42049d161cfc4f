"""Cancelled tasks end, whatever their library does with a cancellation."""

import asyncio

import pytest

from restaurant_system import cancellation
from restaurant_system.app.runtime import background_task
from restaurant_system.cancellation import cancel
from tests.support.waiting import lose_cancellations

pytestmark = pytest.mark.usefixtures("quick_cancellation")


async def lose_and_wait(count: int = 1) -> None:
    """Lose `count` cancellations, and wait for another one."""
    await lose_cancellations(count)
    await asyncio.Event().wait()


async def lose_and_fail() -> None:
    """Fail when cancelled."""
    await lose_cancellations()
    raise ValueError("broken")


async def started(*tasks: "asyncio.Task[None]") -> tuple["asyncio.Task[None]", ...]:
    """Return the tasks once each waits."""
    await asyncio.sleep(0)
    return tasks


async def test_tasks_are_cancelled_until_all_have_ended() -> None:
    async with asyncio.timeout(5):
        tasks = await started(*(asyncio.create_task(lose_and_wait(n)) for n in range(4)))

        await cancel(*tasks)

    assert all(task.cancelled() for task in tasks)


async def test_cancelled_tasks_keep_their_results_and_errors() -> None:
    returning, failing = await started(
        asyncio.create_task(lose_cancellations()), asyncio.create_task(lose_and_fail())
    )

    await cancel(returning, failing)

    assert returning.result() is None
    assert isinstance(failing.exception(), ValueError)


async def test_cancellation_of_the_caller_is_passed_on_at_once_and_raised_at_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cancellation, "CANCELLATION_INTERVAL", 3600)
    async with asyncio.timeout(5):
        (task,) = await started(asyncio.create_task(lose_and_wait()))
        (caller,) = await started(asyncio.create_task(cancel(task)))

        caller.cancel()
        await asyncio.wait({caller})

    assert caller.cancelled()
    assert task.cancelled()


async def test_background_task_that_loses_a_cancellation_ends_with_its_block() -> None:
    async with asyncio.timeout(5), background_task(lose_and_wait()):
        await asyncio.sleep(0)


async def test_error_of_a_background_task_ends_its_block() -> None:
    async def fail() -> None:
        raise ValueError("broken")

    with pytest.raises(ExceptionGroup) as raised:
        async with background_task(fail()):
            await asyncio.sleep(3600)

    assert raised.group_contains(ValueError)


async def test_error_of_a_background_task_at_its_cancellation_is_raised_by_the_block() -> None:
    with pytest.raises(ExceptionGroup) as raised:
        async with background_task(lose_and_fail()):
            await asyncio.sleep(0)

    assert raised.group_contains(ValueError)
