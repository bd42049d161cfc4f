"""Starts at stations, which are held for ten seconds so that they can be undone."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from restaurant_system.config import KitchenSettings
from restaurant_system.database import held_starts, kitchen_state, tickets
from restaurant_system.database.outbox import OutboxMessage
from restaurant_system.messaging.broker import Broker
from restaurant_system.messaging.postgres import PostgresBroker
from restaurant_system.models.clock import rfc_3339, utc_now
from restaurant_system.models.message import StatusChanged, decode
from restaurant_system.models.ticket import UNDO_WINDOW
from restaurant_system.worker.start_writer import StartWriter
from tests.support.database import execute, wait_for_lock_wait
from tests.support.display import STATION, Display, Screen
from tests.support.kitchen import Kitchen, settings

A_MINUTE_AGO = utc_now().replace(microsecond=123_000) - timedelta(minutes=1)
TEN_SECONDS_LATER = "UPDATE station_tickets SET started_at = started_at - interval '10 seconds'"
REFUSE_TO_MOVE = """
CREATE FUNCTION refuse_move() RETURNS trigger LANGUAGE plpgsql
    AS $$ BEGIN RAISE EXCEPTION 'refused'; END $$;
CREATE TRIGGER refuse_move BEFORE UPDATE OF status ON orders FOR EACH ROW
    WHEN (NEW.number = '{}') EXECUTE FUNCTION refuse_move();
