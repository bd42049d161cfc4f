"""Dead letters, as a person deals with them."""

import functools
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from restaurant_system.cli.running import Config, LogFormat, load, run
from restaurant_system.errors import ConfigurationError, NobodyToAsk

if TYPE_CHECKING:
    from restaurant_system.config import Settings
    from restaurant_system.messaging.dead_letters import DeadLetter, Requeued

cli = typer.Typer(
    help="Read what could not be handled, send it back, or throw it away.", no_args_is_help=True
)

Ids = Annotated[
    list[str] | None,
    typer.Argument(metavar="ID", show_default=False, help="As listed; its beginning will do."),
]
All = Annotated[bool, typer.Option("--all", help="Every dead letter; asks first.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask: for scripts.")]


@cli.command("list")
def list_letters(*, config: Config = None, log_format: LogFormat = None) -> None:
    """List the dead letters, the oldest first."""
    letters = _read(_load(config, log_format))
    from restaurant_system.cli import letters_shown

    letters_shown.table(letters)


@cli.command()
def show(
    letter_id: Annotated[str, typer.Argument(metavar="ID", help="Its beginning will do.")],
    *,
    config: Config = None,
    log_format: LogFormat = None,
) -> None:
    """Show everything about a dead letter."""
    letters = _read(_load(config, log_format))
    from restaurant_system.cli import letters_shown
    from restaurant_system.messaging.dead_letters import find

    for letter in find(letters, letter_id):
        letters_shown.whole(letter)


@cli.command()
def requeue(
    ids: Ids = None,
    *,
    everything: All = False,
    yes: Yes = False,
    config: Config = None,
    log_format: LogFormat = None,
) -> None:
    """Send dead letters back to where they first came from, as if they were new."""
    _refuse_unless_one(ids, everything=everything)
    settings = _load(config, log_format)
    from restaurant_system import app

    chosen = ids or _all(settings, "Requeue", ask=not yes)
    outcome = run(lambda shutdown: app.requeue_dead_letters(settings, shutdown, chosen))
    if outcome is not None:
        _tell(outcome)


@cli.command()
def discard(
    ids: Ids = None,
    *,
    everything: All = False,
    yes: Yes = False,
    config: Config = None,
    log_format: LogFormat = None,
) -> None:
    """Throw dead letters away for good."""
    _refuse_unless_one(ids, everything=everything)
    settings = _load(config, log_format)
    from restaurant_system import app

    chosen = ids or _all(settings, "Discard", ask=not yes)
    count = run(lambda shutdown: app.discard_dead_letters(settings, shutdown, chosen))
    if count is not None:
        print(f"Discarded {_counted(count)}.")


def _load(config: Path | None, log_format: str | None) -> "Settings":
    return load("dead-letters", config, {"log.format": log_format}, logs_to=sys.stderr)


def _read(settings: "Settings") -> "Sequence[DeadLetter]":
    from restaurant_system import app

    letters = run(functools.partial(app.read_dead_letters, settings))
    if letters is None:  # Ctrl-C
        raise typer.Exit(0)
    return letters


def _refuse_unless_one(ids: Sequence[str] | None, *, everything: bool) -> None:
    if bool(ids) == everything:
        raise ConfigurationError("Name the ids of dead letters, or --all, but not both.")


def _all(settings: "Settings", verb: str, *, ask: bool) -> list[str]:
    """Return the ids of all there are, if the person at the terminal agrees."""
    if ask and not sys.stdin.isatty():
        raise NobodyToAsk(f"Nobody is there to be asked; {verb.lower()} with --all and --yes.")
    letters = _read(settings)
    if not letters:
        print("No dead letters.")
        raise typer.Exit(0)
    if ask and not typer.confirm(f"{verb} {_counted(len(letters))}?"):
        raise typer.Exit(0)
    return list(dict.fromkeys(letter.id for letter in letters))


def _tell(outcome: "Requeued") -> None:
    """Say what went back and what did not; exit with 1 if anything stays."""
    from restaurant_system.cli.letters_shown import harmless

    print(f"Requeued {_counted(outcome.count)}.")
    for refusal in outcome.refused:
        reason = harmless(refusal.reason)
        print(f"{refusal.message.message_id} stays a dead letter: {reason}.", file=sys.stderr)
    if outcome.refused:
        raise typer.Exit(1)


def _counted(count: int) -> str:
    return f"{count} dead letter" if count == 1 else f"{count} dead letters"
