"""How a running command is asked to stop: once politely, twice at once."""

import asyncio
import signal


class Shutdown:
    """The wish to stop. The first signal sets `requested`, the second `forced`."""

    def __init__(self) -> None:
        self.requested = asyncio.Event()
        self.forced = asyncio.Event()

    def ask(self) -> None:
        """Ask to stop; asked again, insist."""
        (self.forced if self.requested.is_set() else self.requested).set()

    def listen_to_signals(self) -> None:
        """Take SIGINT and SIGTERM as the wish to stop, from now on."""
        loop = asyncio.get_running_loop()
        for wish in (signal.SIGINT, signal.SIGTERM):
            try:
                loop.add_signal_handler(wish, self.ask)
            except NotImplementedError:  # Windows
                signal.signal(wish, lambda *_: loop.call_soon_threadsafe(self.ask))
