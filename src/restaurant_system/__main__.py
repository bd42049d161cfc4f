"""The entry point of `restaurant-system`, and of `python -m restaurant_system`."""

import os
import signal
import sys
from pathlib import Path


def main() -> None:
    """Run the command line; Ctrl-C while it is imported ends the process without a traceback."""
    open_closed_streams()
    if hasattr(signal, "SIGPIPE"):
        # As other programs that print: `doctor | head -1` ends without an error message.
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    raises_error = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if raises_error:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from restaurant_system import cli  # noqa: PLC0415 - see above

    if raises_error:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    cli.main()


def open_closed_streams() -> None:
    """Connect stdin, stdout and stderr to the null device, if they were closed by the caller.

    Child processes inherit that.

    Otherwise the next socket or file would get the number of a standard stream, and with it what is
    printed; libuv aborts the process when it closes such a socket.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number, which is this one
            os.set_inheritable(number, True)  # noqa: FBT003 - it takes no keywords
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115


if __name__ == "__main__":
    main()
