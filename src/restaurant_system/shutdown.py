"""How a running command is asked to stop: once politely, twice at once."""

import asyncio
import contextlib
import signal
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeVar

from restaurant_system.errors import Interrupted

T = TypeVar("T")

WISHES = (signal.SIGINT, signal.SIGTERM)


class Shutdown:
    """The wish to stop. The first one sets `requested`, the second `forced`.

    A command that is still starting (waiting for its database, say) is cancelled. A service calls
    `begin` once it waits for these events itself; a command that ends by itself calls it once its
    work is done and only connections are left to close.
    """

    def __init__(self, starting: "asyncio.Task[Any] | None" = None) -> None:
        self.requested = asyncio.Event()
        self.forced = asyncio.Event()
        self._starting = starting
        self._asked = False

    def begin(self) -> None:
        """Cancel the command no more: from now on it ends by itself or waits for these events."""
        self._starting = None

    def ask(self) -> None:
        """Ask to stop; asked again, insist."""
        (self.forced if self._asked else self.requested).set()
        self._asked = True
        self._abandon_start()

    def wind_up(self) -> None:
        """Stop because there is nothing more to do; whoever then asks does so for the first time.

        A supervisor's end and a signal to all of its processes may come together, in any order.
        """
        self.requested.set()
        self._abandon_start()

    def _abandon_start(self) -> None:
        if self._starting is not None:
            self._starting.cancel()


async def until_asked_to_stop(command: Callable[[Shutdown], Coroutine[Any, Any, T]]) -> T:
    """Run a command that SIGINT and SIGTERM stop, and return its result.

    Raises `Interrupted` when a signal came before the command called `Shutdown.begin`.
    """
    shutdown = Shutdown(asyncio.current_task())
    with _listening_to_signals(shutdown):
        try:
            return await command(shutdown)
        except asyncio.CancelledError:
            if not shutdown.requested.is_set():
                raise
            raise Interrupted("The command was interrupted.") from None


@contextlib.contextmanager
def _listening_to_signals(shutdown: Shutdown) -> Iterator[None]:
    """Take signals for wishes to stop; put back, at the end, what they meant before.

    A loop that is closed swallows them, and somebody who is asked a question then could not leave.
    """
    loop = asyncio.get_running_loop()
    before = {wish: signal.getsignal(wish) for wish in WISHES}
    try:
        for wish in WISHES:
            _on_signal(loop, wish, shutdown)
        yield
    finally:
        for wish, handler in before.items():
            with contextlib.suppress(NotImplementedError):  # as in `_on_signal`
                loop.remove_signal_handler(wish)
            signal.signal(wish, handler)


def _on_signal(loop: asyncio.AbstractEventLoop, wish: signal.Signals, shutdown: Shutdown) -> None:
    try:
        loop.add_signal_handler(wish, shutdown.ask)
    except NotImplementedError:  # a loop on Windows hears of no signals
        signal.signal(wish, lambda *_: loop.call_soon_threadsafe(shutdown.ask))
