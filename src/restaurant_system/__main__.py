"""The entry point of `restaurant-system`, and of `python -m restaurant_system`."""

import signal


def main() -> None:
    """Run the command line; Ctrl-C while it is imported ends the process without a traceback."""
    raises_error = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if raises_error:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from restaurant_system import cli  # noqa: PLC0415 - see above

    if raises_error:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    cli.main()


if __name__ == "__main__":
    main()
