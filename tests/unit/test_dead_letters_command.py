"""The `dead-letters` commands: confirmation, output and exit codes."""

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
from restaurant_system.messaging.broker import Refused
from restaurant_system.messaging.dead_letters import All, ById, DeadLetter, Result
from restaurant_system.messaging.retry_policy import ATTEMPTS, EXCHANGE, FIRST_SEEN, QUEUE, REASON
from restaurant_system.shutdown import Shutdown
from tests.support import logs
from tests.support.messages import RECEIVE_TIMEOUT, TAKEOUT, make_order_message

ONE, TWO = (UUID(f"{place}aaaaaaa-0000-4000-8000-000000000000") for place in (1, 2))


class Terminal(io.StringIO):
    """Standard input on a terminal."""

    def isatty(self) -> bool:
        return True


class FakeMaintenance:
    """Stands in for `app.maintenance`: returns dead letters and records what is requested."""

    def __init__(self, *letters: DeadLetter) -> None:
        self.letters = list(letters)
        self.calls: list[tuple[str, ById | All]] = []
        self.outcome = Result(done=2)
        self.stopped: Exception | None = None
        self.cut_off = False

    async def read(self, *_: object) -> list[DeadLetter]:
        return self.letters

    async def requeue(
        self, _: object, shutdown: Shutdown, selection: ById | All, result: Result
    ) -> Result:
        return await self._record("requeue", shutdown, selection, result)

    async def discard(
        self, _: object, shutdown: Shutdown, selection: ById | All, result: Result
    ) -> Result:
        return await self._record("discard", shutdown, selection, result)

    async def _record(
        self, verb: str, shutdown: Shutdown, selection: ById | All, result: Result
    ) -> Result:
        self.calls.append((verb, selection))
        result.done = self.outcome.done
        result.refused = self.outcome.refused
        result.unverified = self.outcome.unverified
        if self.cut_off:
            shutdown.request_stop()
            await asyncio.sleep(RECEIVE_TIMEOUT)
        if self.stopped is not None:
            raise self.stopped
        return result


def make_dead_letter(**changes: Any) -> DeadLetter:  # noqa: ANN401 - any field
    """Return a dead letter."""
    headers = {
        QUEUE: TAKEOUT,
        EXCHANGE: "orders_topic",
        REASON: "not JSON",
        FIRST_SEEN: "2024-12-16T10:30:00.123+00:00",
    }
    return DeadLetter(make_order_message(**({"headers": headers} | changes)))


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeMaintenance:
    """Replace `app.maintenance` by a fake with two dead letters."""
    fake = FakeMaintenance(make_dead_letter(message_id=ONE), make_dead_letter(message_id=TWO))
    monkeypatch.setattr(maintenance, "read_dead_letters", fake.read)
    monkeypatch.setattr(maintenance, "requeue_dead_letters", fake.requeue)
    monkeypatch.setattr(maintenance, "discard_dead_letters", fake.discard)
    return fake


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, fake: FakeMaintenance) -> "Callable[..., int]":
    """Run a command, on a terminal if input follows it; return the exit code."""
    assert fake.letters

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


def test_list_without_dead_letters_prints_a_sentence(
    run: Run, fake: FakeMaintenance, capsys: Screen
) -> None:
    fake.letters.clear()

    assert run("list") == 0
    assert capsys.readouterr().out == "No dead letters.\n"


def test_list_in_a_pipe_has_one_complete_line_per_dead_letter(run: Run, capsys: Screen) -> None:
    assert run("list") == 0

    assert [line.split("\t") for line in capsys.readouterr().out.splitlines()] == [
        [str(letter_id), "2024-12-16T10:30:00Z", "ORD_20241216_001", TAKEOUT, "", "not JSON"]
        for letter_id in (ONE, TWO)
    ]


def test_list_on_a_terminal_is_a_table_that_a_long_value_does_not_break(
    run: Run, fake: FakeMaintenance, monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "dumb")
    hostile = {QUEUE: "Q" * 10_000, FIRST_SEEN: "F" * 10_000, ATTEMPTS: "9" * 10_000}
    fake.letters.append(
        make_dead_letter(headers=hostile, body=b'{"order_number": "' + b"A" * 99 + b'"}')
    )

    assert run("list") == 0

    heading, *lines = screen.getvalue().splitlines()
    assert heading.split() == ["ID", "First", "seen", "Order", "Queue", "Tried", "Reason"]
    assert [line[:8] for line in lines[:2]] == [str(letter_id)[:8] for letter_id in (ONE, TWO)]
    assert all("ORD_20241216_001" in line and "not JSON" in line for line in lines[:2])
    assert len(lines) == 3


def test_show_by_prefix_prints_properties_headers_and_indented_body(
    run: Run, capsys: Screen
) -> None:
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
def test_show_escapes_control_characters_of_the_body(
    run: Run, fake: FakeMaintenance, capsys: Screen, body: bytes, shown: str
) -> None:
    fake.letters[:] = [make_dead_letter(body=body)]

    assert run("show", fake.letters[0].id) == 0

    assert capsys.readouterr().out.endswith(f"Body ({len(body)} bytes)\n{shown}\n")


def test_list_escapes_control_characters_of_headers_and_order_numbers(
    run: Run, fake: FakeMaintenance, capsys: Screen
) -> None:
    evil = "[red]\x1b[2J\nx"
    headers = {QUEUE: evil, REASON: evil, FIRST_SEEN: evil, evil: evil}
    body = b'{"order_number": "[red]\\u001b[2J\\nx"}'
    fake.letters[:] = [make_dead_letter(headers=headers, type=evil, body=body)]

    assert run("list") == run("show", fake.letters[0].id) == 0

    printed = capsys.readouterr().out
    assert printed.count(r"[red]\x1b[2J\nx") >= 7
    assert "\x1b" not in printed
    assert "\nx" not in printed


