import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from restaurant_system.config import OutboxSettings, RabbitMQSettings
from restaurant_system.database import claims, migrations, orders, workers
from restaurant_system.database.claims import Claim, ClaimedOrder
from restaurant_system.database.connection import Connection, Database
from restaurant_system.database.orders import MovedOrder
from restaurant_system.errors import (
    BrokerUnavailable,
    DatabaseUnavailable,
    StartupError,
    WorkerNameTaken,
)
from restaurant_system.messaging.broker import Broker
from restaurant_system.messaging.postgres import PostgresBroker
from restaurant_system.messaging.postgres.delivery import PostgresDelivery
from restaurant_system.messaging.rabbitmq import RabbitMQBroker
from restaurant_system.messaging.rabbitmq.delivery import RabbitMQDelivery
from restaurant_system.messaging.relay import Relay
from restaurant_system.worker import registration
from tests.conftest import QUICK_RETRIES, open_database
from tests.support.kitchen import Kitchen, make_order_received, settings
from tests.support.logs import capture_logs, logged
from tests.support.messages import TAKEOUT
from tests.support.postgres_server import running_postgres
from tests.support.waiting import eventually

CUT = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()
"""

CONNECTION_LOST = {"rabbitmq": "rabbitmq_connection_failed", "postgres": "db_connection_failed"}


async def cut_connections(kitchen: Kitchen, broker: Broker) -> None:
    """Close all connections to the broker."""
    if isinstance(broker, RabbitMQBroker):
        await broker.close()
        return
    async with kitchen.database.connection() as connection:
        await connection.execute(CUT)


async def wait_for_depth(broker: Broker, count: int) -> None:
    """Wait until this many messages are in the queues."""

    async def are_there() -> bool:
        return sum((await broker.depths()).values()) == count

    await eventually(are_there, doing=f"for {count} messages to wait")


async def is_waiting(broker: Broker, number: str) -> bool:
    """Tell whether the message of an order is in a queue."""
    async with broker.browse(TAKEOUT) as messages:
        return any(number.encode() in each.message.body for each in messages)


async def test_name_of_an_online_worker_is_refused(kitchen: Kitchen, broker: Broker) -> None:
    await kitchen.register_worker("chef")

    async with kitchen.running_worker(broker, "chef") as run:
        with pytest.raises(WorkerNameTaken, match="chef"):
            await asyncio.wait_for(run.work, 20)


@pytest.mark.parametrize("ending", ["deregistered", "lease expired"])
async def test_name_of_an_offline_worker_is_taken_over(
    kitchen: Kitchen, broker: Broker, ending: str
) -> None:
    await kitchen.register_worker(
        "chef", silent_for=timedelta(seconds=61 if ending == "lease expired" else 0)
    )
    if ending == "deregistered":
        await kitchen.mark_offline("chef")

    async with kitchen.running_worker(broker, "chef"):
        number = await kitchen.cook_another()

    assert (await kitchen.get(number))["processed_by"] == "chef"


async def test_worker_whose_name_was_taken_over_stops_at_its_next_heartbeat(
    kitchen: Kitchen, broker: Broker
) -> None:
    async with kitchen.running_worker(broker, kitchen=settings(heartbeat=0.2)) as run:
        await kitchen.cook_another()

        async with kitchen.database.connection() as connection:
            await connection.execute("UPDATE workers SET session = $1", uuid4())

        with pytest.RaisesGroup(
            pytest.RaisesExc(StartupError, match="took over the name chef"),
            flatten_subgroups=True,
        ):
            await asyncio.wait_for(run.work, 20)


async def test_worker_whose_row_was_deleted_registers_again_at_its_next_heartbeat(
    kitchen: Kitchen, broker: Broker
) -> None:
    async with kitchen.running_worker(broker, kitchen=settings(heartbeat=0.2)):
        await kitchen.cook_another()

        async with kitchen.database.connection() as connection:
            await connection.execute("DELETE FROM workers")

        async def is_online() -> bool:
            async with kitchen.database.connection() as connection:
                return await workers.is_online(connection, "chef")

        await eventually(is_online, doing="for the worker to be online again")
        await kitchen.cook_another()


async def test_worker_finishes_its_order_and_requeues_the_rest_when_stopped(
    kitchen: Kitchen, broker: Broker, other_broker: Broker
) -> None:
    first, second = await kitchen.order(), await kitchen.order()
    async with kitchen.running_worker(broker, kitchen=settings(takeout=0.5)) as run:
        await kitchen.wait_for(first, "cooking")

        run.shutdown.request_stop()
        await asyncio.wait_for(run.work, 20)

    assert await kitchen.status(first) == "ready"
    assert await kitchen.status(second) == "received"
    await eventually(lambda: is_waiting(other_broker, second), doing="for the second message")
    assert await is_offline(kitchen)


@pytest.mark.parametrize("is_available", [True, False])
async def test_stop_ends_a_claim_that_waits_for_the_database(
    kitchen: Kitchen, broker: Broker, monkeypatch: pytest.MonkeyPatch, *, is_available: bool
) -> None:
    """An order that the statement in flight claims nevertheless is finished."""
    start_next = claims.start_next
    requested, continued = asyncio.Event(), asyncio.Event()

    async def start_late(
        connection: Connection, claim: Claim, *, exchange: str, app_id: str
    ) -> list[tuple[ClaimedOrder, MovedOrder]]:
        requested.set()
        if not is_available:
            raise DatabaseUnavailable("PostgreSQL unreachable: connection refused.")
        await continued.wait()
        return await start_next(connection, claim, exchange=exchange, app_id=app_id)

    monkeypatch.setattr(claims, "start_next", start_late)
    number = await kitchen.order()
    async with kitchen.running_worker(broker) as run:
        await asyncio.wait_for(requested.wait(), 20)
        run.shutdown.request_stop()
        await asyncio.sleep(0.1)
        continued.set()
        await asyncio.wait_for(run.work, 5)

    assert await kitchen.status(number) == ("ready" if is_available else "received")
    if not is_available:  # else the message may have arrived too late to be acknowledged
        await wait_for_depth(broker, 1)


@pytest.mark.parametrize("hangs", [False, True])
async def test_worker_gives_its_order_back_when_forced_to_stop(
    kitchen: Kitchen, broker: Broker, other_broker: Broker, *, hangs: bool
) -> None:
    """Another worker finishes the order without a second log row for `cooking`.

    The worker waits for no message that the broker does not let it settle.
    """
    number = await kitchen.order()
    async with kitchen.running_worker(
        broker, "anna", kitchen=settings(prefetch=3, takeout=600)
    ) as run:
        await kitchen.wait_for(number, "cooking")

        async with settling_that_hangs(kitchen, broker) if hangs else contextlib.nullcontext():
            run.shutdown.request_stop()
            run.shutdown.request_stop()
            await asyncio.wait_for(run.work, 20)

    async with kitchen.running_worker(other_broker, "bob"):
        await kitchen.wait_for(number, "ready")
        await wait_for_depth(other_broker, 1 if hangs else 0)
    assert await kitchen.history(number) == [
        ("received", "order-service"),
        ("cooking", "anna"),
        ("ready", "bob"),
    ]


@contextlib.asynccontextmanager
async def settling_that_hangs(kitchen: Kitchen, broker: Broker) -> AsyncIterator[None]:
    """Let a worker settle one message, which is dead-lettered later, and keep another one.

    No call that settles a message returns in the block.
    """
    is_settling, is_waiting = asyncio.Event(), asyncio.Event()

    async def hang(*_: object) -> None:
        is_settling.set()
        await asyncio.Event().wait()

    async def fail(*_: object) -> set[str]:
        is_waiting.set()
        raise DatabaseUnavailable("PostgreSQL unreachable: connection refused.")

    with pytest.MonkeyPatch.context() as patch:
        for delivery in (PostgresDelivery, RabbitMQDelivery):
            for method in ("ack", "requeue", "replace"):
                patch.setattr(delivery, method, hang)
        await broker.publish([make_order_received("ORD_20000101_001")])
        await asyncio.wait_for(is_settling.wait(), 20)
        patch.setattr(orders, "unknown_among", fail)  # so that messages wait for the database
        await kitchen.order()
        await asyncio.wait_for(is_waiting.wait(), 20)
        yield


async def test_order_is_finished_once_when_the_connection_is_lost_while_it_cooks(
    kitchen: Kitchen, broker: Broker, other_broker: Broker
) -> None:
    number = await kitchen.order()
    async with kitchen.running_worker(broker, kitchen=settings(takeout=1)):
        await kitchen.wait_for(number, "cooking")

        await cut_connections(kitchen, broker)
        await wait_during_outage(kitchen, number, "ready")
        await kitchen.cook_another("dine_in")
        await wait_for_depth(other_broker, 0)

    assert len(await kitchen.history(number)) == 3
    assert await kitchen.orders_processed("chef") == 2


async def test_worker_waits_for_the_database_to_register(
    kitchen: Kitchen, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first attempt is committed, but its answer is lost."""
    register, attempts = workers.register, []

    async def lose_first_answer(*arguments: Any, **options: Any) -> bool:  # noqa: ANN401 - passed on
        attempts.append(await register(*arguments, **options))
        if len(attempts) == 1:
            raise DatabaseUnavailable("PostgreSQL unreachable: connection reset by peer")
        return attempts[-1]

    monkeypatch.setattr(workers, "register", lose_first_answer)
    async with kitchen.running_worker(broker):
        await kitchen.cook_another()

    assert attempts == [True, True]


