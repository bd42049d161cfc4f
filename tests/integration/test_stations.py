"""Stations of the kitchen display: what is on a screen, and whose it is. On either broker."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from restaurant_system.errors import BrokerUnavailable
from restaurant_system.messaging import topology
from restaurant_system.messaging.broker import Broker
from restaurant_system.services.display import rail, stations
from tests.support.broker_connections import BrokerConnections
from tests.support.display import STATION, Display, displayed
from tests.support.kitchen import Kitchen, first_of, make_order_received, settings
from tests.support.orders import make_item
from tests.support.waiting import eventually

DEAR = [make_item(price=99, quantity=2)]


@pytest.fixture
async def display(kitchen: Kitchen, broker: Broker) -> AsyncIterator[Display]:
    """Open a kitchen display whose stations hold two tickets, and wait a second for a screen."""
    async with displayed(kitchen.database, broker, kitchen.relay, capacity=2, absence=1) as display:
        yield display


async def test_a_screen_is_filled_with_the_most_urgent_and_the_rest_waits(
    kitchen: Kitchen, display: Display, broker: Broker
) -> None:
    """A station holds as many tickets as it may, and takes the next when one is gone."""
    first, second = await kitchen.order(), await kitchen.order()
    async with display.screen() as screen:
        await screen.shows(first, second)
        cheap, dear = await kitchen.order(), await kitchen.order(items=DEAR)
        await eventually(lambda: _wait_in_line(broker, 2), doing="for two to wait in the queue")

        await display.done(first, "start", "received")
        await display.done(first, "bump", "cooking")
        await screen.shows(second, dear, **{first: "ready"})

        await display.done(second, "start", "received")
        await display.done(second, "bump", "cooking")
        await screen.when(lambda: cheap in screen.tickets, doing="for the last one to come")


async def test_a_station_takes_what_its_first_screen_asked_for(
    kitchen: Kitchen, display: Display
) -> None:
    """A station for one type of order leaves the others to others."""
    await kitchen.order("takeout")
    async with display.screen(order_types=["dine_in"]) as screen:
        number = await kitchen.order("dine_in")

        await screen.shows(number)
        assert screen.entries["station"]["order_types"] == ["dine_in"]
        assert screen.entries[number]["table_number"] == 4


async def test_two_screens_of_a_station_show_the_same(kitchen: Kitchen, display: Display) -> None:
    """What is tapped on one screen is seen on the other."""
    number = await kitchen.order()
    async with display.screen() as screen, display.screen() as other:
        await other.shows(number)
        await display.done(number, "start", "received")

        await screen.shows(**{number: "cooking"})
        await other.shows(**{number: "cooking"})


async def test_a_cancelled_order_stays_until_it_is_seen(kitchen: Kitchen, display: Display) -> None:
    """Nobody goes on cooking because a ticket has vanished; one that was never shown is not."""
    begun, waiting = await kitchen.order(), await kitchen.order()
    unseen = await kitchen.order()
    async with display.screen() as screen:
        await screen.shows(begun, waiting)
        await display.done(begun, "start", "received")
        for number in (begun, waiting, unseen):
            await kitchen.cancel(number)

        await screen.shows(**{begun: "cancelled", waiting: "cancelled"})

        await display.done(begun, "acknowledge", "cancelled")
        await display.done(waiting, "acknowledge", "cancelled")
        await screen.shows()


async def test_what_is_tapped_by_nobody_goes_to_others_when_a_station_is_left(
    kitchen: Kitchen, display: Display, other_broker: Broker
) -> None:
    """A station that no screen shows gives its tickets back: the started ones too."""
    begun, waiting = await kitchen.order(), await kitchen.order()
    async with display.screen() as screen:
        await screen.shows(begun, waiting)
        await display.done(begun, "start", "received")

    async with kitchen.on_duty(other_broker, "mario"):
        await kitchen.wait_for(waiting, "ready")
        await kitchen.wait_for(begun, "ready")

    assert await kitchen.history(begun) == [
        ("received", "order-service"),
        ("cooking", STATION),
        ("ready", "mario"),
    ]


async def test_a_screen_that_is_back_in_time_finds_everything(
    kitchen: Kitchen, display: Display
) -> None:
    """A reload, or a faulty network, takes nothing away."""
    begun, waiting = await kitchen.order(), await kitchen.order()
    async with display.screen() as screen:
        await screen.shows(begun, waiting)
        await display.done(begun, "start", "received")

    async with display.screen() as screen:
        await screen.shows(waiting, **{begun: "cooking"})


async def test_a_station_that_comes_back_has_what_it_had_begun(
    kitchen: Kitchen, broker: Broker, display: Display
) -> None:
    """What was started on a screen is on it again after the process has ended."""
    begun, recalled = await kitchen.order(), await kitchen.order()
    async with display.screen() as screen:
        await screen.shows(begun, recalled)
        await display.done(begun, "start", "received")
        await display.done(recalled, "start", "received")
        await display.done(recalled, "bump", "cooking")
        await display.done(recalled, "recall", "ready")
        display.shutdown.request_stop()
        await eventually(lambda: _is_offline(kitchen), doing="for the station to sign off")

    async with (
        displayed(kitchen.database, broker, kitchen.relay) as again,
        again.screen() as screen,
    ):
        await screen.shows(**{begun: "cooking", recalled: "cooking"})


async def test_what_somebody_began_who_is_gone_can_be_finished(
    kitchen: Kitchen, display: Display
) -> None:
    """A ticket that somebody had begun is on the screen, begun, once his lease has run out."""
    number = await kitchen.order()
    await kitchen.begin(number, "mario")

    async with display.screen() as screen:
        await screen.shows(**{number: "cooking"})
        await display.done(number, "bump", "cooking")

    assert await kitchen.cooked_by(STATION) == 1


async def test_tickets_stay_through_a_broken_line(
    kitchen: Kitchen, display: Display, broker_connections: BrokerConnections
) -> None:
    """With the line to the broker cut, nothing vanishes, and afterwards nothing is there twice."""
    begun, waiting = await kitchen.order(), await kitchen.order()
    async with display.screen() as screen:
        await screen.shows(begun, waiting)
        await display.done(begun, "start", "received")
        await broker_connections.cut()

        for number, action, expected in (
            (begun, "bump", "cooking"),
            (waiting, "start", "received"),
            (waiting, "bump", "cooking"),
        ):
            await eventually(
                lambda: _is_done(display, number, action, expected),  # noqa: B023 - awaited at once
                doing=f"for {action} to be done",
            )
        third, fourth = await kitchen.order(), await kitchen.order()
        await screen.when(
            lambda: {third, fourth} <= screen.tickets.keys(), doing="for new orders to come"
        )

    for number in (begun, waiting):
        statuses = [status for status, _ in await kitchen.history(number)]
        assert statuses == ["received", "cooking", "ready"]


async def test_what_can_never_be_cooked_is_put_aside(
    display: Display, broker: Broker, other_broker: Broker, kitchen: Kitchen
) -> None:
    """A message about no order is a dead letter, and the station goes on."""
    await other_broker.publish(
        [
            make_order_received("ORD_20241216_404"),
            make_order_received("ORD_20241216_001", body=b"{"),
        ]
    )
    async with display.screen() as screen:
        number = await kitchen.order()
        await screen.shows(number)

        async def are_there() -> bool:
            return (await broker.depths())[topology.DEAD_LETTERS.name] == 2

        await eventually(are_there, doing="for two dead letters")


async def test_a_name_that_is_on_duty_elsewhere_is_told_and_tried_again(
    kitchen: Kitchen, display: Display
) -> None:
    """A screen says that its station is open elsewhere, and opens it once it is not."""
    number = await kitchen.order()
    await kitchen.enter(STATION)
    async with display.screen() as screen:
        assert screen.entries["station"]["state"] == "refused"

        await kitchen.dismiss(STATION)
        await screen.shows(number)
        assert screen.entries["station"]["state"] == "open"


async def test_a_held_order_whose_message_is_lost_is_not_held_for_ever(
    kitchen: Kitchen, display: Display, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A station that is opened again without a ticket does not keep it from being sent again."""
    monkeypatch.setattr(rail, "UNASSIGN_AFTER", timedelta(seconds=1))
    number = await kitchen.order()
    async with display.screen() as screen:
        await screen.shows(number)
        display.shutdown.request_stop()
        await eventually(lambda: _is_offline(kitchen), doing="for the station to sign off")
    async with first_of(broker, "kitchen_takeout_queue") as delivery:
        await delivery.ack()  # as a broker does that loses its disk

    async with displayed(kitchen.database, broker, kitchen.relay) as again, again.screen():
        await eventually(lambda: _is_held_by_nobody(kitchen), doing="for the ticket to be let go")


