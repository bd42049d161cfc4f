"""Dead letters: how a person deals with them, and when a cook makes no more of them."""

from pathlib import Path
from urllib.parse import quote
from uuid import uuid4

import pytest

from restaurant_system.messaging.broker import EXCHANGE, FIRST_SEEN, QUEUE, REASON, ROUTING_KEY
from restaurant_system.models.message import Message
from tests.support.broker_client import BrokerClient
from tests.support.deployments import Deployment, complaint
from tests.support.messages import DEAD_LETTERS, TAKEOUT, make_order_message
from tests.support.processes import Process, Processes
from tests.support.waiting import wait_until


@pytest.fixture
def post(dsn: str, optional_amqp_url: str | None) -> BrokerClient:
    """Open a line to the restaurant's broker."""
    return BrokerClient(dsn, optional_amqp_url)


def make_dead_letter(**headers: str) -> Message:
    """Write a message that was put aside."""
    story = {
        QUEUE: TAKEOUT,
        EXCHANGE: "orders_topic",
        ROUTING_KEY: "kitchen.takeout.1",
        REASON: "the oven is cold",
        FIRST_SEEN: "2024-12-16T10:30:00.123+00:00",
    }
    return make_order_message(
        exchange="orders_dlx", message_id=uuid4(), headers={**story, **headers}
    )


def told(process: Process) -> str:
    """Wait until a command has ended well, and return what it said."""
    assert process.wait() == 0, process.stderr
    return process.stdout


def test_dead_letters_are_listed_shown_sent_back_and_thrown_away(
    deployment: Deployment, post: BrokerClient
) -> None:
    """From the first look to the empty list; what is wrong touches nothing."""

    def run(*command: str) -> Process:
        return deployment.start("dead-letters", *command)

    first, second, _ = letters = [make_dead_letter(), make_dead_letter(), make_dead_letter()]
    post.put(*letters)

    listed = told(run("list"))
    assert [line.split()[0] for line in listed.splitlines()] == [
        str(letter.message_id) for letter in letters
    ]
    assert listed.count("the oven is cold") == 3

    shown = told(run("show", str(first.message_id)))
    assert '"order_number": "ORD_20241216_001"' in shown

    mistaken = run("requeue", str(second.message_id), "nobody")
    assert mistaken.wait() == 1
    assert complaint(mistaken).count("\n") == 1
    assert post.depth(DEAD_LETTERS) == 3

    assert told(run("requeue", str(second.message_id))) == "Requeued 1 dead letter.\n"
    assert (post.depth(DEAD_LETTERS), post.depth(TAKEOUT)) == (2, 1)

    assert told(run("discard", str(first.message_id))) == "Discarded 1 dead letter.\n"
    assert told(run("requeue", "--all", "--yes")) == "Requeued 1 dead letter.\n"
    assert (post.depth(DEAD_LETTERS), post.depth(TAKEOUT)) == (0, 2)


def test_all_needs_a_yes(deployment: Deployment, post: BrokerClient) -> None:
    """Without a terminal and without --yes, one line refuses, and nothing is done."""
    post.put(make_dead_letter())

    refused = deployment.start("dead-letters", "discard", "--all")
    wrong = deployment.start("dead-letters", "discard")

    assert (refused.wait(), wrong.wait()) == (1, 2)
    assert complaint(refused).count("\n") == complaint(wrong).count("\n") == 1
    assert "--yes" in complaint(refused)
    assert post.depth(DEAD_LETTERS) == 1


def test_a_cook_who_can_handle_nothing_stops(deployment: Deployment, post: BrokerClient) -> None:
    """One sentence says so; what is beyond the limit, and the good order behind it, is there."""
    deployment.take_orders()
    deployment.ready()
    post.put(*(make_order_message(body=b"{", priority=10) for _ in range(60)))
    number = deployment.order()
    deployment.wait_until_nothing_is_owed()

    cook = deployment.start(
        "kitchen-worker", "--worker-name", "anna", RESTAURANT_DELIVERY__MAX_DEAD_LETTERS="5"
    )

    assert cook.wait() == 1
    assert complaint(cook).count("\n") == 1
    assert "More than 5 messages in 60 s could not be handled" in complaint(cook)
    assert cook.logged("dead_letters_limited")
    assert deployment.presence("anna") == "offline"
    assert (post.depth(DEAD_LETTERS), post.depth(TAKEOUT)) == (5, 56)

    deployment.start(
        *("kitchen-worker", "--worker-name", "anna", "--cooking-time-scale", "0"),
        RESTAURANT_DELIVERY__MAX_DEAD_LETTERS="100",
    )
    deployment.wait_for(number, "ready")
    assert post.depth(DEAD_LETTERS) == 60


def test_the_embedded_restaurant_has_them_too(commands: Processes, data_dir: Path) -> None:
    """On the same data, while `up` runs and when it does not."""
    commands.environment["RESTAURANT_DATA_DIR"] = str(data_dir)
    folder = quote(str(data_dir / "postgres"))
    post = BrokerClient(f"postgresql://postgres@/postgres?host={folder}")

    house = commands.start("up", "--port", "0")
    house.wait_for("worker_registered")
    post.put(make_order_message(body=b"{"))
    house.wait_for("message_dead_lettered")
    assert "not JSON" in told(commands.start("dead-letters", "list"))
    assert house.stop() == 0

    discarded = commands.start("--mode=dead-letters", "discard", "--all", "--yes")
    assert told(discarded) == "Discarded 1 dead letter.\n"
    wait_until(
        lambda: not (data_dir / "postgres" / "postmaster.pid").exists(),
        seconds=10,
        doing="for the database to stop",
    )
