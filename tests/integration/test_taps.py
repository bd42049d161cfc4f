"""Taps on tickets: each has its effect once, or not at all."""

import asyncio
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest

from restaurant_system.database import tickets
from restaurant_system.messaging.broker import Broker
from restaurant_system.messaging.postgres import PostgresBroker
from tests.support.deployments import JSON
from tests.support.display import STATION, Display, Screen, displayed
from tests.support.kitchen import Kitchen


@pytest.fixture
def broker(postgres_broker: PostgresBroker) -> Broker:
    """Choose the broker that needs nothing else: a tap is the database's affair."""
    return postgres_broker


@pytest.fixture
async def display(kitchen: Kitchen, broker: Broker) -> AsyncIterator[Display]:
    """Open a kitchen display."""
    async with displayed(kitchen.database, broker, kitchen.relay) as display:
        yield display


@pytest.fixture
async def screen(display: Display) -> AsyncIterator[Screen]:
    """Watch a station."""
    async with display.screen() as screen:
        yield screen


async def order_on_screen(kitchen: Kitchen, screen: Screen) -> str:
    """Order something, and wait until it is on the screen."""
    number = await kitchen.order()
    await screen.when(lambda: number in screen.tickets, doing="for a ticket")
    return number


async def statuses(kitchen: Kitchen, number: str) -> list[str]:
    """Return the statuses that an order had."""
    return [status for status, _ in await kitchen.history(number)]


async def notes(kitchen: Kitchen, number: str) -> list[str | None]:
    """Return what was noted at each move of an order."""
    query = """
        SELECT log.notes FROM order_status_log AS log JOIN orders ON orders.id = order_id
        WHERE number = $1 ORDER BY log.id
    """
    async with kitchen.database.connection() as connection:
        return [row["notes"] for row in await connection.fetch(query, number)]


async def test_an_order_is_started_bumped_and_taken_back(
    kitchen: Kitchen, display: Display, screen: Screen
) -> None:
    """Each step is in the books, with the station that made it; what was taken back counts once."""
    number = await order_on_screen(kitchen, screen)

    await display.done(number, "start", "received")
    await screen.shows(**{number: "cooking"})
    await display.done(number, "bump", "cooking")
    await screen.shows(**{number: "ready"})
    assert list(await display.bumped()) == [number]
    assert await kitchen.cooked_by(STATION) == 1

    await display.done(number, "recall", "ready")
    await screen.shows(**{number: "cooking"})
    assert await display.bumped() == {}
    assert await kitchen.cooked_by(STATION) == 0
    order = await kitchen.look_up(number)
    assert order["completed_at"] is None
    assert order["estimated_completion"] is not None

    await display.done(number, "bump", "cooking")
    assert await kitchen.history(number) == [
        ("received", "order-service"),
        *[(status, STATION) for status in ("cooking", "ready", "cooking", "ready")],
    ]
    assert await kitchen.cooked_by(STATION) == 1
    assert await notes(kitchen, number) == [None, None, None, "recalled", None]


async def test_of_many_hands_on_one_ticket_one_has_it(
    kitchen: Kitchen, display: Display, screen: Screen
) -> None:
    """Of those who start an order at once, one does; the others are told who was faster."""
    number = await order_on_screen(kitchen, screen)

    answers = await asyncio.gather(*(display.tap(number, "start", "received") for _ in range(5)))

    assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409, 409]
    refused = next(answer for answer in answers if answer.status_code == 409).json()
    assert refused["current_status"] == "cooking"
    assert refused["detail"] == f"Somebody was faster: order {number} is cooking at {STATION}."
    assert await statuses(kitchen, number) == ["received", "cooking"]


async def test_a_tap_that_comes_twice_is_done_once(
    kitchen: Kitchen, display: Display, screen: Screen
) -> None:
    """The same key gets the same answer, at once or later, though it was undone in between."""
    number = await order_on_screen(kitchen, screen)
    key = {"Idempotency-Key": uuid4().hex}
    await display.done(number, "start", "received")

    answers = await asyncio.gather(
        *(display.tap(number, "bump", "cooking", **key) for _ in range(4))
    )
    await display.done(number, "recall", "ready")
    late = await display.tap(number, "bump", "cooking", **key)

    assert {answer.status_code for answer in (*answers, late)} == {200}
    assert late.json() == {"order_number": number, "status": "ready"}
    assert late.headers["Idempotency-Replayed"] == "true"
    assert await statuses(kitchen, number) == ["received", "cooking", "ready", "cooking"]


async def test_a_tap_is_about_the_ticket_as_it_was_seen(
    kitchen: Kitchen, display: Display, screen: Screen
) -> None:
    """A status may have been left and come back: what was meant for the first time is too late."""
    number = await order_on_screen(kitchen, screen)
    await display.done(number, "start", "received", as_of=screen.entries[number]["updated_at"])
    await screen.shows(**{number: "cooking"})
    seen = screen.entries[number]["updated_at"]
    await display.done(number, "bump", "cooking")
    await display.done(number, "recall", "ready", as_of=(await display.bumped())[number])

    late = await display.tap(number, "bump", "cooking", as_of=seen)

    assert late.status_code == 409
    assert late.json()["current_status"] == "cooking"
    assert await kitchen.status(number) == "cooking"