async def test_get_request_opens_no_station(
    kitchen: Kitchen, display: Display, broker: Broker
) -> None:
    """What is no person's request registers no worker and takes no order."""
    number = await kitchen.order()

    answer = await display.client.get("/kitchen/stations/grill/live")

    assert answer.status_code == 409
    assert "POST" in answer.json()["detail"]
    async with kitchen.database.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM workers") == 0
    async with kitchen.on_duty(broker):
        await kitchen.wait_for(number, "ready")


OTHER_ORIGINS = {
    "another site": {"Sec-Fetch-Site": "cross-site"},
    "another port": {"Sec-Fetch-Site": "same-site"},
    "an origin": {"Origin": "https://elsewhere.example"},
    "no origin": {"Origin": "null"},
    "a malformed origin": {"Origin": "http://["},
    "a malformed host": {"Origin": "http://a]:3001"},
}


@pytest.mark.parametrize("headers", OTHER_ORIGINS.values(), ids=OTHER_ORIGINS.keys())
async def test_page_of_another_origin_opens_no_station(
    display: Display, headers: dict[str, str]
) -> None:
    """It is refused by Fetch Metadata or, from browsers that send none, by the origin."""
    address = "/kitchen/stations/grill"

    answer = await display.client.post(address, json={}, headers=headers)

    assert answer.status_code == 403
    assert (await display.client.get(f"{address}/live")).status_code == 409


