"""How a running command is asked to stop: once politely, twice at once."""

import asyncio
import signal
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class Shutdown:
    """The wish to stop. The first one sets `requested`, the second `forced`.

    A command that is still starting (waiting for its database, say) is simply cancelled; it calls
    `begin` once it watches these events itself.
    """

    def __init__(self, starting: "asyncio.Task[Any] | None" = None) -> None:
        self.requested = asyncio.Event()
        self.forced = asyncio.Event()
        self._starting = starting

    def begin(self) -> None:
        """Leave it to the running command, from now on, to obey."""
        self._starting = None

    def ask(self) -> None:
        """Ask to stop; asked again, insist."""
        (self.forced if self.requested.is_set() else self.requested).set()
        if self._starting is not None:
            self._starting.cancel()


async def until_asked_to_stop(command: Callable[[Shutdown], Coroutine[Any, Any, T]]) -> T | None:
    """Run a command with SIGINT and SIGTERM as the wish to stop.

    Returns what it returns, `None` when it was stopped before it had begun.
    """
    shutdown = Shutdown(asyncio.current_task())
    _listen_to_signals(shutdown)
    try:
        return await command(shutdown)
    except asyncio.CancelledError:
        if not shutdown.requested.is_set():
            raise
        return None


def _listen_to_signals(shutdown: Shutdown) -> None:
    loop = asyncio.get_running_loop()
    for wish in (signal.SIGINT, signal.SIGTERM):
        try:
            loop.add_signal_handler(wish, shutdown.ask)
        except NotImplementedError:  # Windows
            signal.signal(wish, lambda *_: loop.call_soon_threadsafe(shutdown.ask))
