"""The forecast that look-ups share is made again in the background."""

import asyncio
from typing import Any, cast

import pytest

from restaurant_system.errors import DatabaseUnavailable
from restaurant_system.models.forecast import Forecast
from restaurant_system.services.tracking import queue_forecast
from restaurant_system.services.tracking.queue_forecast import QueueForecast

UNUSED = cast("Any", None)


class SlowForecast(QueueForecast):
    """A forecast that is made once the test allows it."""

    def __init__(self) -> None:
        super().__init__(UNUSED, clock=UNUSED, business_day=UNUSED, times=UNUSED)
        self.made: list[Forecast] = []
        self.allowed = asyncio.Event()
        self.is_unavailable = False

    async def _make(self) -> Forecast:
        await self.allowed.wait()
        if self.is_unavailable:
            raise DatabaseUnavailable("The database is closed.")
        self.made.append(cast("Forecast", object()))
        return self.made[-1]


@pytest.fixture
def seconds(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return the time of the monotonic clock; each forecast takes 0 s unless it is changed."""
    now = [1000.0]

    class Clock:
        @staticmethod
        def monotonic() -> float:
            return now[0]

    monkeypatch.setattr(queue_forecast, "time", Clock)
    return now


async def first_forecast(forecast: SlowForecast, seconds: list[float]) -> Forecast:
    """Let the first forecast take 1 s, so that it is reused for 20 s, and for 5 s at most after."""
    making = asyncio.create_task(forecast.latest())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    seconds[0] += 1
    forecast.allowed.set()
    made = await making
    forecast.allowed.clear()
    return made


async def test_old_forecast_is_used_while_the_next_one_is_made(seconds: list[float]) -> None:
    forecast = SlowForecast()
    first = await first_forecast(forecast, seconds)

    seconds[0] += 21
    assert [await forecast.latest() for _ in range(3)] == [first] * 3
    assert forecast.current() is first
    await asyncio.sleep(0)
    seconds[0] += 1
    forecast.allowed.set()
    await asyncio.sleep(0.01)

    assert len(forecast.made) == 2
    assert await forecast.latest() is forecast.made[1]


async def test_look_up_waits_for_a_forecast_if_the_last_one_is_too_old(
    seconds: list[float],
) -> None:
    forecast = SlowForecast()
    await first_forecast(forecast, seconds)

    seconds[0] += 25
    assert forecast.current() is None
    waiting = [asyncio.create_task(forecast.latest()) for _ in range(2)]
    await asyncio.sleep(0.01)
    assert not any(each.done() for each in waiting)
    forecast.allowed.set()

    assert [await each for each in waiting] == [forecast.made[1]] * 2


async def test_failed_forecast_is_made_again(seconds: list[float]) -> None:
    forecast = SlowForecast()
    first = await first_forecast(forecast, seconds)
    forecast.is_unavailable = True
    forecast.allowed.set()

    seconds[0] += 21
    assert await forecast.latest() is first
    await asyncio.sleep(0.01)
    seconds[0] += 4
    with pytest.raises(DatabaseUnavailable):
        await forecast.latest()
    forecast.is_unavailable = False
    assert await forecast.latest() is forecast.made[-1]
