"""An unexpected error of a periodic task is logged, and the task goes on."""

import asyncio
from datetime import timedelta
from typing import Any, cast

import pytest

from restaurant_system.app.runtime import background_task
from restaurant_system.errors import DatabaseUnavailable
from restaurant_system.services.order import cleanup, warning_log
from restaurant_system.services.order.periodic import process_in_batches
from restaurant_system.services.order.warning_log import WarningLog
from tests.support.logs import capture_logs

UNUSED = cast("Any", None)


class Failing:
    """Fails with each of three errors, of which the first is expected, and then succeeds."""

    def __init__(self) -> None:
        self.errors = [DatabaseUnavailable("away"), ValueError("a broken row"), KeyError("type")]
        self.calls = 0

    async def __call__(self, *_: object) -> int:
        """Raise the next error."""
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return 0


async def test_warnings_are_checked_again_after_an_unexpected_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(warning_log, "INTERVAL", 0)
    warnings = WarningLog(UNUSED, UNUSED, clock=UNUSED, business_day=UNUSED)
    check = Failing()
    monkeypatch.setattr(warnings, "check", check)

    with capture_logs() as logs:
        async with background_task(warnings.run()):
            await asyncio.sleep(0.01)

    assert check.calls > 3
    assert [line["event"] for line in logs] == ["kitchen_warnings_failed"] * 2


async def test_batches_are_processed_again_after_an_unexpected_error() -> None:
    batch = Failing()

    with capture_logs() as logs:
        task = process_in_batches(batch, batch_size=1, interval=0, failure=("it_failed", "It."))
        async with background_task(task):
            await asyncio.sleep(0.01)

    assert batch.calls > 3
    assert [line["event"] for line in logs] == ["it_failed"] * 2


@pytest.mark.parametrize(
    ("step", "action"), [("erase_due", "cleanup_failed"), ("delete_messages", "erasure_failed")]
)
async def test_erasure_goes_on_after_an_unexpected_error(
    monkeypatch: pytest.MonkeyPatch, step: str, action: str
) -> None:
    monkeypatch.setattr(cleanup, "ERASURE_INTERVAL", 0)

    class Data:
        """Personal data of which one step fails."""

        async def erase_due(self, *_: object) -> int:
            """Find nothing to erase."""
            return 0

        async def delete_messages(self, *_: object) -> int:
            """Find nothing to delete."""
            return 0

    data, failing = Data(), Failing()
    monkeypatch.setattr(data, step, failing)
    with capture_logs() as logs:
        async with background_task(
            cleanup.erase_personal_data(cast("Any", data), timedelta(days=1))
        ):
            await asyncio.sleep(0.01)

    assert failing.calls > 3
    assert [line["event"] for line in logs] == [action] * 2
