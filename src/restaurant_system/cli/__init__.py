"""The command line program `restaurant-system`.

Commands import what they need when they run, so that `--help` answers without delay.
"""

import io
import sys
from typing import NoReturn

import typer
from typer.exceptions import TyperException

from restaurant_system.cli import access, dead_letters, privacy
from restaurant_system.cli.doctor import doctor
from restaurant_system.cli.services import cli
from restaurant_system.errors import ConfigurationError, RestaurantError
from restaurant_system.models.text import escape_nonprintable
from restaurant_system.validation_messages import message_of

cli.command(rich_help_panel="Maintenance")(doctor)
cli.add_typer(access.users_cli, name="users", rich_help_panel="Maintenance")
cli.add_typer(access.keys_cli, name="api-keys", rich_help_panel="Maintenance")
cli.add_typer(dead_letters.cli, name="dead-letters", rich_help_panel="Maintenance")
cli.add_typer(privacy.cli, name="privacy", rich_help_panel="Maintenance")


def main() -> None:
    """Run the command that the arguments name."""
    _escape_unencodable_output()
    arguments = _mode_as_command(sys.argv[1:])
    try:
        sys.exit(cli(arguments, prog_name="restaurant-system", standalone_mode=False))
    except TyperException as error:
        _fail(_usage_error(error), error.exit_code)
    except typer.Abort:  # Ctrl-C or Ctrl-D at a question, or Ctrl-C before the command started
        _fail("Interrupted; nothing was done.", 1)
    except ConfigurationError as error:
        _fail(error, 2)
    except RestaurantError as error:
        _fail(error, 1)
    except Exception as error:  # noqa: BLE001 - a person must not be shown a traceback
        kind = type(error).__name__  # the error's text may contain personal data or secrets
        _log_failure(kind)
        _fail(f"Failed unexpectedly ({kind}); see the log for details, and please report it.", 1)


def _usage_error(error: TyperException) -> str:
    """Describe wrong usage, with pydantic's validation errors in our words."""
    from pydantic import ValidationError

    if isinstance(error, typer.BadParameter) and isinstance(error.__cause__, ValidationError):
        fault = error.__cause__.errors(include_url=False, include_input=False)[0]
        error.message = f"it {message_of(fault)}."
    message = error.format_message()  # empty after the help that is shown when no command is given
    return f"{message} (See --help.)" if message else "No command was given."


def _log_failure(kind: str) -> None:
    """Log the current exception, even if logging has not been configured yet.

    structlog's defaults would print the local variables of each frame, passwords included.
    """
    import structlog

    from restaurant_system import logger

    if not structlog.is_configured():
        logger.configure(service="restaurant-system", level="INFO", style="auto", stream=sys.stderr)
    logger.get_logger().exception(
        "service_failed", message=f"The command failed unexpectedly: {kind}."
    )


def _escape_unencodable_output() -> None:
    """Write characters that stdout cannot encode as escapes, so that printing them never fails."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def _mode_as_command(arguments: list[str]) -> list[str]:
    """Replace ``--mode=COMMAND`` and ``--mode COMMAND`` by the command itself."""
    for index, argument in enumerate(arguments):
        if argument.startswith("--mode="):
            rest = arguments[:index] + arguments[index + 1 :]
            return [argument.removeprefix("--mode="), *rest]
        if argument == "--mode" and len(arguments) > index + 1:
            return [arguments[index + 1], *arguments[:index], *arguments[index + 2 :]]
    return arguments


def _fail(error: RestaurantError | str, code: int) -> NoReturn:
    print(f"restaurant-system: {escape_nonprintable(str(error))}", file=sys.stderr)
    raise SystemExit(code)
