"""What every command does: reads its settings, runs to its end."""

import asyncio
import contextlib
import gc
import sys
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO, TypeVar

import typer

from restaurant_system.errors import Interrupted, RestaurantError

if TYPE_CHECKING:
    from restaurant_system.config import Settings
    from restaurant_system.shutdown import Shutdown

T = TypeVar("T")

YOUNG = 20_000  # objects made since the last look; 700 by default

Config = Annotated[
    Path | None,
    typer.Option(
        "--config", metavar="FILE", help="Settings. [dim](config.yaml, if it is there)[/]"
    ),
]
LogFormat = Annotated[
    str | None,
    typer.Option(
        metavar="json|console",
        help="How log lines look. [dim](console on a terminal, else json)[/]",
    ),
]


def load(
    service: str, file: Path | None, options: Mapping[str, Any], logs_to: TextIO = sys.stdout
) -> "Settings":
    """Read the settings, and from now on log as they say; raises `ConfigurationError`."""
    from restaurant_system import config, logger

    settings = config.load(file, options)
    logger.configure(
        service=service, level=settings.log.level, style=settings.log.format, stream=logs_to
    )
    return settings


def run_service(command: "Callable[[Shutdown], Coroutine[Any, Any, T]]") -> T | None:
    """Run a service until it is stopped; return `None` if that was before it had started."""
    with contextlib.suppress(Interrupted):
        return run(command)
    return None


def complete(command: "Callable[[Shutdown], Coroutine[Any, Any, T]]", *, otherwise: str) -> T:
    """Run a command that ends by itself; raise `Interrupted(otherwise)` if a signal stops it."""
    try:
        return run(command)
    except Interrupted:
        raise Interrupted(otherwise) from None


def run(command: "Callable[[Shutdown], Coroutine[Any, Any, T]]") -> T:
    """Run a command and return its result; of several errors, raise the first `RestaurantError`.

    Raises `Interrupted` when a signal stops it before it is done.
    """
    from restaurant_system.shutdown import run_until_stopped

    _leave_alone_what_stays()
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            return runner.run(run_until_stopped(command))
    except BaseExceptionGroup as group:
        known = group.subgroup(RestaurantError)
        if known is None:
            raise
        raise _first(known) from None


def _leave_alone_what_stays() -> None:
    """Have the garbage collector look at what comes and goes, not at what was imported.

    Hundreds of orders a second make a young generation of the default size full all the time, and
    each of its collections costs them a moment.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG)


def _first(group: BaseException) -> BaseException:
    return _first(group.exceptions[0]) if isinstance(group, BaseExceptionGroup) else group


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    if sys.platform == "win32":
        return None
    import uvloop

    return uvloop.new_event_loop
