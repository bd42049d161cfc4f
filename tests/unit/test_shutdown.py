"""How a command is asked to stop, and what signals mean when it has ended."""

import signal

from restaurant_system.cli.running import run
from restaurant_system.shutdown import STOP_SIGNALS, Shutdown


async def _nothing(_: Shutdown) -> None:
    """End at once."""


def test_signals_mean_again_what_they_meant_before() -> None:
    """Who is asked a question after a command has run can leave it with Ctrl-C."""
    before = [signal.getsignal(wish) for wish in STOP_SIGNALS]

    run(_nothing)

    assert [signal.getsignal(wish) for wish in STOP_SIGNALS] == before
