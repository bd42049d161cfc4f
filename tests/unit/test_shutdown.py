"""Signal handlers of a command, and the order in which stop requests take effect."""

import asyncio
import signal

from restaurant_system.cli.running import run
from restaurant_system.shutdown import STOP_SIGNALS, Shutdown


async def do_nothing(_: Shutdown) -> None:
    """Return at once, as a command that has nothing to do."""


def test_signal_handlers_are_restored_after_a_command() -> None:
    """Ctrl-C can end a prompt that follows a command."""
    before = [signal.getsignal(number) for number in STOP_SIGNALS]

    run(do_nothing)

    assert [signal.getsignal(number) for number in STOP_SIGNALS] == before


def events(shutdown: Shutdown) -> tuple[bool, bool, bool]:
    """Return whether the service drains, is to stop, and is to stop at once."""
    return tuple(  # type: ignore[return-value] # of three
        each.is_set() for each in (shutdown.draining, shutdown.requested, shutdown.forced)
    )


async def test_without_drain_the_first_request_stops_and_the_second_forces() -> None:
    shutdown = Shutdown()
    shutdown.drain_for(0)

    shutdown.request_stop()
    assert events(shutdown) == (False, True, False)
    shutdown.request_stop()
    assert events(shutdown) == (False, True, True)


async def test_stop_follows_the_drain() -> None:
    shutdown = Shutdown()
    shutdown.drain_for(0.01)
    assert not shutdown.is_stopping

    shutdown.request_stop()
    assert events(shutdown) == (True, False, False)
    assert shutdown.is_stopping
    await asyncio.wait_for(shutdown.requested.wait(), 5)
    shutdown.request_stop()
    assert events(shutdown) == (True, True, True)


async def test_second_request_ends_the_drain_and_the_third_forces() -> None:
    shutdown = Shutdown()
    shutdown.drain_for(60)

    shutdown.request_stop()
    shutdown.request_stop()
    assert events(shutdown) == (True, True, False)
    shutdown.request_stop()
    assert events(shutdown) == (True, True, True)
