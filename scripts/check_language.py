"""Refuse coined words and metaphors where the field has a standard term.

Checks names, docstrings, other strings and comments of Python files; the text of documents,
settings, pages, styles, scripts and the Makefile; and the comments of migrations, whose names are
in databases.
"""

import re
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

# Regular expression of words, in lower case: the term to use instead.
BANNED = {
    "absence|absences": "outage, timeout",
    "announced? again": "republish",
    "apologi[sz]e": "send an error",
    "aside": "dead-letter",
    "asked": "requested",
    "beside": "next to, background task",
    "breath": "timeout, delay",
    "bury": "requeue orphaned messages",
    "deed": "action",
    "doubtful": "unverified",
    "doors?": "listener",
    "evening": "run, business date",
    "forgiving": "lenient",
    "frail": "the property of the server",
    "goodbye": "last response",
    "guests?": "customer, client",
    "hands(?![ -]over)|(?<!by )hand(?![ -]over)": "in flight, order processor",
    "havoc": "fault injection",
    "insist": "terminate",
    "lend|lent": "acquire",
    "loan": "acquired connection",
    "nobody": "name the subject",
    "nudge": "check now",
    "obey": "wait for stop",
    "owed": "outbox message",
    "patient|patiently|patience": "wait, retry, timeout",
    "reception": "accept, dispatcher",
    "riddles?": "name the subject",
    "roads?": "route, fast path",
    "roomy": "the size",
    "saboteurs?": "mutation test",
    "spells?": "turn, period",
    "stated": "sent, declared",
    "standings": "order status",
    "standstill": "stuck order",
    "strangers?": "third-party publisher",
    "struck": "deleted",
    "tally": "result",
    "tavern": "example app",
    "told": "notified, reported",
    "twins": "duplicates",
    "watchers?": "client of a live view",
    "watchman": "health monitor",
    "whereabouts": "location",
    "whoever": "name the subject",
    "wishes": "stop signals",
}
FOLDERS = ("src", "tests", "benchmarks", "scripts", "docs")
PLAIN_TEXT = {".css", ".html", ".js", ".json", ".md", ".toml", ".yaml"}
# Swagger UI is the work of others.
EXCLUDED = re.compile(
    r"__pycache__|scripts/check_language\.py|screens/docs/swagger-ui|screens/docs/LICENSE"
)
# `guest` is RabbitMQ's default user and a field of the contract, `nobody` a Unix user, `aside` an
# HTML element, `owed_before` and `broker_messages_in_hand` are in released migrations. DoorDash is
# a platform, `numberOfGuests` a field of another one.
STANDARD = re.compile(
    r"""^guest$|[`"'./:]guest\b|\b(user|password): guest\b|\bguest[`"':=]|["'/@~]nobody|to nobody"""
    r"|modifiers, guest|guest, modifiers|guest = NULL|Guest #12"
    r"|</?aside|owed_before|messages_in_hand|DoorDash|numberOfGuests"
)
WORD = re.compile(rf"\b({'|'.join(BANNED)})\b")
WORDS_OF_A_NAME = re.compile(r"_|(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
SQL_COMMENT = re.compile(r"--.*")
TEXT = {tokenize.NAME, tokenize.STRING, tokenize.COMMENT}
if sys.version_info >= (3, 12):
    TEXT.add(tokenize.FSTRING_MIDDLE)


def main() -> int:
    """Print each use of a banned word; return 1 if there is any."""
    files = [path for folder in FOLDERS for path in sorted(Path(folder).rglob("*"))]
    uses = [use for path in [*Path().glob("*"), *files] for use in uses_in(path)]
    for place, word in uses:
        print(f"{place}: write {instead_of(word)!r} instead of {word!r}")  # noqa: T201
    return 1 if uses else 0


def uses_in(path: Path) -> Iterator[tuple[str, str]]:
    """Yield place and word of each use in the name and the text of a file."""
    if path.is_dir() or EXCLUDED.search(path.as_posix()):
        return
    if path.suffix != ".sql":
        yield from ((str(path), word) for word in banned_in(path.stem))
    for line, text in texts_of(path):
        yield from ((f"{path}:{line}", word) for word in banned_in(text))


def texts_of(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the texts of a file that are checked, each with its line."""
    if path.suffix == ".py":
        with path.open("rb") as file:
            for token in tokenize.tokenize(file.readline):
                if token.type in TEXT:
                    yield token.start[0], token.string
    elif path.suffix == ".sql":
        for number, line in enumerate(path.read_text().splitlines(), start=1):
            yield from ((number, comment) for comment in SQL_COMMENT.findall(line))
    elif path.suffix in PLAIN_TEXT or path.name == "Makefile":
        yield from enumerate(path.read_text().splitlines(), start=1)


def banned_in(text: str) -> Iterator[str]:
    """Yield the banned words of a name or a sentence."""
    words = WORDS_OF_A_NAME.sub(" ", STANDARD.sub("", text)).lower()
    return (use.group() for use in WORD.finditer(words))


def instead_of(word: str) -> str:
    """Return the term to use instead of a banned word."""
    return next(term for pattern, term in BANNED.items() if re.fullmatch(pattern, word))


if __name__ == "__main__":
    sys.exit(main())
