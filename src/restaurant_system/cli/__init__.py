"""What a person types.

What is heavy is imported when a command runs, so that help comes at once.
"""

import io
import sys
from typing import NoReturn

import typer
from typer.exceptions import TyperException

from restaurant_system.cli import dead_letters
from restaurant_system.cli.services import cli
from restaurant_system.errors import ConfigurationError, RestaurantError
from restaurant_system.escaping import escape_nonprintable

cli.add_typer(dead_letters.cli, name="dead-letters", rich_help_panel="Maintenance")


def main() -> None:
    """Run the command that the arguments name."""
    _let_any_character_out()
    arguments = _mode_as_command(sys.argv[1:])
    try:
        sys.exit(cli(arguments, prog_name="restaurant-system", standalone_mode=False))
    except TyperException as error:
        message = error.format_message()  # empty when, for want of a command, help was shown
        _fail(f"{message} (--help shows how.)" if message else "Name a command.", error.exit_code)
    except typer.Abort:  # Ctrl-C or Ctrl-D at a question, or Ctrl-C before anything had started
        _fail("Interrupted; nothing was done.", 1)
    except ConfigurationError as error:
        _fail(error, 2)
    except RestaurantError as error:
        _fail(error, 1)
    except Exception as error:  # noqa: BLE001 - a traceback is not for whoever typed the command
        what = type(error).__name__  # its text may hold anything
        _log_failure(what)
        _fail(f"Failed unexpectedly ({what}); the log has more. Please report it.", 1)


def _log_failure(what: str) -> None:
    """Log the error that is being handled, also if it came before the settings were read.

    structlog, not configured, would print every local variable on its way, passwords included.
    """
    import structlog

    from restaurant_system import logger

    if not structlog.is_configured():
        logger.configure(service="restaurant-system", level="INFO", style="auto", stream=sys.stderr)
    logger.get_logger().exception("service_failed", message=f"Failed: {what}.")


def _let_any_character_out() -> None:
    """Write what stdout cannot encode as an escape sequence: no order's name may end a command."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def _mode_as_command(arguments: list[str]) -> list[str]:
    """Take ``--mode=COMMAND`` and ``--mode COMMAND`` for the command itself."""
    for place, argument in enumerate(arguments):
        if argument.startswith("--mode="):
            rest = arguments[:place] + arguments[place + 1 :]
            return [argument.removeprefix("--mode="), *rest]
        if argument == "--mode" and len(arguments) > place + 1:
            return [arguments[place + 1], *arguments[:place], *arguments[place + 2 :]]
    return arguments


def _fail(error: RestaurantError | str, code: int) -> NoReturn:
    print(f"restaurant-system: {escape_nonprintable(str(error))}", file=sys.stderr)
    raise SystemExit(code)