async def test_a_key_is_for_one_tap(kitchen: Kitchen, display: Display, screen: Screen) -> None:
    """A key that was used for something else is refused; one of an order is another's."""
    number = await order_on_screen(kitchen, screen)
    await display.done(number, "start", "received", **{"Idempotency-Key": "k"})

    key = {"Idempotency-Key": "k"}
    others = [
        await display.tap(number, "bump", "cooking", **key),
        await display.tap(number, "start", "received", station="fryer", **key),
    ]

    assert [other.status_code for other in others] == [422, 422]
    assert await kitchen.status(number) == "cooking"


async def test_a_tap_that_was_too_late_has_not_used_its_key(
    kitchen: Kitchen, display: Display, screen: Screen
) -> None:
    """What had no effect may be asked for again."""
    number = await order_on_screen(kitchen, screen)
    key = {"Idempotency-Key": "k"}

    too_early = await display.tap(number, "bump", "cooking", **key)
    await display.done(number, "start", "received")
    again = await display.tap(number, "bump", "cooking", **key)

    assert (too_early.status_code, again.status_code) == (409, 200)


async def test_a_rushed_ticket_says_so(kitchen: Kitchen, display: Display, screen: Screen) -> None:
    """Every screen learns what is to be cooked first; what is done cannot be rushed."""
    number = await order_on_screen(kitchen, screen)

    await display.done(number, "rush", "received")
    await screen.when(
        lambda: screen.entries[number]["rushed_at"] is not None, doing="for it to be first"
    )

    await display.done(number, "start", "received")
    late = await display.tap(number, "rush", "received")
    assert late.status_code == 409


async def test_only_the_station_that_has_an_order_can_bump_it_or_take_it_back(
    kitchen: Kitchen, display: Display, screen: Screen
) -> None:
    """Another station's tap on a ticket that is not its own is told whose it is."""
    number = await order_on_screen(kitchen, screen)
    await display.done(number, "start", "received")

    bump = await display.tap(number, "bump", "cooking", station="fryer")
    await display.done(number, "bump", "cooking")
    recall = await display.tap(number, "recall", "ready", station="fryer")

    assert (bump.status_code, recall.status_code) == (409, 409)
    assert bump.json()["detail"].endswith(f"is cooking at {STATION}.")
    assert recall.json()["processed_by"] == STATION
    assert await statuses(kitchen, number) == ["received", "cooking", "ready"]


async def test_what_nobody_was_credited_with_can_be_taken_back(
    kitchen: Kitchen, display: Display
) -> None:
    """A station that was opened only after its first taps does not owe orders to the count."""
    number = await kitchen.order()
    await display.done(number, "start", "received")
    await display.done(number, "bump", "cooking")
    async with display.screen():
        await display.done(number, "recall", "ready")

    assert await kitchen.cooked_by(STATION) == 0


@pytest.mark.parametrize(
    ("action", "body", "field"),
    [
        ("start", b'{"expected": "cooking"}', "expected"),
        ("start", b'{"expected": "raw"}', "expected"),
        ("start", b"{}", "expected"),
        ("eat", b'{"expected": "received"}', "action"),
    ],
)
async def test_a_tap_that_makes_no_sense_is_refused(
    display: Display, kitchen: Kitchen, action: str, body: bytes, field: str
) -> None:
    """What is wrong is named, and nothing is done."""
    number = await kitchen.order()

    answer = await display.client.post(
        f"/kitchen/stations/{STATION}/tickets/{number}/{action}", content=body, headers=JSON
    )

    assert answer.status_code == 400
    assert [fault["field"] for fault in answer.json()["errors"]] == [field]
    assert await kitchen.status(number) == "received"


async def test_an_order_that_is_none(display: Display) -> None:
    """A tap on an unknown order is answered with 404, whatever its key."""
    for number in ("ORD_20241216_404", "nonsense"):
        answer = await display.tap(number, "start", "received", **{"Idempotency-Key": "k"})

        assert answer.status_code == 404


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("%00", {}),
        ("a%C2%9Bb", {}),
        ("a%E2%80%AEb", {}),
        ("a", {"order_types": ["soup"]}),
        ("a", {"order_types": []}),
        ("a", {"types": ["takeout"]}),
    ],
)
async def test_a_station_that_is_none(display: Display, name: str, body: dict[str, object]) -> None:
    """A name or a type that cannot be is refused before anything is opened."""
    answer = await display.client.post(f"/kitchen/stations/{name}", json=body)

    assert answer.status_code == 400
    assert len(answer.json()["errors"]) == 1


async def test_fifty_can_be_recalled(kitchen: Kitchen, display: Display) -> None:
    """A station remembers the last 50 that it bumped, the latest first."""
    numbers = [await kitchen.order() for _ in range(tickets.RECALLABLE + 2)]
    for number in numbers:
        await display.done(number, "start", "received")
        await display.done(number, "bump", "cooking")

    assert list(await display.bumped()) == numbers[:1:-1]


async def test_orders_and_taps_share_no_keys(
    kitchen: Kitchen, display: Display, screen: Screen
) -> None:
    """A guest's key and a cook's may be the same, and mean two things."""
    number = await order_on_screen(kitchen, screen)
    await display.done(number, "start", "received", **{"Idempotency-Key": "k"})

    async with kitchen.database.connection() as connection:
        keys = await connection.fetch("SELECT key FROM idempotency_keys")

    assert [row["key"] for row in keys] == ["tap/k"]
