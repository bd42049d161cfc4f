"""Background tasks end with their block, whatever their library does with a cancellation."""

import asyncio

import pytest

from restaurant_system.app import runtime


async def test_task_that_loses_its_cancellation_is_cancelled_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A reply that comes together with the cancellation, as in `asyncio.wait_for` of 3.11."""
    monkeypatch.setattr(runtime, "CANCELLATION_INTERVAL", 0.05)
    started = asyncio.Event()

    async def lose_the_first() -> None:
        started.set()
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            await asyncio.sleep(3600)

    async with asyncio.timeout(5):
        async with runtime.background_task(lose_the_first()):
            await started.wait()


async def test_error_of_a_task_ends_the_block() -> None:
    async def fail() -> None:
        raise ValueError("broken")

    with pytest.raises(ExceptionGroup) as raised:
        async with runtime.background_task(fail()):
            await asyncio.sleep(3600)

    assert isinstance(raised.value.exceptions[0], ValueError)
