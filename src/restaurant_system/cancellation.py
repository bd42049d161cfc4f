"""Cancel tasks that may lose a cancellation.

`asyncio.wait_for`, which aiormq uses, loses a cancellation that comes together with a result
(Python before 3.12). A task that consumes or publishes in a loop would then never end.
"""

import asyncio
from typing import Any

CANCELLATION_INTERVAL = 5.0  # s; a task may take some to close what it has open


async def cancel(*tasks: "asyncio.Task[Any]") -> None:
    """Cancel tasks, and again at intervals, until all have ended; raise none of their errors.

    A cancellation of the caller is passed on to the tasks at once, and raised once they have ended.
    """
    cancellation = None
    while running := [task for task in tasks if not task.done()]:
        for task in running:
            task.cancel()
        try:
            await asyncio.wait(running, timeout=CANCELLATION_INTERVAL)
        except asyncio.CancelledError as error:
            cancellation = error
    if cancellation is not None:
        raise cancellation
