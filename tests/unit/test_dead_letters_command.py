"""`dead-letters`, as a person types it: what it asks, says and prints."""

import asyncio
import io
import sys
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest

from restaurant_system import cli
from restaurant_system.app import maintenance
from restaurant_system.errors import BrokerUnavailable
from restaurant_system.messaging.broker import (
    ATTEMPTS,
    EXCHANGE,
    FIRST_SEEN,
    QUEUE,
    REASON,
    Refused,
)
from restaurant_system.messaging.dead_letters import All, DeadLetter, Named, Tally
from restaurant_system.shutdown import Shutdown
from tests.support import logs
from tests.support.messages import PATIENCE, TAKEOUT, make_order_message

ONE, TWO = (UUID(f"{place}aaaaaaa-0000-4000-8000-000000000000") for place in (1, 2))


class Terminal(io.StringIO):
    """Where somebody sits and types."""

    def isatty(self) -> bool:
        """Say so."""
        return True


class FakeOffice:
    """Has dead letters in a drawer, and remembers what was asked for."""

    def __init__(self, *letters: DeadLetter) -> None:
        self.letters = list(letters)
        self.asked: list[tuple[str, Named | All]] = []
        self.outcome = Tally(done=2)
        self.stopped: Exception | None = None
        self.cut_off = False

    async def read(self, *_: object) -> list[DeadLetter]:
        """Show them."""
        return self.letters

    async def requeue(
        self, _: object, shutdown: Shutdown, chosen: Named | All, tally: Tally
    ) -> Tally:
        """Send them back."""
        return await self._deal("requeue", shutdown, chosen, tally)

    async def discard(
        self, _: object, shutdown: Shutdown, chosen: Named | All, tally: Tally
    ) -> Tally:
        """Throw them away."""
        return await self._deal("discard", shutdown, chosen, tally)

    async def _deal(
        self, verb: str, shutdown: Shutdown, chosen: Named | All, tally: Tally
    ) -> Tally:
        self.asked.append((verb, chosen))
        tally.done = self.outcome.done
        tally.refused = self.outcome.refused
        tally.doubtful = self.outcome.doubtful
        if self.cut_off:
            shutdown.request_stop()
            await asyncio.sleep(PATIENCE)
        if self.stopped is not None:
            raise self.stopped
        return tally


def make_dead_letter(**changes: Any) -> DeadLetter:  # noqa: ANN401 - any field
    """Write a dead letter."""
    headers = {
        QUEUE: TAKEOUT,
        EXCHANGE: "orders_topic",
        REASON: "not JSON",
        FIRST_SEEN: "2024-12-16T10:30:00.123+00:00",
    }
    return DeadLetter(make_order_message(**({"headers": headers} | changes)))


@pytest.fixture
def office(monkeypatch: pytest.MonkeyPatch) -> FakeOffice:
    """Open an office with two letters, behind whatever is configured."""
    office = FakeOffice(make_dead_letter(message_id=ONE), make_dead_letter(message_id=TWO))
    monkeypatch.setattr(maintenance, "read_dead_letters", office.read)
    monkeypatch.setattr(maintenance, "requeue_dead_letters", office.requeue)
    monkeypatch.setattr(maintenance, "discard_dead_letters", office.discard)
    return office


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, office: FakeOffice) -> "Callable[..., int]":
    """Type a command, on a terminal if something is typed after it; return the exit code."""
    assert office.letters

    def type_in(*arguments: str, typed: str | None = None, closed: bool = False) -> int:
        stdin = io.StringIO() if typed is None else Terminal(typed)
        monkeypatch.setattr(sys, "stdin", None if closed else stdin)
        monkeypatch.setattr(sys, "argv", ["restaurant-system", "dead-letters", *arguments])
        with logs.restored(), pytest.raises(SystemExit) as end:
            cli.main()
        return int(end.value.code or 0)

    return type_in


Run = Callable[..., int]
Screen = pytest.CaptureFixture[str]


def test_nothing_to_list(run: Run, office: FakeOffice, capsys: Screen) -> None:
    """An empty drawer is a sentence, not an empty table."""
    office.letters.clear()

    assert run("list") == 0
    assert capsys.readouterr().out == "No dead letters.\n"


def test_the_list_has_a_line_for_each_letter(run: Run, capsys: Screen) -> None:
    """Id, time, order, queue and reason are all there, whole, where nobody looks on."""
    assert run("list") == 0

    assert [line.split("\t") for line in capsys.readouterr().out.splitlines()] == [
        [str(letter_id), "2024-12-16T10:30:00Z", "ORD_20241216_001", TAKEOUT, "", "not JSON"]
        for letter_id in (ONE, TWO)
    ]


