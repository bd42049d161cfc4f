"""A cook's shift: its name, its end, and what it sits out. On either broker."""

import asyncio
from datetime import datetime, timedelta
from uuid import uuid4

import pytest
from structlog.testing import capture_logs

from restaurant_system.config import OutboxSettings, RabbitMQSettings
from restaurant_system.database import migrations, workers
from restaurant_system.database.connection import Database
from restaurant_system.errors import (
    BrokerUnavailable,
    DatabaseUnavailable,
    StartupError,
    WorkerNameTaken,
)
from restaurant_system.messaging.broker import Broker
from restaurant_system.messaging.postgres import PostgresBroker
from restaurant_system.messaging.rabbitmq import RabbitMQBroker
from restaurant_system.messaging.relay import Relay
from restaurant_system.worker import registration
from tests.conftest import QUICK_RETRIES, open_database
from tests.support.kitchen import Kitchen, settings
from tests.support.logs import logged
from tests.support.postgres_server import running_postgres
from tests.support.waiting import eventually

CUT = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()
"""

BREAKS = {"rabbitmq": "rabbitmq_connection_failed", "postgres": "db_connection_failed"}


async def cut_the_lines(kitchen: Kitchen, broker: Broker) -> None:
    """Break every line to the broker."""
    if isinstance(broker, RabbitMQBroker):
        await broker.close()
        return
    async with kitchen.database.connection() as connection:
        await connection.execute(CUT)


async def has_come_back(broker: Broker, count: int) -> None:
    """Wait until so many messages wait in the queues."""

    async def are_there() -> bool:
        return sum((await broker.depths()).values()) == count

    await eventually(are_there, doing=f"for {count} messages to wait")


async def test_a_name_that_is_on_duty_is_refused(kitchen: Kitchen, broker: Broker) -> None:
    """No two cooks work under one name at once."""
    await kitchen.enter("chef")

    async with kitchen.on_duty(broker, "chef") as shift:
        with pytest.raises(WorkerNameTaken, match="chef"):
            await asyncio.wait_for(shift.work, 20)


@pytest.mark.parametrize("whereabouts", ["signed off", "silent"])
async def test_a_name_that_has_been_left_can_be_taken(
    kitchen: Kitchen, broker: Broker, whereabouts: str
) -> None:
    """Signing off frees a name, and so do two missed heartbeats."""
    await kitchen.enter("chef", silent_for=timedelta(seconds=61 if whereabouts == "silent" else 0))
    if whereabouts == "signed off":
        await kitchen.dismiss("chef")

    async with kitchen.on_duty(broker, "chef"):
        number = await kitchen.serve_another()

    assert (await kitchen.look_up(number))["processed_by"] == "chef"


async def test_a_cook_whose_name_was_taken_over_stops(kitchen: Kitchen, broker: Broker) -> None:
    """It notices at its next heartbeat, and says what to do."""
    async with kitchen.on_duty(broker, kitchen=settings(heartbeat=0.2)) as shift:
        await kitchen.serve_another()

        async with kitchen.database.connection() as connection:
            await connection.execute("UPDATE workers SET session = $1", uuid4())

        with pytest.RaisesGroup(
            pytest.RaisesExc(StartupError, match="took over the name chef"),
            flatten_subgroups=True,
        ):
            await asyncio.wait_for(shift.work, 20)


async def test_worker_removed_while_it_was_cut_off_is_restored(
    kitchen: Kitchen, broker: Broker
) -> None:
    """It has its name again at its next heartbeat, and goes on."""
    async with kitchen.on_duty(broker, kitchen=settings(heartbeat=0.2)):
        await kitchen.serve_another()

        async with kitchen.database.connection() as connection:
            await connection.execute("DELETE FROM workers")

        async def is_online() -> bool:
            async with kitchen.database.connection() as connection:
                return await workers.is_online(connection, "chef")

        await eventually(is_online, doing="for the worker to be online again")
        await kitchen.serve_another()


async def test_a_cook_who_is_asked_to_stop_finishes_what_cooks(
    kitchen: Kitchen, broker: Broker, other_broker: Broker
) -> None:
    """The order on the stove becomes ready; the next one stays in its queue."""
    first, second = await kitchen.order(), await kitchen.order()
    async with kitchen.on_duty(broker, kitchen=settings(takeout=0.5)) as shift:
        await kitchen.wait_for(first, "cooking")

        shift.shutdown.request_stop()
        await asyncio.wait_for(shift.work, 20)

    assert await kitchen.status(first) == "ready"
    assert await kitchen.status(second) == "received"
    await has_come_back(other_broker, 1)
    assert await is_offline(kitchen)


async def test_a_cook_who_must_stop_gives_its_order_back(
    kitchen: Kitchen, broker: Broker, other_broker: Broker
) -> None:
    """Asked a second time, it leaves at once, and somebody else finishes."""
    number = await kitchen.order()
    async with kitchen.on_duty(broker, "anna", kitchen=settings(takeout=600)) as shift:
        await kitchen.wait_for(number, "cooking")

        shift.shutdown.request_stop()
        shift.shutdown.request_stop()
        await asyncio.wait_for(shift.work, 20)

    async with kitchen.on_duty(other_broker, "bob"):
        await kitchen.wait_for(number, "ready")
    assert await kitchen.history(number) == [
        ("received", "order-service"),
        ("cooking", "anna"),
        ("ready", "bob"),
    ]


async def test_a_broken_line_interrupts_no_dish(
    kitchen: Kitchen, broker: Broker, other_broker: Broker
) -> None:
    """What cooks is finished, once, though its message comes again."""
    number = await kitchen.order()
    async with kitchen.on_duty(broker, kitchen=settings(takeout=1)):
        await kitchen.wait_for(number, "cooking")

        await cut_the_lines(kitchen, broker)
        await kitchen.wait_for(number, "ready")
        await kitchen.serve_another("dine_in")
        await has_come_back(other_broker, 0)

    assert len(await kitchen.history(number)) == 3
    assert await kitchen.cooked_by("chef") == 2


async def test_worker_that_is_cut_off_is_offline_until_it_is_connected(
    kitchen: Kitchen, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its presence changes at once, however long its heartbeat interval is."""
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
        async with kitchen.on_duty(broker, "chef"):
            await eventually(is_online, doing="for the worker to register")
            await eventually(is_offline, doing="for the worker to be offline")
            outage.undo()
            await eventually(is_online, doing="for the worker to be online again")