async def test_page_of_the_same_origin_opens_a_station(display: Display) -> None:
    """Its origin is the host that the request is for."""
    address = str(display.client.base_url).rstrip("/")

    answer = await display.client.post(
        "/kitchen/stations/grill", json={}, headers={"Origin": address}
    )

    assert answer.status_code == 200
    assert answer.json() == {"station": "grill", "live": "/kitchen/stations/grill/live"}


async def test_station_with_a_screen_keeps_its_place_and_a_deserted_one_gives_way(
    kitchen: Kitchen, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many are open as are allowed; nobody is shut out by names that no screen shows."""
    monkeypatch.setattr(stations, "REPLACEABLE_AFTER", 0.2)
    async with displayed(kitchen.database, broker, kitchen.relay, stations=2) as display:
        await display.open("deserted")
        async with display.screen("grill"):
            await asyncio.sleep(0.3)
            async with display.screen("fryer"):
                refused = await display.client.post("/kitchen/stations/bar", json={})
                deserted = await display.client.get("/kitchen/stations/deserted/live")

    assert refused.status_code == 409
    assert "kitchen_display.stations allows (2)" in refused.json()["detail"]
    assert deserted.status_code == 409


async def test_a_station_that_gets_no_orders_says_so(
    kitchen: Kitchen,
    display: Display,
    broker: Broker,
    broker_connections: BrokerConnections,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With the broker away a screen is true, and says that nothing new can come."""

    async def refuse() -> None:
        raise BrokerUnavailable("The broker does not answer.")

    number = await kitchen.order()
    async with display.screen() as screen:
        await screen.shows(number)  # by a line that is open
        monkeypatch.setattr(broker, "connect", refuse)
        await broker_connections.cut()
        await screen.when(
            lambda: screen.entries["station"]["state"] == "cut_off", doing="for it to be said"
        )

        monkeypatch.undo()
        await screen.when(
            lambda: screen.entries["station"]["state"] == "open", doing="for it to be over"
        )


async def test_a_waiting_ticket_is_given_back_unhandled(
    kitchen: Kitchen, display: Display, other_broker: Broker
) -> None:
    """A message that a station gives back is at its old place, and counts as not tried."""
    number = await kitchen.order()
    async with display.screen() as screen:
        await screen.shows(number)

    async with first_of(other_broker, "kitchen_takeout_queue") as delivery:
        assert delivery.attempt == 1
        assert number in delivery.message.body.decode()
        await delivery.requeue()


async def test_a_simulated_cook_beside_a_station_shares_the_queue(
    kitchen: Kitchen, display: Display, other_broker: Broker
) -> None:
    """Orders go to whoever has a free hand; none is at both."""
    held = [await kitchen.order(), await kitchen.order()]
    async with display.screen() as screen:
        await screen.shows(*held)
        async with kitchen.on_duty(other_broker, "mario", kitchen=settings()):
            await kitchen.serve_another()

        assert screen.tickets == dict.fromkeys(held, "received")


async def _wait_in_line(broker: Broker, orders: int) -> bool:
    return sum((await broker.depths()).values()) == orders


async def _is_offline(kitchen: Kitchen) -> bool:
    async with kitchen.database.connection() as connection:
        status = await connection.fetchval("SELECT status FROM workers WHERE name = $1", STATION)
    return bool(status == "offline")


async def _is_held_by_nobody(kitchen: Kitchen) -> bool:
    async with kitchen.database.connection() as connection:
        return not await connection.fetchval("SELECT count(*) FROM station_tickets")


async def _is_done(display: Display, number: str, action: str, expected: str) -> bool:
    answer = await display.tap(number, action, expected)
    await asyncio.sleep(0)
    return answer.status_code == 200
