"""The `dead-letters` commands, and the limit of dead letters of a worker."""

from pathlib import Path
from urllib.parse import quote
from uuid import uuid4

import pytest

from restaurant_system.messaging.retry_policy import (
    EXCHANGE,
    FIRST_SEEN,
    QUEUE,
    REASON,
    ROUTING_KEY,
)
from restaurant_system.models.message import Message
from tests.support.broker_client import BrokerClient
from tests.support.deployments import Deployment, error_message
from tests.support.messages import DEAD_LETTERS, TAKEOUT, make_order_message
from tests.support.processes import Process, Processes
from tests.support.waiting import wait_until


@pytest.fixture
def broker(dsn: str, optional_amqp_url: str | None) -> BrokerClient:
    """Return a client of the deployment's broker."""
    return BrokerClient(dsn, optional_amqp_url)


def make_dead_letter(**headers: str) -> Message:
    """Return a message that was dead-lettered."""
    history = {
        QUEUE: TAKEOUT,
        EXCHANGE: "orders_topic",
        ROUTING_KEY: "kitchen.takeout.1",
        REASON: "the oven is cold",
        FIRST_SEEN: "2024-12-16T10:30:00.123+00:00",
    }
    return make_order_message(
        exchange="orders_dlx", message_id=uuid4(), headers={**history, **headers}
    )


def output_of(process: Process) -> str:
    """Wait until a command has exited with 0, and return its output."""
    assert process.wait() == 0, process.stderr
    return process.stdout


def test_dead_letters_are_listed_shown_requeued_and_discarded(
    deployment: Deployment, broker: BrokerClient
) -> None:
    """A command with an unknown id changes nothing."""

    def run(*command: str) -> Process:
        return deployment.start("dead-letters", *command)

    first, second, third = letters = [make_dead_letter(), make_dead_letter(), make_dead_letter()]
    broker.put(*letters)

    listed = output_of(run("list"))
    assert [line.split()[0] for line in listed.splitlines()] == [
        str(letter.message_id) for letter in letters
    ]
    assert listed.count("the oven is cold") == 3

    shown = output_of(run("show", str(first.message_id)))
    assert '"order_number": "ORD_20241216_001"' in shown

    with_unknown_id = run("requeue", str(second.message_id), "nobody")
    assert with_unknown_id.wait() == 1
    assert error_message(with_unknown_id).count("\n") == 1
    assert broker.depth(DEAD_LETTERS) == 3

    assert output_of(run("requeue", str(second.message_id))) == "Requeued 1 dead letter.\n"
    assert (broker.depth(DEAD_LETTERS), broker.depth(TAKEOUT)) == (2, 1)

    assert output_of(run("discard", str(first.message_id))) == "Discarded 1 dead letter.\n"
    assert output_of(run("requeue", "--all", "--yes")) == "Requeued 1 dead letter.\n"
    assert (broker.depth(DEAD_LETTERS), broker.depth(TAKEOUT)) == (0, 2)
    recorded = deployment.query("SELECT action, target, role FROM audit_log ORDER BY id")
    assert [tuple(row.values()) for row in recorded] == [
        ("requeue_dead_letter", str(second.message_id), "command line"),
        ("discard_dead_letter", str(first.message_id), "command line"),
        ("requeue_dead_letter", str(third.message_id), "command line"),
    ]


def test_all_without_a_terminal_requires_yes(deployment: Deployment, broker: BrokerClient) -> None:
    broker.put(make_dead_letter())

    refused = deployment.start("dead-letters", "discard", "--all")
    wrong = deployment.start("dead-letters", "discard")

    assert (refused.wait(), wrong.wait()) == (1, 2)
    assert error_message(refused).count("\n") == error_message(wrong).count("\n") == 1
    assert "--yes" in error_message(refused)
    assert broker.depth(DEAD_LETTERS) == 1


def test_worker_stops_at_the_limit_of_dead_letters(
    deployment: Deployment, broker: BrokerClient
) -> None:
    """The remaining messages, among them a valid order, stay in the queue."""
    deployment.start_order_service()
    deployment.wait_until_ready()
    broker.put(*(make_order_message(body=b"{", priority=10) for _ in range(60)))
    number = deployment.place_order()
    deployment.wait_until_outbox_is_empty()

    worker = deployment.start(
        "kitchen-worker", "--worker-name", "anna", RESTAURANT_DELIVERY__MAX_DEAD_LETTERS="5"
    )

    assert worker.wait() == 1
    assert error_message(worker).count("\n") == 1
    assert "More than 5 messages in 60 s failed for good" in error_message(worker)
    assert worker.logged("dead_letters_limited")
    assert deployment.worker_status("anna") == "offline"
    assert (broker.depth(DEAD_LETTERS), broker.depth(TAKEOUT)) == (5, 56)

    deployment.start(
        *("kitchen-worker", "--worker-name", "anna", "--cooking-time-scale", "0"),
        RESTAURANT_DELIVERY__MAX_DEAD_LETTERS="100",
    )
    deployment.wait_for_status(number, "ready")
    wait_until(
        lambda: broker.depth(DEAD_LETTERS) == 60, seconds=20, doing="for the other dead letters"
    )


def test_dead_letters_of_the_embedded_database_while_up_runs_and_after(
    commands: Processes, data_dir: Path
) -> None:
    commands.environment["RESTAURANT_DATA_DIR"] = str(data_dir)
    folder = quote(str(data_dir / "postgres"))
    broker = BrokerClient(f"postgresql://postgres@/postgres?host={folder}")

    up = commands.start("up", "--port", "0")
    up.wait_for("worker_registered")
    broker.put(make_order_message(body=b"{"))
    up.wait_for("message_dead_lettered")
    assert "not JSON" in output_of(commands.start("dead-letters", "list"))
    assert up.stop() == 0

    discarded = commands.start("--mode=dead-letters", "discard", "--all", "--yes")
    assert output_of(discarded) == "Discarded 1 dead letter.\n"
    wait_until(
        lambda: not (data_dir / "postgres" / "postmaster.pid").exists(),
        seconds=10,
        doing="for the database to stop",
    )
