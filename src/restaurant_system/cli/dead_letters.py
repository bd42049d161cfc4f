"""Dead letters, as a person deals with them."""

import functools
import sys
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from restaurant_system.cli.running import Config, LogFormat, complete, load
from restaurant_system.errors import ConfigurationError, ConfirmationImpossible
from restaurant_system.escaping import escape_nonprintable

if TYPE_CHECKING:
    from restaurant_system.config import Settings
    from restaurant_system.messaging.dead_letters import All as Everything
    from restaurant_system.messaging.dead_letters import DeadLetter, Named, Tally
    from restaurant_system.shutdown import Shutdown

    Act = Callable[[Settings, Shutdown, Named | Everything, Tally], Coroutine[Any, Any, Tally]]

cli = typer.Typer(
    help="Read what could not be handled, send it back, or throw it away.", no_args_is_help=True
)

Ids = Annotated[
    list[str] | None,
    typer.Argument(metavar="ID", show_default=False, help="As listed; its beginning will do."),
]
All = Annotated[bool, typer.Option("--all", help="Every dead letter; asks first.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask: for scripts.")]


@dataclass(frozen=True, slots=True)
class Deed:
    """What can be done with letters: what it is called before and after, and how it is done."""

    verb: str
    done: str
    act: "Act"


@cli.command("list")
def list_letters(*, config: Config = None, log_format: LogFormat = None) -> None:
    """List the dead letters, the oldest first."""
    letters = _read(_load(config, log_format))
    from restaurant_system.cli import letters_shown

    letters_shown.listed(letters)


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
    from restaurant_system.messaging.dead_letters import Named

    for letter in Named([letter_id]).among(letters):
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
    from restaurant_system.app import maintenance

    _deal(settings, Deed("Requeue", "Requeued", maintenance.requeue_dead_letters), ids, ask=not yes)


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
    from restaurant_system.app import maintenance

    _deal(
        settings, Deed("Discard", "Discarded", maintenance.discard_dead_letters), ids, ask=not yes
    )


def _load(config: Path | None, log_format: str | None) -> "Settings":
    return load("dead-letters", config, {"log.format": log_format}, logs_to=sys.stderr)


def _refuse_unless_one(ids: Sequence[str] | None, *, everything: bool) -> None:
    if bool(ids) == everything:
        raise ConfigurationError("Name the ids of dead letters, or --all, but not both.")


def _read(settings: "Settings") -> "Sequence[DeadLetter]":
    from restaurant_system.app import maintenance

    return complete(
        functools.partial(maintenance.read_dead_letters, settings),
        otherwise="Interrupted before the dead letters were read; run the command again.",
    )


def _deal(settings: "Settings", deed: Deed, ids: Sequence[str] | None, *, ask: bool) -> None:
    """Do it with the letters that are meant, and say what was done; exit with 1 if any stays."""
    from restaurant_system.messaging.dead_letters import All, Named, Tally

    chosen = Named(ids) if ids else _agreed(settings, deed) if ask else All()
    if chosen is None:
        return
    tally = Tally()
    try:
        complete(
            lambda shutdown: deed.act(settings, shutdown, chosen, tally),
            otherwise=f"Interrupted before all were {deed.done.lower()}; run the command again.",
        )
    except BaseException:
        if tally.done:
            _tell_what_was_done(deed, tally)
        raise
    _tell(deed, tally)
    if tally.refused or tally.doubtful:
        raise typer.Exit(1)


def _agreed(settings: "Settings", deed: Deed) -> "Everything | None":
    """Return all there are, if there are any and the person at the terminal agrees."""
    from restaurant_system.messaging.dead_letters import All

    if sys.stdin is None or not sys.stdin.isatty():
        refusal = f"Nobody is there to be asked; {deed.verb.lower()} with --all and --yes."
        raise ConfirmationImpossible(refusal)
    letters = _read(settings)
    if not letters:
        print("No dead letters.")
        return None
    if not typer.confirm(f"{deed.verb} {_counted(len(letters))}?"):
        print("Nothing was done.")
        return None
    return All(frozenset(letter.message.message_id for letter in letters))


def _tell_what_was_done(deed: Deed, tally: "Tally") -> None:
    """Print how many dead letters were dealt with before the command failed."""
    print(f"{deed.done} {_counted(tally.done)}; the rest stays.")


def _tell(deed: Deed, tally: "Tally") -> None:
    """Say what was done, and what stays and why."""
    print(f"{deed.done} {_counted(tally.done)}.")
    for refusal in tally.refused:
        reason = escape_nonprintable(refusal.reason)
        print(f"{refusal.message.message_id} stays a dead letter: {reason}.", file=sys.stderr)
    if tally.doubtful:
        print(
            f"{_counted(tally.doubtful)} not signed with one of our keys: left where they are;"
            " name each by its id to vouch for it.",
            file=sys.stderr,
        )


def _counted(count: int) -> str:
    return f"{count} dead letter" if count == 1 else f"{count} dead letters"
