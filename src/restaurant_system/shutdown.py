"""Stop a running command on SIGINT or SIGTERM: gracefully the first time, at once the second.

A service behind a load balancer drains first: it reports that it is not ready, and goes on working.
"""

import asyncio
import contextlib
import signal
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeVar

from restaurant_system.errors import Interrupted
from restaurant_system.logger import get_logger

T = TypeVar("T")

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)

log = get_logger()


class Shutdown:
    """The stop requests to a command. The first request sets `requested`, the second `forced`.

    A command that is still starting (waiting for its database, for example) is cancelled. A service
    calls `stop_cancelling` once it waits for these events itself; a command that ends by itself
    calls it once its work is done and only connections are left to close.

    After `drain_for`, the first request sets `draining`, and `requested` follows once the time is
    over or at the second request; the next one sets `forced`.
    """

    def __init__(self, starting: "asyncio.Task[Any] | None" = None) -> None:
        self.draining = asyncio.Event()
        self.requested = asyncio.Event()
        self.forced = asyncio.Event()
        self._starting = starting
        self._drain_seconds = 0.0

    @property
    def is_stopping(self) -> bool:
        """Return whether a stop was requested, and the service drains or stops."""
        return self.draining.is_set() or self.requested.is_set()

    def drain_for(self, seconds: float) -> None:
        """Let a stop request take effect only after these seconds, in which requests go on."""
        self._drain_seconds = seconds

    def stop_cancelling(self) -> None:
        """Stop cancelling the command at a request: it now waits for these events itself."""
        self._starting = None

    def request_stop(self) -> None:
        """Request a graceful stop; if one was requested before, an immediate stop."""
        if self.requested.is_set():
            self.forced.set()
        elif self.draining.is_set() or not self._drain_seconds:
            self.requested.set()
        else:
            self.drain()
            asyncio.get_running_loop().call_later(self._drain_seconds, self.requested.set)
        if self._starting is not None:
            self._starting.cancel()

    def stop_because_of_failure(self) -> None:
        """Stop without draining, because a part of the service has failed."""
        message = "A part of the service has failed; no more requests are accepted."
        log.warning("service_failed", message=message)
        self.requested.set()

    def drain(self) -> None:
        """Report from now on that the service is not ready."""
        self.draining.set()
        log.info("draining", message="Not ready: the stop follows when load balancers know.")


async def run_until_stopped(command: Callable[[Shutdown], Coroutine[Any, Any, T]]) -> T:
    """Run a command that SIGINT and SIGTERM stop, and return its result.

    Raises `Interrupted` when a signal came before the command called `Shutdown.stop_cancelling`.
    """
    shutdown = Shutdown(asyncio.current_task())
    with _stopping_on_signals(shutdown):
        try:
            return await command(shutdown)
        except asyncio.CancelledError:
            if not shutdown.requested.is_set():
                raise
            raise Interrupted("The command was interrupted.") from None


@contextlib.contextmanager
def _stopping_on_signals(shutdown: Shutdown) -> Iterator[None]:
    """Request a stop on each signal; restore the previous signal handlers at the end.

    The handlers of a closed event loop swallow signals: Ctrl-C could not leave a prompt that a
    command shows afterwards.
    """
    loop = asyncio.get_running_loop()
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    try:
        for number in STOP_SIGNALS:
            _add_handler(loop, number, shutdown)
        yield
    finally:
        for number, handler in before.items():
            with contextlib.suppress(NotImplementedError):  # as in `_add_handler`
                loop.remove_signal_handler(number)
            signal.signal(number, handler)


def _add_handler(
    loop: asyncio.AbstractEventLoop, number: signal.Signals, shutdown: Shutdown
) -> None:
    try:
        loop.add_signal_handler(number, shutdown.request_stop)
    except NotImplementedError:  # event loops on Windows cannot
        signal.signal(number, lambda *_: loop.call_soon_threadsafe(shutdown.request_stop))