def test_list_in_a_pipe_prints_each_reason_to_its_end(
    run: Run, fake: FakeMaintenance, capsys: Screen
) -> None:
    fake.letters[:] = [make_dead_letter(headers={REASON: "why " * 120})]

    run("list")

    assert ("why " * 120).strip() in capsys.readouterr().out


@pytest.mark.parametrize("verb", ["requeue", "discard"])
@pytest.mark.parametrize("arguments", [[], ["--yes"], ["1aa", "--all"]])
def test_ids_together_with_all_or_neither_exit_with_2(
    run: Run, fake: FakeMaintenance, capsys: Screen, verb: str, arguments: list[str]
) -> None:
    assert run(verb, *arguments) == 2

    assert "--all" in capsys.readouterr().err
    assert fake.calls == []


@pytest.mark.parametrize("verb", ["requeue", "discard"])
def test_all_needs_confirmation_and_affects_the_counted_dead_letters(
    run: Run, fake: FakeMaintenance, capsys: Screen, verb: str
) -> None:
    assert run(verb, "--all", typed="y\n") == 0

    assert f"{verb.capitalize()} 2 dead letters?" in capsys.readouterr().out
    assert fake.calls == [(verb, All(frozenset({ONE, TWO})))]


@pytest.mark.parametrize("typed", ["n\n", "\n"], ids=["no", "return"])
def test_declined_confirmation_changes_nothing(
    run: Run, fake: FakeMaintenance, capsys: Screen, typed: str
) -> None:
    assert run("discard", "--all", typed=typed) == 0

    assert capsys.readouterr().out.endswith("Nothing was changed.\n")
    assert fake.calls == []


def test_interrupted_confirmation_exits_with_1_and_changes_nothing(
    run: Run, fake: FakeMaintenance, capsys: Screen
) -> None:
    assert run("discard", "--all", typed="") == 1

    assert capsys.readouterr().err.endswith("restaurant-system: Interrupted; nothing was done.\n")
    assert fake.calls == []


def test_all_without_terminal_and_without_yes_is_refused(
    run: Run, fake: FakeMaintenance, capsys: Screen
) -> None:
    assert run("discard", "--all") == 1

    refusal = capsys.readouterr().err
    assert refusal.count("\n") == 1
    assert "--yes" in refusal
    assert fake.calls == []


def test_all_with_closed_stdin_is_refused(run: Run, capsys: Screen) -> None:
    assert run("discard", "--all", closed=True) == 1

    assert "--yes" in capsys.readouterr().err


@pytest.mark.parametrize(("verb", "done"), [("requeue", "Requeued"), ("discard", "Discarded")])
def test_interrupted_command_prints_what_was_done_and_exits_with_1(
    run: Run, fake: FakeMaintenance, capsys: Screen, verb: str, done: str
) -> None:
    fake.outcome.done, fake.cut_off = 58, True

    assert run(verb, "--all", "--yes") == 1

    printed = capsys.readouterr()
    assert printed.out == f"{done} 58 dead letters; the others were not touched.\n"
    assert printed.err.startswith(f"restaurant-system: Interrupted before all were {done.lower()}")


def test_failing_command_prints_what_was_done_and_the_error(
    run: Run, fake: FakeMaintenance, capsys: Screen
) -> None:
    fake.outcome.done, fake.stopped = (
        58,
        BrokerUnavailable("RabbitMQ does not answer."),
    )

    assert run("requeue", "--all", "--yes") == 1

    printed = capsys.readouterr()
    assert printed.out == "Requeued 58 dead letters; the others were not touched.\n"
    assert printed.err == "restaurant-system: RabbitMQ does not answer.\n"


def test_unverified_dead_letters_stay_and_exit_with_1(
    run: Run, fake: FakeMaintenance, capsys: Screen
) -> None:
    fake.outcome.unverified = 3

    assert run("requeue", "--all", "--yes") == 1

    printed = capsys.readouterr()
    assert printed.out == "Requeued 2 dead letters.\n"
    assert printed.err.startswith("3 dead letters without a valid signature")
    assert "by its id" in printed.err


def test_characters_that_stdout_cannot_encode_are_escaped(
    run: Run, fake: FakeMaintenance, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, "latin-1"))
    fake.letters[:] = [
        make_dead_letter(message_id=ONE, headers={REASON: "no crème brûlée for 4 €"})
    ]

    assert run("list") == run("show", "1") == 0

    sys.stdout.flush()
    assert raw.getvalue().decode("latin-1").count(r"no crème brûlée for 4 \u20ac") == 3


def test_yes_skips_the_confirmation(run: Run, fake: FakeMaintenance, capsys: Screen) -> None:
    assert run("requeue", "--all", "--yes") == 0

    assert capsys.readouterr().out == "Requeued 2 dead letters.\n"
    assert fake.calls == [("requeue", All())]


def test_all_without_dead_letters_needs_no_confirmation(
    run: Run, fake: FakeMaintenance, capsys: Screen
) -> None:
    fake.letters.clear()

    assert run("discard", "--all", typed="") == 0

    assert capsys.readouterr().out == "No dead letters.\n"


def test_refused_dead_letter_is_printed_with_its_reason_and_exits_with_1(
    run: Run, fake: FakeMaintenance, capsys: Screen
) -> None:
    refused = Refused(fake.letters[0].message, "no queue takes\x1b it")
    fake.outcome = Result(done=1, refused=[refused])

    assert run("requeue", str(ONE), str(TWO)) == 1

    printed = capsys.readouterr()
    assert printed.out == "Requeued 1 dead letter.\n"
    assert printed.err == f"{ONE} stays a dead letter: no queue takes\\x1b it.\n"
