"""Print dead letters on a terminal; all that comes from outside is escaped."""

import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime

import jiter
from rich.console import Console
from rich.table import Table
from rich.text import Text

from restaurant_system.escaping import escape_nonprintable
from restaurant_system.messaging.dead_letters import DeadLetter

# A terminal is narrow: it gets the beginning of each id, as git has it, and of whatever is longer
# than what comes from us: one such value would leave no room for the others.
SHORT_ID = 8
LONGEST = {"First seen": 20, "Order": 22, "Queue": 60, "Tried": 6, "Reason": 500}


def listed(letters: Sequence[DeadLetter]) -> None:
    """Print one line for each letter: on a terminal to be read, else whole, for a script."""
    if not letters:
        print("No dead letters.")
    elif sys.stdout.isatty():
        _console().print(_table(letters))
    else:
        for letter in letters:
            print("\t".join(escape_nonprintable(value) for value in _values(letter)))


def _values(letter: DeadLetter) -> tuple[str, ...]:
    return (
        letter.id,
        _moment(letter.first_seen),
        letter.order_number,
        letter.queue,
        letter.attempts,
        letter.reason,
    )


def _table(letters: Sequence[DeadLetter]) -> Table:
    shown = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("ID", *LONGEST):
        gives_way = heading in {"First seen", "Queue", "Reason"}  # where the terminal is narrow
        shown.add_column(heading, no_wrap=not gives_way)
    for letter in letters:
        letter_id, *others = _values(letter)
        cut = map(_cut, others, LONGEST.values())
        shown.add_row(letter_id[:SHORT_ID], *map(_one_line, cut))
    return shown


def whole(letter: DeadLetter) -> None:
    """Print everything that there is to know about a letter."""
    message = letter.message
    facts = {
        "ID": letter.id,
        "First seen": letter.first_seen,
        "Queue": letter.queue,
        "Attempts": letter.attempts,
        "Reason": letter.reason,
        "Exchange": letter.exchange,
        "Routing key": letter.routing_key,
        "Type": message.type,
        "Request id": message.correlation_id,
        "Sent by": message.app_id,
        "Sent at": message.timestamp.isoformat(),
        "Priority": str(message.priority),
        "Content type": message.content_type,
    }
    console = _console()
    for name, fact in facts.items():
        console.print(Text(f"{name:<14}", "bold"), Text(escape_nonprintable(fact)), sep="")
    console.print(Text("Headers", "bold"))
    for name, value in sorted(message.headers.items()):
        console.print(Text(f"  {escape_nonprintable(name)}: {escape_nonprintable(str(value))}"))
    console.print(Text(f"Body ({len(message.body)} bytes)", "bold"))
    for line in _body_text(message.body).split("\n"):
        console.print(Text(escape_nonprintable(line)))


def _console() -> Console:
    return Console(soft_wrap=True, highlight=False, markup=False, emoji=False)


def _one_line(text: str) -> Text:
    return Text(escape_nonprintable(text), no_wrap=True, overflow="ellipsis")


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def _moment(stated: str) -> str:
    """Write a time short; what is none stays as it is."""
    try:
        return datetime.fromisoformat(stated).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError):
        return stated


def _body_text(body: bytes) -> str:
    """Return JSON well laid out; else the text, with an escape for each byte that is none."""
    try:
        stated = jiter.from_json(body, catch_duplicate_keys=True)
    except ValueError:
        return body.decode(errors="backslashreplace")
    return json.dumps(stated, indent=2, ensure_ascii=False)
