"""Signal handlers of a command."""

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