def test_the_list_can_be_read_on_a_terminal(
    run: Run, office: FakeOffice, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has a heading and short ids, and one hostile letter leaves room for the others."""
    screen = Terminal()
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "dumb")
    hostile = {QUEUE: "Q" * 10_000, FIRST_SEEN: "F" * 10_000, ATTEMPTS: "9" * 10_000}
    office.letters.append(
        make_dead_letter(headers=hostile, body=b'{"order_number": "' + b"A" * 99 + b'"}')
    )

    assert run("list") == 0

    heading, *lines = screen.getvalue().splitlines()
    assert heading.split() == ["ID", "First", "seen", "Order", "Queue", "Tried", "Reason"]
    assert [line[:8] for line in lines[:2]] == [str(letter_id)[:8] for letter_id in (ONE, TWO)]
    assert all("ORD_20241216_001" in line and "not JSON" in line for line in lines[:2])
    assert len(lines) == 3


def test_a_letter_is_shown_with_everything(run: Run, capsys: Screen) -> None:
    """The beginning of an id is enough to see headers, properties and the body, well laid out."""
    assert run("show", "1aa") == 0

    shown = capsys.readouterr().out
    for fact in (str(ONE), "order.received", "req-1", "orders_topic", "x-reason: not JSON"):
        assert fact in shown
    assert '\n{\n  "order_number": "ORD_20241216_001"\n}\n' in shown


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        (b"plain [red]text[/]", "plain [red]text[/]"),
        (b"\x1b[2J\x07", r"\x1b[2J\x07"),
        ("\x9b2J".encode(), r"\x9b2J"),
        (b"caf\xe9", r"caf\xe9"),
        (b'{"a": 1, "a": 2}', '{"a": 1, "a": 2}'),
        (b'{"a": "\\u009b\\u202e"}', '{\n  "a": "\\x9b\\u202e"\n}'),
        (b"[" * 500, "[" * 500),
    ],
)
def test_no_body_does_the_terminal_any_harm(
    run: Run, office: FakeOffice, capsys: Screen, body: bytes, shown: str
) -> None:
    """What is JSON is laid out, the rest is text; what a terminal would obey is escaped."""
    office.letters[:] = [make_dead_letter(body=body)]

    assert run("show", office.letters[0].id) == 0

    assert capsys.readouterr().out.endswith(f"Body ({len(body)} bytes)\n{shown}\n")


def test_nothing_in_the_list_does_the_terminal_any_harm(
    run: Run, office: FakeOffice, capsys: Screen
) -> None:
    """Headers and order numbers come from outside as well."""
    evil = "[red]\x1b[2J\nx"
    headers = {QUEUE: evil, REASON: evil, FIRST_SEEN: evil, evil: evil}
    body = b'{"order_number": "[red]\\u001b[2J\\nx"}'
    office.letters[:] = [make_dead_letter(headers=headers, type=evil, body=body)]

    assert run("list") == run("show", office.letters[0].id) == 0

    printed = capsys.readouterr().out
    assert printed.count(r"[red]\x1b[2J\nx") >= 7
    assert "\x1b" not in printed
    assert "\nx" not in printed


def test_a_long_list_is_not_cut_by_a_script(run: Run, office: FakeOffice, capsys: Screen) -> None:
    """Whoever pipes the list gets each reason to its end."""
    office.letters[:] = [make_dead_letter(headers={REASON: "why " * 120})]

    run("list")

    assert ("why " * 120).strip() in capsys.readouterr().out


@pytest.mark.parametrize("verb", ["requeue", "discard"])
@pytest.mark.parametrize("arguments", [[], ["--yes"], ["1aa", "--all"]])
def test_wrong_usage(
    run: Run, office: FakeOffice, capsys: Screen, verb: str, arguments: list[str]
) -> None:
    """Either ids or --all: else one line says so, with 2, and nothing is done."""
    assert run(verb, *arguments) == 2

    assert "--all" in capsys.readouterr().err
    assert office.asked == []


@pytest.mark.parametrize("verb", ["requeue", "discard"])
def test_all_asks_first(run: Run, office: FakeOffice, capsys: Screen, verb: str) -> None:
    """The question says how many; with a yes, those that were counted are meant."""
    assert run(verb, "--all", typed="y\n") == 0

    assert f"{verb.capitalize()} 2 dead letters?" in capsys.readouterr().out
    assert office.asked == [(verb, All(frozenset({ONE, TWO})))]


@pytest.mark.parametrize("typed", ["n\n", "\n"], ids=["no", "return"])
def test_without_a_yes_nothing_is_done(
    run: Run, office: FakeOffice, capsys: Screen, typed: str
) -> None:
    """No is the answer to be had for nothing, and the command says what came of it."""
    assert run("discard", "--all", typed=typed) == 0

    assert capsys.readouterr().out.endswith("Nothing was done.\n")
    assert office.asked == []


def test_question_that_is_left_unanswered_exits_with_1(
    run: Run, office: FakeOffice, capsys: Screen
) -> None:
    """Ctrl-D or Ctrl-C at the question: nothing is discarded, and one line says so."""
    assert run("discard", "--all", typed="") == 1

    assert capsys.readouterr().err.endswith("restaurant-system: Interrupted; nothing was done.\n")
    assert office.asked == []


def test_without_a_terminal_nobody_is_asked(run: Run, office: FakeOffice, capsys: Screen) -> None:
    """A script must say --yes; else it is refused in one line."""
    assert run("discard", "--all") == 1

    refusal = capsys.readouterr().err
    assert refusal.count("\n") == 1
    assert "--yes" in refusal
    assert office.asked == []


def test_with_stdin_closed_nobody_is_asked(run: Run, capsys: Screen) -> None:
    """Where there is not even an empty input (`<&-`), the same line refuses."""
    assert run("discard", "--all", closed=True) == 1

    assert "--yes" in capsys.readouterr().err


@pytest.mark.parametrize(("verb", "done"), [("requeue", "Requeued"), ("discard", "Discarded")])
def test_what_was_done_before_a_stop_is_told(
    run: Run, office: FakeOffice, capsys: Screen, verb: str, done: str
) -> None:
    """After Ctrl-C in the middle the command says how far it came, and exits with 1."""
    office.outcome.done, office.cut_off = 58, True

    assert run(verb, "--all", "--yes") == 1

    printed = capsys.readouterr()
    assert printed.out == f"{done} 58 dead letters; the rest stays.\n"
    assert printed.err.startswith(f"restaurant-system: Interrupted before all were {done.lower()}")


def test_what_was_done_before_an_error_is_told(
    run: Run, office: FakeOffice, capsys: Screen
) -> None:
    """When the broker goes away in the middle, both are told."""
    office.outcome.done, office.stopped = 58, BrokerUnavailable("RabbitMQ does not answer.")

    assert run("requeue", "--all", "--yes") == 1

    printed = capsys.readouterr()
    assert printed.out == "Requeued 58 dead letters; the rest stays.\n"
    assert printed.err == "restaurant-system: RabbitMQ does not answer.\n"


def test_what_nobody_vouches_for_is_told(run: Run, office: FakeOffice, capsys: Screen) -> None:
    """Forgeries stay, the command says how many and what to do, and exits with 1."""
    office.outcome.doubtful = 3

    assert run("requeue", "--all", "--yes") == 1

    printed = capsys.readouterr()
    assert printed.out == "Requeued 2 dead letters.\n"
    assert printed.err.startswith("3 dead letters not signed")
    assert "by its id" in printed.err


def test_what_stdout_cannot_encode_ends_no_command(
    run: Run, office: FakeOffice, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a terminal of another time a sign that it does not have is an escape sequence."""
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, "latin-1"))
    office.letters[:] = [
        make_dead_letter(message_id=ONE, headers={REASON: "no crème brûlée for 4 €"})
    ]

    assert run("list") == run("show", "1") == 0

    sys.stdout.flush()
    assert raw.getvalue().decode("latin-1").count(r"no crème brûlée for 4 \u20ac") == 3


def test_a_script_is_not_asked(run: Run, office: FakeOffice, capsys: Screen) -> None:
    """With --yes all are meant, at once."""
    assert run("requeue", "--all", "--yes") == 0

    assert capsys.readouterr().out == "Requeued 2 dead letters.\n"
    assert office.asked == [("requeue", All())]


def test_all_of_nothing(run: Run, office: FakeOffice, capsys: Screen) -> None:
    """Where there is nothing, nothing is asked."""
    office.letters.clear()

    assert run("discard", "--all", typed="") == 0

    assert capsys.readouterr().out == "No dead letters.\n"


def test_what_is_refused_is_told(run: Run, office: FakeOffice, capsys: Screen) -> None:
    """A letter that stays is named with its reason, and the command exits with 1."""
    refused = Refused(office.letters[0].message, "no queue takes\x1b it")
    office.outcome = Tally(done=1, refused=[refused])

    assert run("requeue", str(ONE), str(TWO)) == 1

    printed = capsys.readouterr()
    assert printed.out == "Requeued 1 dead letter.\n"
    assert printed.err == f"{ONE} stays a dead letter: no queue takes\\x1b it.\n"
