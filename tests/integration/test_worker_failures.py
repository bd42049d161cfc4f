import asyncio

import pytest

from restaurant_system.messaging import retry_policy, topology
from restaurant_system.messaging.broker import Broker
from restaurant_system.messaging.rabbitmq import RabbitMQBroker, delivery
from restaurant_system.models.message import Message
from restaurant_system.models.order import OrderType
from restaurant_system.worker import lifecycle
from tests.conftest import QUORUM
from tests.support.kitchen import Kitchen, first_delivery, make_order_received
from tests.support.logs import capture_logs, logged
from tests.support.waiting import eventually

INVALID_MESSAGES = {
    "an unknown order": (
        make_order_received("ORD_20241216_404"),
        "there is no order ORD_20241216_404",
    ),
    "no JSON": (make_order_received("ORD_20241216_001", body=b"{"), "not JSON"),
    "a broken schema": (
        make_order_received("ORD_20241216_001", body=b"{}"),
        "order_number: Field required",
    ),
    "another content type": (
        make_order_received("ORD_20241216_001", content_type="text/plain"),
        "the content type is not application/json",
    ),
}


@pytest.mark.parametrize(
    ("message", "reason"), INVALID_MESSAGES.values(), ids=INVALID_MESSAGES.keys()
)
async def test_message_that_can_never_succeed_is_dead_lettered_at_once(
    kitchen: Kitchen, broker: Broker, other_broker: Broker, message: Message, reason: str
) -> None:
    await other_broker.publish([message])

    async with (
        kitchen.running_worker(broker),
        first_delivery(other_broker, topology.DEAD_LETTERS.name) as letter,
    ):
        assert reason in str(letter.message.headers[retry_policy.REASON])
        assert letter.message.headers[retry_policy.ATTEMPTS] == 1
        assert letter.message.body == message.body
        await letter.ack()


@pytest.mark.parametrize("broker", [QUORUM], indirect=True)
async def test_message_that_ends_each_worker_is_dead_lettered_and_its_order_cooked(
    kitchen: Kitchen, broker: Broker, other_broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Quorum queues count how often a consumer was lost with a message."""
    monkeypatch.setattr(lifecycle, "MAX_RETURNS", 3)
    number = await kitchen.order()
    for _ in range(3):
        async with first_delivery(other_broker, topology.SPECIALISED[OrderType.TAKEOUT].name):
            pass  # the channel is closed before the message is settled

    async with (
        kitchen.running_worker(broker),
        first_delivery(other_broker, topology.DEAD_LETTERS.name) as letter,
    ):
        await kitchen.wait_for(number, "ready")

        assert str(letter.message.headers[retry_policy.REASON]).startswith("3 workers returned it")


async def test_order_is_retried_after_an_unexpected_error(kitchen: Kitchen, broker: Broker) -> None:
    await forbid_cooking(kitchen)
    number = await kitchen.order()
    async with kitchen.running_worker(broker):
        with capture_logs() as logs:
            await eventually(
                lambda: logged(logs, "retry_attempted"), doing="for the first attempt to fail"
            )

        await allow_cooking(kitchen)
        await kitchen.wait_for(number, "ready")

    assert len(await kitchen.history(number)) == 3


async def test_order_that_keeps_failing_is_dead_lettered_after_the_last_attempt(
    kitchen: Kitchen, broker: Broker, other_broker: Broker
) -> None:
    """The dead letter has the number of attempts, the time of the first one and the error."""
    await forbid_cooking(kitchen)
    number = await kitchen.order()

    with capture_logs() as logs:
        async with (
            kitchen.running_worker(broker),
            first_delivery(other_broker, topology.DEAD_LETTERS.name) as letter,
        ):
            await letter.ack()

    actions = [line["event"] for line in logs if line["log_level"] in {"warning", "error"}]
    assert actions[0] == "message_processing_failed"
    assert actions.count("retry_attempted") == 2
    assert actions.count("message_dead_lettered") == 1
    headers = letter.message.headers
    assert headers[retry_policy.ATTEMPTS] == 3
    assert "gave up after 3 attempts: CheckViolationError" in str(headers[retry_policy.REASON])
    assert headers[retry_policy.QUEUE] == "kitchen_takeout_queue"
    assert retry_policy.FIRST_SEEN in headers
    assert await kitchen.status(number) == "received"


@pytest.mark.parametrize("broker", ["postgres"], indirect=True)
async def test_error_of_every_claim_is_retried_after_growing_pauses(
    kitchen: Kitchen, broker: Broker
) -> None:
    """Its stack is logged once."""
    await forbid_cooking(kitchen)
    for _ in range(20):
        await kitchen.order()

    with capture_logs() as logs:
        async with kitchen.running_worker(broker):
            await eventually(
                lambda: logged(logs, "message_processing_failed"), doing="for a claim to fail"
            )
            await asyncio.sleep(0.5)

    failures = [line for line in logs if line["event"] == "message_processing_failed"]
    assert 2 <= len(failures) <= 4
    assert [bool(line["exc_info"]) for line in failures] == [True] + [False] * (len(failures) - 1)


async def forbid_cooking(kitchen: Kitchen) -> None:
    """Make every start of an order fail with an unexpected database error."""
    async with kitchen.database.connection() as connection:
        await connection.execute(
            "ALTER TABLE order_status_log ADD CONSTRAINT no_cooking CHECK (status <> 'cooking')"
        )


async def allow_cooking(kitchen: Kitchen) -> None:
    async with kitchen.database.connection() as connection:
        await connection.execute("ALTER TABLE order_status_log DROP CONSTRAINT no_cooking")


async def test_error_in_a_rabbitmq_consumer_stops_the_worker(
    kitchen: Kitchen, rabbitmq_broker: RabbitMQBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_delivered: object) -> int:
        raise KeyError("delivery_tag")

    monkeypatch.setattr(delivery, "tag_of", fail)
    await rabbitmq_broker.publish([make_order_received("ORD_20241216_001")])

    async with kitchen.running_worker(rabbitmq_broker) as run:
        await asyncio.wait({run.work}, timeout=10)

        error = run.work.exception()
    assert isinstance(error, ExceptionGroup)
    assert error.subgroup(KeyError) is not None
