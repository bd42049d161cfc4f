"""Dead letters on a terminal, to which nothing that comes from outside may do any harm."""

import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime

import jiter
from rich.console import Console
from rich.table import Table
from rich.text import Text

from restaurant_system.messaging.dead_letters import DeadLetter

# A terminal is narrow: it gets the beginning of each id, as git has it, and of each reason. Where
# no terminal sets an end, a script gets everything.
SHORT_ID = 8
WIDE = 1_000


def table(letters: Sequence[DeadLetter]) -> None:
    """Print one line for each letter."""
    if not letters:
        print("No dead letters.")
        return
    shown = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("ID", "First seen", "Order", "Queue", "Tried", "Reason"):
        gives_way = heading in {"First seen", "Queue", "Reason"}  # where the terminal is narrow
        shown.add_column(heading, no_wrap=not gives_way)
    for letter in letters:
        shown.add_row(
            _one_line(letter.id[:SHORT_ID] if sys.stdout.isatty() else letter.id),
            _one_line(_moment(letter.first_seen)),
            _one_line(letter.order_number),
            _one_line(letter.queue),
            _one_line(letter.attempts),
            _one_line(letter.reason),
        )
    _console().print(shown)


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
        console.print(Text(f"{name:<14}", "bold"), Text(harmless(fact)), sep="")
    console.print(Text("Headers", "bold"))
    for name, value in sorted(message.headers.items()):
        console.print(Text(f"  {harmless(name)}: {harmless(str(value))}"))
    console.print(Text(f"Body ({len(message.body)} bytes)", "bold"))
    for line in _legible(message.body).split("\n"):
        console.print(Text(harmless(line)))


def harmless(text: str) -> str:
    """Write what a terminal might obey, or not show, as an escape sequence."""
    return "".join(
        sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text
    )


def _console() -> Console:
    width = None if sys.stdout.isatty() else WIDE
    return Console(width=width, soft_wrap=True, highlight=False, markup=False, emoji=False)


def _one_line(text: str) -> Text:
    return Text(harmless(text), no_wrap=True, overflow="ellipsis")


def _moment(stated: str) -> str:
    """Write a time short; what is none stays as it is."""
    try:
        return datetime.fromisoformat(stated).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError):
        return stated


def _legible(body: bytes) -> str:
    """Return JSON well laid out; else the text, with an escape for each byte that is none."""
    try:
        stated = jiter.from_json(body, catch_duplicate_keys=True)
    except ValueError:
        return body.decode(errors="backslashreplace")
    return json.dumps(stated, indent=2, ensure_ascii=False)