async def test_a_broken_line_fills_no_hand_twice(kitchen: Kitchen, broker: Broker) -> None:
    """A cook with one order in hand takes no second one over a new line."""
    first, second = await kitchen.order(), await kitchen.order()
    async with kitchen.on_duty(broker, kitchen=settings(takeout=2)):
        await kitchen.wait_for(first, "cooking")

        await cut_the_lines(kitchen, broker)
        await kitchen.wait_for(first, "ready")
        await kitchen.wait_for(second, "cooking")

    ready, begun = await moment(kitchen, first, "ready"), await moment(kitchen, second, "cooking")
    assert begun >= ready


async def test_a_leaving_cook_opens_no_new_line(kitchen: Kitchen, broker: Broker) -> None:
    """Asked to stop while its line is broken, it finishes what cooks and takes nothing more."""
    first, second = await kitchen.order(), await kitchen.order()
    async with kitchen.on_duty(broker, kitchen=settings(takeout=2)) as shift:
        await kitchen.wait_for(first, "cooking")
        with capture_logs() as logs:
            await cut_the_lines(kitchen, broker)
            await eventually(
                lambda: logged(logs, BREAKS[broker.name]), doing="for the break to show"
            )

        shift.shutdown.request_stop()
        await asyncio.wait_for(shift.work, 30)

    assert await kitchen.status(first) == "ready"
    assert await kitchen.status(second) == "received"


@pytest.mark.parametrize("kind", ["postgres", "rabbitmq"])
async def test_a_cook_sits_out_an_outage_of_the_database(
    kind: str, request: pytest.FixtureRequest
) -> None:
    """An order whose database goes away while it cooks waits for it; that is no failure."""
    with running_postgres() as server, capture_logs() as logs:
        async with open_database(server.dsn(await server.create_database())) as database:
            await migrations.migrate(database)
            broker = make_broker(kind, database, request)
            relay = Relay(database, broker, OutboxSettings())
            kitchen = Kitchen(database, relay)
            async with (
                relay.running(),
                kitchen.on_duty(broker, kitchen=settings(takeout=0.5)) as shift,
            ):
                number = await kitchen.order()
                await kitchen.wait_for(number, "cooking")

                server.stop()
                await asyncio.sleep(1)  # so that the dish is done while the database is away
                server.start()
                await ready_again(kitchen, number)
                await kitchen.serve_another()

                assert not shift.work.done()
                assert not await logged(logs, "message_processing_failed")
                assert len(await kitchen.history(number)) == 3
                assert await kitchen.cooked_by("chef") == 2
            await broker.close()


def make_broker(kind: str, database: Database, request: pytest.FixtureRequest) -> Broker:
    """Return a broker: in this very database, or in RabbitMQ, which stays."""
    if kind == "postgres":
        return PostgresBroker(database, QUICK_RETRIES)
    url = request.getfixturevalue("amqp_url")
    return RabbitMQBroker(RabbitMQSettings(url=url), QUICK_RETRIES)


async def ready_again(kitchen: Kitchen, number: str) -> None:
    """Wait for an order to be ready in a database that may not answer yet."""

    async def is_ready() -> bool:
        try:
            return await kitchen.status(number) == "ready"
        except DatabaseUnavailable:
            return False

    await eventually(is_ready, doing=f"for {number} to be ready after the outage", seconds=60)


async def moment(kitchen: Kitchen, number: str, status: str) -> datetime:
    """Return when an order came to a status."""
    query = """
        SELECT changed_at FROM order_status_log AS log JOIN orders ON orders.id = log.order_id
        WHERE number = $1 AND log.status = $2
    """
    async with kitchen.database.connection() as connection:
        when: datetime = await connection.fetchval(query, number, status)
    return when


async def is_offline(kitchen: Kitchen) -> bool:
    """Tell whether the chef has signed off."""
    async with kitchen.database.connection() as connection:
        status = await connection.fetchval("SELECT status FROM workers WHERE name = 'chef'")
    return bool(status == "offline")
