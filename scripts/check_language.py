"""Refuse coined words and metaphors where the field has a standard term.

Checks identifiers, module names, docstrings, other strings and comments of all Python files.
"""

import re
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

# Word: the term to use instead.
BANNED = {
    "apologise": "send an error",
    "aside": "dead-letter",
    "beside": "next to, background task",
    "breath": "timeout, delay",
    "bury": "requeue orphaned messages",
    "deed": "action",
    "doubtful": "unverified",
    "door": "listener",
    "evening": "run, business date",
    "forgiving": "lenient",
    "goodbye": "last response",
    "guest": "customer",
    "guests": "customer",
    "hands": "order processor",
    "havoc": "fault injection",
    "insist": "terminate",
    "lend": "acquire",
    "loan": "acquired connection",
    "nudge": "check now",
    "obey": "wait for stop",
    "owed": "outbox message",
    "patiently": "wait, retry",
    "reception": "accept, dispatcher",
    "road": "route, fast path",
    "roads": "route, fast path",
    "saboteur": "mutation test",
    "saboteurs": "mutation test",
    "standings": "order status",
    "standstill": "stuck order",
    "stranger": "third-party publisher",
    "strangers": "third-party publisher",
    "struck": "deleted",
    "tally": "result",
    "tavern": "example app",
    "twins": "duplicates",
    "watchman": "health monitor",
    "whereabouts": "location",
    "whoever": "name the subject",
    "wishes": "stop signals",
}
FOLDERS = ("src", "tests", "benchmarks", "scripts")
WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
# RabbitMQ's default user is called guest.
CREDENTIALS = re.compile(r'"guest"|guest:guest')
TEXT = {tokenize.NAME, tokenize.STRING, tokenize.COMMENT}
if sys.version_info >= (3, 12):
    TEXT.add(tokenize.FSTRING_MIDDLE)


def main() -> int:
    """Print each use of a banned word; return 1 if there is any."""
    this = Path(__file__).resolve()
    files = [p for folder in FOLDERS for p in sorted(Path(folder).rglob("*.py"))]
    uses = [use for path in files if path.resolve() != this for use in uses_in(path)]
    for place, word in uses:
        print(f"{place}: write {BANNED[word]!r} instead of {word!r}")  # noqa: T201
    return 1 if uses else 0


def uses_in(path: Path) -> Iterator[tuple[str, str]]:
    """Yield place and word of each use in a file."""
    for word in banned_in(path.stem):
        yield str(path), word
    with path.open("rb") as file:
        for token in tokenize.tokenize(file.readline):
            if token.type in TEXT:
                for word in banned_in(CREDENTIALS.sub("", token.string)):
                    yield f"{path}:{token.start[0]}", word


def banned_in(text: str) -> Iterator[str]:
    """Yield the banned words of an identifier or a sentence."""
    for word in WORD.findall(text):
        if word.lower() in BANNED:
            yield word.lower()


if __name__ == "__main__":
    sys.exit(main())
