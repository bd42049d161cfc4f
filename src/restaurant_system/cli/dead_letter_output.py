"""Print dead letters; text from third parties is escaped."""

import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime

import jiter
from rich.console import Console
from rich.table import Table
from rich.text import Text

from restaurant_system.messaging.dead_letters import DeadLetter
from restaurant_system.models.text import escape_nonprintable

# On a terminal, ids are abbreviated as in git, and values longer than our services write are cut:
# one value leaves room for the others.
SHORT_ID = 8
LONGEST = {"First seen": 20, "Order": 22, "Queue": 60, "Tried": 6, "Reason": 500}


def print_list(letters: Sequence[DeadLetter]) -> None:
    """Print one line per dead letter: a table on a terminal, else tab-separated and uncut."""
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
        _short_time(letter.first_seen),
        letter.order_number,
        letter.queue,
        letter.attempts,
        letter.reason,
    )


def _table(letters: Sequence[DeadLetter]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("ID", *LONGEST):
        may_wrap = heading in {"First seen", "Queue", "Reason"}  # on a narrow terminal
        table.add_column(heading, no_wrap=not may_wrap)
    for letter in letters:
        letter_id, *others = _values(letter)
        cut = map(_cut, others, LONGEST.values())
        table.add_row(letter_id[:SHORT_ID], *map(_one_line, cut))
    return table


def print_details(letter: DeadLetter) -> None:
    """Print the properties, headers and body of a dead letter."""
    message = letter.message
    properties = {
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
    for name, value in properties.items():
        console.print(Text(f"{name:<14}", "bold"), Text(escape_nonprintable(value)), sep="")
    console.print(Text("Headers", "bold"))
    for name, header in sorted(message.headers.items()):
        console.print(Text(f"  {escape_nonprintable(name)}: {escape_nonprintable(str(header))}"))
    console.print(Text(f"Body ({len(message.body)} bytes)", "bold"))
    for line in _body_text(message.body).split("\n"):
        console.print(Text(escape_nonprintable(line)))


def _console() -> Console:
    return Console(soft_wrap=True, highlight=False, markup=False, emoji=False)


def _one_line(text: str) -> Text:
    return Text(escape_nonprintable(text), no_wrap=True, overflow="ellipsis")


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def _short_time(text: str) -> str:
    """Return a time without fractions of a second; return other text unchanged."""
    try:
        return datetime.fromisoformat(text).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError):
        return text


def _body_text(body: bytes) -> str:
    """Return JSON indented; else the text, with an escape for each byte that is not UTF-8."""
    try:
        content = jiter.from_json(body, catch_duplicate_keys=True)
    except ValueError:
        return body.decode(errors="backslashreplace")
    return json.dumps(content, indent=2, ensure_ascii=False)
