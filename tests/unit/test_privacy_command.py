"""The `privacy` commands: selection, confirmation, output and exit codes."""

import asyncio
import io
import json
import sys
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest

from restaurant_system import cli
from restaurant_system.app import privacy
from restaurant_system.database.personal_data import CustomerOrder
from restaurant_system.errors import BrokerUnavailable, OrderNotFound
from restaurant_system.messaging.dead_letters import Result
from restaurant_system.models.status import OrderStatus
from restaurant_system.services.order.privacy import Customer, Erased, ErasurePlan
from restaurant_system.shutdown import Shutdown
from tests.support import logs
from tests.support.messages import RECEIVE_TIMEOUT

NAME = "Ada Zweigelt"
FINISHED, UNFINISHED = "ORD_20241216_001", "ORD_20241216_002"
ERASED = "Erased the personal data of 1 order; deleted 3 waiting messages and 1 dead letter.\n"


class Terminal(io.StringIO):
    """Standard input on a terminal."""

    def isatty(self) -> bool:
        return True


def make_order(number: str, *, is_finished: bool = True) -> CustomerOrder:
    """Return an order of the customer."""
    status = OrderStatus.COMPLETED if is_finished else OrderStatus.COOKING
    return CustomerOrder(1, number, status, NAME, is_finished=is_finished, is_erased=False)


class FakePrivacy:
    """Stands in for `app.privacy`: returns a plan and records what is requested."""

    def __init__(self) -> None:
        self.requested: list[tuple[str, object]] = []
        self.made = ErasurePlan([make_order(FINISHED)], [], {uuid4()}, 0)
        self.failure: Exception | None = None
        self.cut_off = False

    async def export(self, _: object, __: object, customer: Customer) -> dict[str, Any]:
        self.requested.append(("export", customer))
        order = {"number": FINISHED, "customer_name": "Jos\u00e9 \u202e"}
        return {"orders": [order], "dead_letters": []}

    async def plan(self, _: object, __: object, customer: Customer) -> ErasurePlan:
        self.requested.append(("plan", customer))
        if self.failure is not None:
            raise self.failure
        return self.made

    async def erase(
        self, _: object, shutdown: Shutdown, plan: ErasurePlan, result: Erased
    ) -> Erased:
        self.requested.append(("erase", plan))
        result.orders.append(FINISHED)
        result.messages, result.dead_letters = 3, Result(done=1)
        if self.cut_off:
            shutdown.request_stop()
            await asyncio.sleep(RECEIVE_TIMEOUT)
        return result


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakePrivacy:
    """Replace `app.privacy` by a fake with a finished order and a dead letter."""
    fake = FakePrivacy()
    for name in ("export", "plan", "erase"):
        monkeypatch.setattr(privacy, name, getattr(fake, name))
    return fake


Run = Callable[..., int]
Screen = pytest.CaptureFixture[str]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, fake: FakePrivacy) -> Run:
    """Run a command, on a terminal if input follows it; return the exit code."""
    assert fake.requested == []

    def type_in(*arguments: str, typed: str | None = None) -> int:
        stdin = io.StringIO() if typed is None else Terminal(typed)
        monkeypatch.setattr(sys, "stdin", stdin)
        monkeypatch.setattr(sys, "argv", ["restaurant-system", "privacy", *arguments])
        with logs.restored(), pytest.raises(SystemExit) as end:
            cli.main()
        return int(end.value.code or 0)

    return type_in


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ((), "--name"),
        (("--name", " \u00a0"), "--name must not be empty"),
        (("--phone", "none"), "--phone must have a digit"),
        (("--order", "ORD_1"), "'ORD_1' is not an order number"),
    ],
)
def test_command_that_names_no_customer_is_wrong_usage(
    run: Run, fake: FakePrivacy, capsys: Screen, options: tuple[str, ...], fault: str
) -> None:
    for command in ("export", "erase"):
        assert run(command, *options) == 2

        printed = capsys.readouterr()
        assert printed.out == ""
        assert printed.err.startswith("restaurant-system: ")
        assert fault in printed.err
        assert printed.err.count("\n") == 1
    assert fake.requested == []


