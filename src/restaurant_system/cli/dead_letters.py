"""The commands `dead-letters list`, `show`, `requeue` and `discard`."""

import functools
import sys
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from restaurant_system.cli.options import Config, LogFormat
from restaurant_system.cli.running import complete, load
from restaurant_system.errors import ConfigurationError, ConfirmationImpossible
from restaurant_system.models.text import escape_nonprintable

if TYPE_CHECKING:
    from restaurant_system.config import Settings
    from restaurant_system.messaging.dead_letters import All as Everything
    from restaurant_system.messaging.dead_letters import ById, DeadLetter, Result
    from restaurant_system.shutdown import Shutdown

    Operation = Callable[
        [Settings, Shutdown, ById | Everything, Result], Coroutine[Any, Any, Result]
    ]

cli = typer.Typer(
    help="List, show, requeue and discard messages that could not be processed.",
    no_args_is_help=True,
)

Ids = Annotated[
    list[str] | None,
    typer.Argument(metavar="ID", show_default=False, help="Id, or its first characters."),
]
All = Annotated[bool, typer.Option("--all", help="All dead letters; asks for confirmation.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation (for scripts).")]


@dataclass(frozen=True, slots=True)
class Action:
    """An operation on dead letters, with its verb and the verb's past tense for messages."""

    verb: str
    past: str
    operation: "Operation"


@cli.command("list")
def list_letters(*, config: Config = None, log_format: LogFormat = None) -> None:
    """List the dead letters, oldest first."""
    letters = _read(_load(config, log_format))
    from restaurant_system.cli import dead_letter_output

    dead_letter_output.print_list(letters)


@cli.command()
def show(
    letter_id: Annotated[str, typer.Argument(metavar="ID", help="Id, or its first characters.")],
    *,
    config: Config = None,
    log_format: LogFormat = None,
) -> None:
    """Show a dead letter with its headers and body."""
    letters = _read(_load(config, log_format))
    from restaurant_system.cli import dead_letter_output
    from restaurant_system.messaging.dead_letters import ById

    for letter in ById([letter_id]).select(letters):
        dead_letter_output.print_details(letter)


@cli.command()
def requeue(
    ids: Ids = None,
    *,
    everything: All = False,
    yes: Yes = False,
    config: Config = None,
    log_format: LogFormat = None,
) -> None:
    """Publish dead letters again to where they were first published, as if they were new."""
    _require_ids_or_all(ids, everything=everything)
    settings = _load(config, log_format)
    from restaurant_system.app import maintenance

    _apply(
        settings, Action("Requeue", "Requeued", maintenance.requeue_dead_letters), ids, ask=not yes
    )


@cli.command()
def discard(
    ids: Ids = None,
    *,
    everything: All = False,
    yes: Yes = False,
    config: Config = None,
    log_format: LogFormat = None,
) -> None:
    """Delete dead letters for good."""
    _require_ids_or_all(ids, everything=everything)
    settings = _load(config, log_format)
    from restaurant_system.app import maintenance

    action = Action("Discard", "Discarded", maintenance.discard_dead_letters)
    _apply(settings, action, ids, ask=not yes)


def _load(config: Path | None, log_format: str | None) -> "Settings":
    return load("dead-letters", config, {"log.format": log_format}, logs_to=sys.stderr)


def _require_ids_or_all(ids: Sequence[str] | None, *, everything: bool) -> None:
    if bool(ids) == everything:
        raise ConfigurationError("Name the ids of dead letters, or --all, but not both.")


def _read(settings: "Settings") -> "Sequence[DeadLetter]":
    from restaurant_system.app import maintenance

    return complete(
        functools.partial(maintenance.read_dead_letters, settings),
        if_stopped="Interrupted before the dead letters were read; run the command again.",
    )


def _apply(settings: "Settings", action: Action, ids: Sequence[str] | None, *, ask: bool) -> None:
    """Run an operation on dead letters; exit with 1 if any selected one is left."""
    from restaurant_system.messaging.dead_letters import All, ById, Result

    selection = ById(ids) if ids else _confirm(settings, action) if ask else All()
    if selection is None:
        return
    result = Result()
    try:
        complete(
            lambda shutdown: action.operation(settings, shutdown, selection, result),
            if_stopped=f"Interrupted before all were {action.past.lower()}; run the command again.",
        )
    except BaseException:
        if result.done:
            _print_partial_result(action, result)
        raise
    _print_result(action, result)
    if result.refused or result.unverified:
        raise typer.Exit(1)


def _confirm(settings: "Settings", action: Action) -> "Everything | None":
    """Return a selection of all dead letters, or `None` if there are none or the user declines."""
    from restaurant_system.messaging.dead_letters import All

    if sys.stdin is None or not sys.stdin.isatty():
        refusal = (
            f"No terminal to ask for confirmation; {action.verb.lower()} with --all and --yes."
        )
        raise ConfirmationImpossible(refusal)
    letters = _read(settings)
    if not letters:
        print("No dead letters.")
        return None
    if not typer.confirm(f"{action.verb} {_count(len(letters))}?"):
        print("Nothing was changed.")
        return None
    return All(frozenset(letter.message.message_id for letter in letters))


def _print_partial_result(action: Action, result: "Result") -> None:
    """Print how many dead letters were processed before the command failed."""
    print(f"{action.past} {_count(result.done)}; the others were not touched.")


def _print_result(action: Action, result: "Result") -> None:
    """Print how many dead letters were processed, and which are left and why."""
    print(f"{action.past} {_count(result.done)}.")
    for refusal in result.refused:
        reason = escape_nonprintable(refusal.reason)
        print(f"{refusal.message.message_id} stays a dead letter: {reason}.", file=sys.stderr)
    if result.unverified:
        print(
            f"{_count(result.unverified)} without a valid signature, or too old, not requeued; name"
            " each by its id to vouch for it.",
            file=sys.stderr,
        )


def _count(count: int) -> str:
    return f"{count} dead letter" if count == 1 else f"{count} dead letters"