async def test_worker_that_waits_for_the_database_to_register_can_be_stopped(
    kitchen: Kitchen, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts = []

    async def fail(*_: object, **__: object) -> bool:
        attempts.append(1)
        raise DatabaseUnavailable("PostgreSQL unreachable: connection refused")

    async def has_tried() -> bool:
        return bool(attempts)

    monkeypatch.setattr(workers, "register", fail)
    async with kitchen.running_worker(broker) as run:
        await eventually(has_tried, doing="for the worker to try to register")
        run.shutdown.request_stop()
        await asyncio.wait_for(run.work, 20)


async def test_worker_that_is_cut_off_is_offline_until_it_is_connected(
    kitchen: Kitchen, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker is marked offline and online at once, however long its heartbeat interval is."""
    monkeypatch.setattr(registration, "OFFLINE_AFTER", 0.2)
    monkeypatch.setattr(registration, "AVAILABILITY_CHECK_INTERVAL", 0.05)

    def refuse(*_: object, **__: object) -> None:
        raise BrokerUnavailable("RabbitMQ unreachable: connection refused")

    async def is_online() -> bool:
        async with kitchen.database.connection() as connection:
            return await workers.is_online(connection, "chef")

    async def is_offline() -> bool:
        return not await is_online()

    with monkeypatch.context() as outage:
        outage.setattr(broker, "consume", refuse)
        async with kitchen.running_worker(broker, "chef"):
            await eventually(is_online, doing="for the worker to register")
            await eventually(is_offline, doing="for the worker to be offline")
            outage.undo()
            await eventually(is_online, doing="for the worker to be online again")


async def test_prefetch_holds_across_a_reconnect(kitchen: Kitchen, broker: Broker) -> None:
    """A worker with a prefetch of one starts no second order over a new connection."""
    first, second = await kitchen.order(), await kitchen.order()
    async with kitchen.running_worker(broker, kitchen=settings(takeout=2)):
        await kitchen.wait_for(first, "cooking")

        await cut_connections(kitchen, broker)
        await wait_during_outage(kitchen, first, "ready")
        await wait_during_outage(kitchen, second, "cooking")

    ready, started = (
        await time_of_status(kitchen, first, "ready"),
        await time_of_status(kitchen, second, "cooking"),
    )
    assert started >= ready


async def test_stopping_worker_does_not_reconnect(kitchen: Kitchen, broker: Broker) -> None:
    """A worker that stops while disconnected finishes its order and takes no other."""
    first, second = await kitchen.order(), await kitchen.order()
    async with kitchen.running_worker(broker, kitchen=settings(takeout=2)) as run:
        await kitchen.wait_for(first, "cooking")
        with capture_logs() as logs:
            await cut_connections(kitchen, broker)
            await eventually(
                lambda: logged(logs, CONNECTION_LOST[broker.name]),
                doing="for the loss of the connection to be logged",
            )

        run.shutdown.request_stop()
        await asyncio.wait_for(run.work, 30)

    assert await kitchen.status(first) == "ready"
    assert await kitchen.status(second) == "received"


@pytest.mark.parametrize("kind", ["postgres", "rabbitmq"])
async def test_order_is_finished_after_an_outage_of_the_database(
    kind: str, request: pytest.FixtureRequest
) -> None:
    """An outage of the database does not count as a failed attempt."""
    with running_postgres() as server, capture_logs() as logs:
        async with open_database(server.dsn(await server.create_database())) as database:
            await migrations.migrate(database)
            broker = make_broker(kind, database, request)
            relay = Relay(database, broker, OutboxSettings())
            kitchen = Kitchen(database, relay)
            async with (
                relay.running(),
                kitchen.running_worker(broker, kitchen=settings(takeout=0.5)) as run,
            ):
                number = await kitchen.order()
                await kitchen.wait_for(number, "cooking")

                server.stop()
                await asyncio.sleep(1)  # the cooking time ends while the database is unavailable
                server.start()
                await wait_during_outage(kitchen, number, "ready")
                await kitchen.cook_another()

                assert not run.work.done()
                assert not await logged(logs, "message_processing_failed")
                assert len(await kitchen.history(number)) == 3
                assert await kitchen.orders_processed("chef") == 2
            await broker.close()


def make_broker(kind: str, database: Database, request: pytest.FixtureRequest) -> Broker:
    """Return the broker in this database, or one in RabbitMQ."""
    if kind == "postgres":
        return PostgresBroker(database)
    url = request.getfixturevalue("amqp_url")
    return RabbitMQBroker(RabbitMQSettings(url=url), QUICK_RETRIES.retry_delays)


async def wait_during_outage(kitchen: Kitchen, number: str, status: str) -> None:
    """Wait until an order has this status, in a database that may be unavailable."""

    async def is_there() -> bool:
        try:
            return await kitchen.status(number) == status
        except DatabaseUnavailable:
            return False

    await eventually(is_there, doing=f"for {number} to be {status} after the outage", seconds=60)


async def time_of_status(kitchen: Kitchen, number: str, status: str) -> datetime:
    """Return when an order got a status."""
    query = """
        SELECT changed_at FROM order_status_log AS log JOIN orders ON orders.id = log.order_id
        WHERE number = $1 AND log.status = $2
    """
    async with kitchen.database.connection() as connection:
        when: datetime = await connection.fetchval(query, number, status)
    return when


async def is_offline(kitchen: Kitchen) -> bool:
    """Return whether a worker is marked offline."""
    async with kitchen.database.connection() as connection:
        status = await connection.fetchval("SELECT status FROM workers WHERE name = 'chef'")
    return bool(status == "offline")