def test_export_prints_json_in_ascii_and_names_the_orders_on_stderr(
    run: Run, fake: FakePrivacy, capsys: Screen
) -> None:
    assert run("export", "--name", NAME, *("--order", FINISHED) * 2, "--phone", "+44 1") == 0

    printed = capsys.readouterr()
    assert printed.out.isascii()
    assert json.loads(printed.out)["orders"][0]["customer_name"] == "Jos\u00e9 \u202e"
    assert printed.err == f"Exported 1 order ({FINISHED}) and 0 dead letters.\n"
    assert fake.requested == [("export", Customer(NAME, (FINISHED,), "+44 1"))]


def test_erase_shows_the_orders_and_asks_first(run: Run, fake: FakePrivacy, capsys: Screen) -> None:
    assert run("erase", "--name", NAME, typed="y\n") == 0

    printed = capsys.readouterr().out
    assert f"To erase: 1 order ({FINISHED}).\nTo discard: 1 dead letter.\n" in printed
    assert "Erase them? This cannot be undone. [y/N]" in printed
    assert printed.endswith(ERASED)
    assert NAME not in printed
    assert fake.requested == [("plan", Customer(NAME)), ("erase", fake.made)]


@pytest.mark.parametrize("typed", ["n\n", "\n"])
def test_declined_erasure_changes_nothing(
    run: Run, fake: FakePrivacy, capsys: Screen, typed: str
) -> None:
    assert run("erase", "--name", NAME, typed=typed) == 0

    assert capsys.readouterr().out.endswith("Nothing was erased.\n")
    assert fake.requested == [("plan", Customer(NAME))]


def test_erasure_without_terminal_and_without_yes_is_refused(
    run: Run, fake: FakePrivacy, capsys: Screen
) -> None:
    assert run("erase", "--name", NAME) == 1

    assert "--yes" in capsys.readouterr().err
    assert fake.requested == []


def test_yes_skips_the_confirmation_and_still_shows_the_orders(run: Run, capsys: Screen) -> None:
    assert run("erase", "--order", FINISHED, "--yes") == 0

    printed = capsys.readouterr().out
    assert printed == (f"To erase: 1 order ({FINISHED}).\nTo discard: 1 dead letter.\n{ERASED}")


def test_unfinished_orders_are_named_and_exit_with_1(
    run: Run, fake: FakePrivacy, capsys: Screen
) -> None:
    unfinished = make_order(UNFINISHED, is_finished=False)
    fake.made = ErasurePlan([make_order(FINISHED)], [unfinished], set(), 2)

    assert run("erase", "--name", NAME, "--yes") == 1

    printed = capsys.readouterr()
    assert printed.out.endswith(ERASED)
    assert printed.err.startswith(f"Not erased, because not finished: 1 order ({UNFINISHED});")
    assert "2 dead letters without a readable order" in printed.err


def test_customer_without_orders_needs_no_confirmation(
    run: Run, fake: FakePrivacy, capsys: Screen
) -> None:
    fake.made = ErasurePlan([], [], set(), 0)

    assert run("erase", "--name", NAME, typed="") == 0

    assert capsys.readouterr().out == "There is nothing to erase.\n"
    assert [each[0] for each in fake.requested] == ["plan"]


def test_interrupted_erasure_prints_what_was_erased_and_exits_with_1(
    run: Run, fake: FakePrivacy, capsys: Screen
) -> None:
    fake.cut_off = True

    assert run("erase", "--name", NAME, "--yes") == 1

    printed = capsys.readouterr()
    assert printed.out.endswith(ERASED)
    assert printed.err == (
        "restaurant-system: Interrupted before all was erased; run the command again.\n"
    )


@pytest.mark.parametrize(
    "failure", [OrderNotFound(FINISHED), BrokerUnavailable("RabbitMQ does not answer.")]
)
def test_failure_is_one_line_and_exits_with_1(
    run: Run, fake: FakePrivacy, capsys: Screen, failure: Exception
) -> None:
    fake.failure = failure

    assert run("erase", "--order", FINISHED, "--yes") == 1

    assert capsys.readouterr().err == f"restaurant-system: {failure}\n"