"""
ALLOW_TO_MOVE = "LOCK TABLE orders; DROP FUNCTION refuse_move CASCADE"


@pytest.fixture
def broker(postgres_broker: PostgresBroker) -> Broker:
    """Use the broker in PostgreSQL: a start does not depend on the broker."""
    return postgres_broker


async def start(kitchen: Kitchen, display: Display, screen: Screen) -> str:
    """Place an order, and start it at the station."""
    number = await kitchen.order()
    await screen.wait_until(lambda: number in screen.tickets, doing="for a ticket")
    await display.perform(number, "start", "received")
    await screen.wait_until(
        lambda: screen.tickets[number] == "cooking", doing="for the ticket to be started"
    )
    return number


async def hold(kitchen: Kitchen, number: str, *, station: str, at: datetime) -> None:
    """Hold the start of an order, as by a station whose process then died."""
    async with kitchen.database.connection() as connection:
        await connection.execute(
            "INSERT INTO station_tickets (order_id, station, started_at)"
            " SELECT id, $2, $3 FROM orders WHERE number = $1",
            number,
            station,
            at,
        )


async def moves(kitchen: Kitchen, number: str) -> list[tuple[str, datetime]]:
    """Return each status that an order had after `received`, and since when."""
    query = """
        SELECT log.status, changed_at FROM order_status_log AS log
        JOIN orders ON orders.id = order_id
        WHERE number = $1 AND log.status <> 'received' ORDER BY log.id
    """
    async with kitchen.database.connection() as connection:
        return [(row[0], row[1]) for row in await connection.fetch(query, number)]


@pytest.fixture
def updates(kitchen: Kitchen, monkeypatch: pytest.MonkeyPatch) -> list[StatusChanged]:
    """Record the status updates that are passed to the relay."""
    updates: list[StatusChanged] = []
    enqueue = kitchen.relay.enqueue

    def record(*messages: OutboxMessage) -> None:
        enqueue(*messages)
        kind = StatusChanged.TYPE
        found = [each.message for each in messages if each.message.type == kind]
        updates.extend(decode(each, StatusChanged) for each in found)

    monkeypatch.setattr(kitchen.relay, "enqueue", record)
    return updates


async def test_held_start_shows_as_cooking_to_stations_alone_and_can_be_undone(
    kitchen: Kitchen, display: Display, screen: Screen
) -> None:
    number = await start(kitchen, display, screen)
    cook = kitchen.simulated_cook("mario", settings())
    started = screen.entries[number]

    other = await display.tap(number, "start", "received", station="fryer")
    rush = await display.tap(number, "rush", "received", station="fryer")
    undo = await display.tap(number, "unstart", "cooking", station="fryer")

    assert [each.status_code for each in (other, rush, undo)] == [409, 409, 409]
    assert other.json()["detail"].endswith(f"is now cooking at {STATION}.")
    assert await cook.claim() == []
    assert await kitchen.status(number) == "received"
    assert started["started_at"] == started["updated_at"]

    await display.tap_item(number, "cross_off", "cooking", 0)
    await display.perform(number, "unstart", "cooking", as_of=started["updated_at"])
    await screen.shows(number)
    await display.perform(number, "start", "received", as_of=screen.entries[number]["updated_at"])
    await screen.shows(**{number: "cooking"})
    assert screen.entries[number]["crossed_off"] == []
    late = await display.tap(number, "unstart", "cooking", as_of=started["updated_at"])
    assert late.status_code == 409
    assert await kitchen.history(number) == [("received", "order-service")]


async def test_start_is_written_after_ten_seconds_with_its_time_and_not_undone_any_more(
    kitchen: Kitchen, display: Display, screen: Screen, updates: list[StatusChanged]
) -> None:
    number = await start(kitchen, display, screen)
    seen = screen.entries[number]["updated_at"]
    await kitchen.simulated_cook("mario", settings()).claim()  # writes nothing before

    async with kitchen.database.connection() as connection:
        await connection.execute(TEN_SECONDS_LATER)
        at = await connection.fetchval("SELECT started_at FROM station_tickets")
    await kitchen.wait_for(number, "cooking")
    late = await display.tap(number, "unstart", "cooking")

    order = await kitchen.get(number)
    assert await moves(kitchen, number) == [("cooking", at)]
    assert order["updated_at"] == at
    assert order["processed_by"] == STATION
    assert at < order["estimated_completion"] < at + timedelta(minutes=1)
    assert rfc_3339(at + UNDO_WINDOW) == seen
    assert late.status_code == 409
    assert late.json()["detail"] == (
        f"Order {number} is cooking now, so that this cannot be undone any more."
    )
    await screen.wait_until(
        lambda: screen.entries[number]["started_at"] is None, doing="for the start to be written"
    )
    assert screen.tickets == {number: "cooking"}
    assert [(each.new_status, each.timestamp) for each in updates] == [("cooking", at)]


async def test_bump_before_the_start_is_written_writes_both(
    kitchen: Kitchen, display: Display, screen: Screen, updates: list[StatusChanged]
) -> None:
    number = await start(kitchen, display, screen)
    started_at = screen.entries[number]["updated_at"]

    other = await display.tap(number, "bump", "cooking", station="fryer")
    await display.perform(number, "bump", "cooking", as_of=started_at)

    assert other.status_code == 409
    (cooking, at), (ready, ready_at) = await moves(kitchen, number)
    assert (cooking, rfc_3339(at), ready) == ("cooking", started_at, "ready")
    assert at < ready_at
    assert [each.new_status for each in updates] == ["cooking", "ready"]
    assert await kitchen.orders_processed(STATION) == 1


async def test_order_cancelled_while_its_start_is_held_was_never_cooking(
    kitchen: Kitchen, display: Display, screen: Screen
) -> None:
    number = await start(kitchen, display, screen)

    await kitchen.cancel(number)
    await execute(kitchen.database, TEN_SECONDS_LATER)
    await screen.shows(**{number: "cancelled"})
    undo = await display.tap(number, "unstart", "cooking")
    await kitchen.simulated_cook("mario", settings()).claim()

    assert undo.status_code == 409
    assert [status for status, _ in await moves(kitchen, number)] == ["cancelled"]


async def test_start_of_a_dead_station_is_written_once_before_its_order_is_taken_over(
    kitchen: Kitchen,
) -> None:
    number = await kitchen.order()
    await hold(kitchen, number, station="fryer", at=A_MINUTE_AGO)
    cooks = [kitchen.simulated_cook(name, settings()) for name in ("mario", "luigi", "peach")]

    async with kitchen.database.connection() as connection:
        state = await kitchen_state.read(connection, day_start=A_MINUTE_AGO, now=utc_now())
    cooked = await asyncio.gather(*(cook.cook() for cook in cooks))

    assert state.open_tickets.keys() == {"fryer"}
    assert [number] in cooked  # cooks without a lease may take over from one another
    assert [each for each, _ in await kitchen.history(number)] == ["received", "cooking", "ready"]
    assert (await kitchen.history(number))[1] == ("cooking", "fryer")
    assert (await moves(kitchen, number))[0] == ("cooking", A_MINUTE_AGO)


async def test_reopened_station_writes_the_starts_from_before_its_process_died(
    kitchen: Kitchen, display: Display
) -> None:
    """A start that cannot be written delays no other one."""
    refused, number = await kitchen.order(), await kitchen.order()
    recent = utc_now()
    await hold(kitchen, refused, station=STATION, at=A_MINUTE_AGO)
    await hold(kitchen, number, station=STATION, at=recent)
    await execute(kitchen.database, REFUSE_TO_MOVE.format(refused))

    try:
        async with display.screen() as screen:
            await kitchen.wait_for(number, "cooking")
            await screen.wait_until(lambda: number in screen.tickets, doing="for the ticket")
        assert await moves(kitchen, number) == [("cooking", recent)]
        assert await moves(kitchen, refused) == []
    finally:
        await execute(kitchen.database, ALLOW_TO_MOVE)


async def test_start_of_an_order_that_its_station_gives_up_meanwhile_is_written_at_once(
    kitchen: Kitchen, display: Display, screen: Screen
) -> None:
    """A station that was started again gives up the orders that it had, and claims them again."""
    number = await kitchen.order()
    await screen.shows(number)
    async with kitchen.database.transaction() as give_up:
        await give_up.execute("DELETE FROM station_tickets")
        tap = asyncio.create_task(display.perform(number, "start", "received"))
        await wait_for_lock_wait(kitchen.database)
    await tap

    assert await kitchen.status(number) == "cooking"
    await screen.shows(**{number: "cooking"})


async def test_start_is_either_undone_or_written(
    kitchen: Kitchen, display: Display, screen: Screen
) -> None:
    numbers = [await start(kitchen, display, screen) for _ in range(6)]
    writer = StartWriter(kitchen.relay, "a-test", lambda kind: KitchenSettings().cooking_time(kind))

    async def write() -> None:
        async with kitchen.database.connection() as connection:
            await writer.write_due(connection, STATION, until=utc_now())

    async def undo(number: str) -> bool:
        return (await display.tap(number, "unstart", "cooking")).status_code == 200

    writing = asyncio.gather(*(write() for _ in range(3)))
    undone = await asyncio.gather(*(undo(number) for number in numbers))
    await writing
    await write()

    for number, is_undone in zip(numbers, undone, strict=True):
        expected = [] if is_undone else ["cooking"]
        assert [status for status, _ in await moves(kitchen, number)] == expected


async def test_start_that_is_undone_while_it_is_written_is_left(kitchen: Kitchen) -> None:
    number = await kitchen.order()
    await hold(kitchen, number, station=STATION, at=A_MINUTE_AGO)

    async with kitchen.database.transaction() as tx, kitchen.database.transaction() as other:
        assert await held_starts.lock(tx, number, A_MINUTE_AGO) is not None
        assert await held_starts.lock(other, number, A_MINUTE_AGO) is None
        await held_starts.undo(tx, STATION, number)
    async with kitchen.database.transaction() as tx:
        assert await held_starts.lock(tx, number, A_MINUTE_AGO) is None
        assert await held_starts.list_due(tx, STATION, until=datetime.now(UTC)) == []


async def test_transaction_that_has_locked_the_order_can_lock_the_start_after_another_has_tried(
    kitchen: Kitchen,
) -> None:
    """A bump writes the start before; a rail that writes what is due must not get in its way."""
    number = await kitchen.order()
    await hold(kitchen, number, station=STATION, at=A_MINUTE_AGO)

    async with kitchen.database.transaction() as bump, kitchen.database.transaction() as rail:
        await tickets.lock_order(bump, STATION, number)
        assert await held_starts.lock(rail, number, A_MINUTE_AGO) is None
        assert await held_starts.lock(bump, number, A_MINUTE_AGO) is not None
