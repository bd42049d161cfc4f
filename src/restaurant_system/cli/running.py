"""Steps that all commands share: load settings, configure logging, run until stopped."""

import asyncio
import contextlib
import signal
import sys
from collections.abc import Callable, Coroutine, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, TypeVar

from restaurant_system.errors import Interrupted, primary_error

if TYPE_CHECKING:
    from restaurant_system.config import Settings
    from restaurant_system.shutdown import Shutdown

T = TypeVar("T")


def load(
    service: str, file: Path | None, options: Mapping[str, Any], logs_to: TextIO = sys.stdout
) -> "Settings":
    """Load the settings and configure logging; raises `ConfigurationError`."""
    from restaurant_system import config, logger

    settings = config.load(file, options)
    logger.configure(
        service=service, level=settings.log.level, style=settings.log.format, stream=logs_to
    )
    return settings


def run_service(command: "Callable[[Shutdown], Coroutine[Any, Any, T]]") -> T | None:
    """Run a service until it is stopped; return `None` if it was stopped while starting."""
    with contextlib.suppress(Interrupted):
        return run(command)
    return None


def complete(command: "Callable[[Shutdown], Coroutine[Any, Any, T]]", *, if_stopped: str) -> T:
    """Run a command to its end; raise `Interrupted(if_stopped)` if a signal stops it."""
    try:
        return run(command)
    except Interrupted:
        raise Interrupted(if_stopped) from None


def run(command: "Callable[[Shutdown], Coroutine[Any, Any, T]]") -> T:
    """Run a command and return its result; of several errors, raise the first `RestaurantError`.

    Raises `Interrupted` if a signal stops it before it is done.
    """
    from restaurant_system.shutdown import run_until_stopped

    try:
        with broken_pipes_ignored(), asyncio.Runner(loop_factory=_loop_factory()) as runner:
            return runner.run(run_until_stopped(command))
    except BaseExceptionGroup as group:
        error = primary_error(group)
        if error is group:
            raise
        raise error from None


@contextlib.contextmanager
def broken_pipes_ignored() -> Iterator[None]:
    """Let SIGPIPE not end the process: a client or a server may close a connection."""
    if not hasattr(signal, "SIGPIPE"):  # on Windows
        yield
        return
    before = signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGPIPE, before)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    if sys.platform == "win32":
        return None
    import uvloop

    return uvloop.new_event_loop
