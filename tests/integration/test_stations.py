import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import uuid4

import httpx
import pytest

from restaurant_system.database import workers
from restaurant_system.errors import BrokerUnavailable
from restaurant_system.messaging import topology
from restaurant_system.messaging.broker import Broker
from restaurant_system.models.order import OrderType
from restaurant_system.services.display import stations
from tests.support.broker_connections import BrokerConnections
from tests.support.display import STATION, Display, running_display
from tests.support.kitchen import Kitchen, first_delivery, make_order_received, settings
from tests.support.messages import TAKEOUT
from tests.support.orders import make_item
from tests.support.waiting import eventually

EXPENSIVE = [make_item(price=99, quantity=2)]


@pytest.fixture
async def display(
    kitchen: Kitchen, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Display]:
    """Run a display whose stations hold two tickets and close a second after the last screen."""
    monkeypatch.setattr(stations, "OPENING_WAIT", 0.1)
    async with running_display(
        kitchen.database, broker, kitchen.relay, capacity=2, station_timeout=1
    ) as display:
        yield display


async def test_station_holds_up_to_its_capacity_and_takes_the_most_urgent_next(
    kitchen: Kitchen, display: Display, broker: Broker
) -> None:
    first, second = await kitchen.order(), await kitchen.order()
    async with display.screen() as screen:
        await screen.shows(first, second)
        cheap, expensive = await kitchen.order(), await kitchen.order(items=EXPENSIVE)
        await eventually(lambda: _are_queued(broker, 2), doing="for two to wait in the queue")
        margheritas = [{"name": "Margherita", "modifiers": [], "quantity": 3}]
        await screen.wait_until(
            lambda: screen.entries["station"]["waiting"]["items"] == margheritas,
            doing="for two orders to be counted as waiting",
        )
        assert screen.entries["station"]["waiting"]["count"] == 2

        await display.perform(first, "start", "received")
        await display.perform(first, "bump", "cooking")
        await screen.shows(second, expensive, **{first: "ready"})

        await display.perform(second, "start", "received")
        await display.perform(second, "bump", "cooking")
        await screen.wait_until(lambda: cheap in screen.tickets, doing="for the last one to come")
        await screen.wait_until(
            lambda: screen.entries["station"]["waiting"]["count"] == 0, doing="for none to wait"
        )


async def test_station_takes_only_the_order_types_it_was_opened_for(
    kitchen: Kitchen, display: Display
) -> None:
    await kitchen.order("takeout")
    async with display.screen(order_types=["dine_in"]) as screen:
        number = await kitchen.order("dine_in")

        await screen.shows(number)
        assert screen.entries["station"]["order_types"] == ["dine_in"]
        assert screen.entries[number]["table_number"] == 4


async def test_two_screens_of_a_station_show_the_same(kitchen: Kitchen, display: Display) -> None:
    number = await kitchen.order()
    async with display.screen() as screen, display.screen() as other:
        await other.shows(number)
        await display.perform(number, "start", "received")

        await screen.shows(**{number: "cooking"})
        await other.shows(**{number: "cooking"})


async def test_cancelled_ticket_stays_until_it_is_acknowledged(
    kitchen: Kitchen, display: Display
) -> None:
    """An order that was cancelled before it was shown gets no ticket."""
    started, waiting = await kitchen.order(), await kitchen.order()
    unseen = await kitchen.order()
    async with display.screen() as screen:
        await screen.shows(started, waiting)
        await display.perform(started, "start", "received")
        for number in (started, waiting, unseen):
            await kitchen.cancel(number)

        await screen.shows(**{started: "cancelled", waiting: "cancelled"})
        for number in (started, waiting):
            assert screen.entries[number]["cancel_reason"] == "the customer left"

        await display.perform(started, "acknowledge", "cancelled")
        await display.perform(waiting, "acknowledge", "cancelled")
        await screen.shows()


async def test_ready_order_that_is_cancelled_is_shown_again_until_it_is_acknowledged(
    kitchen: Kitchen, display: Display
) -> None:
    number = await kitchen.order()
    async with display.screen() as screen:
        await screen.shows(number)
        await display.perform(number, "start", "received")
        await display.perform(number, "bump", "cooking")
        async with kitchen.database.connection() as connection:
            await connection.execute("UPDATE station_tickets SET bumped_at = now() - interval '1h'")
        await screen.shows()

        await kitchen.cancel(number)

        await screen.shows(**{number: "cancelled"})
        assert await display.bumped() == {}
        await display.perform(number, "acknowledge", "cancelled")
        await screen.shows()


async def test_station_without_a_screen_releases_its_orders_to_other_workers(
    kitchen: Kitchen, display: Display, other_broker: Broker
) -> None:
    """A simulated cook finishes the received and the started orders of a closed station."""
    started, waiting = await kitchen.order(), await kitchen.order()
    async with display.screen() as screen:
        await screen.shows(started, waiting)
        await display.perform(started, "start", "received")

    async with kitchen.running_worker(other_broker, "mario"):
        await kitchen.wait_for(waiting, "ready")
        await kitchen.wait_for(started, "ready")

    assert await kitchen.history(started) == [
        ("received", "order-service"),
        ("cooking", STATION),
        ("ready", "mario"),
    ]


async def test_screen_reopened_in_time_shows_the_same_tickets(
    kitchen: Kitchen, display: Display
) -> None:
    started, waiting = await kitchen.order(), await kitchen.order()
    async with display.screen() as screen:
        await screen.shows(started, waiting)
        await display.perform(started, "start", "received")

    async with display.screen() as screen:
        await screen.shows(waiting, **{started: "cooking"})


async def test_restarted_station_shows_the_orders_it_had_started(
    kitchen: Kitchen, broker: Broker, display: Display
) -> None:
    started, recalled = await kitchen.order(), await kitchen.order()
    async with display.screen() as screen:
        await screen.shows(started, recalled)
        await display.perform(started, "start", "received")
        await display.perform(recalled, "start", "received")
        await display.perform(recalled, "bump", "cooking")
        await display.perform(recalled, "recall", "ready")
        display.shutdown.request_stop()
        await eventually(lambda: _is_offline(kitchen), doing="for the station to be offline")

    async with (
        running_display(kitchen.database, broker, kitchen.relay) as again,
        again.screen() as screen,
    ):
        await screen.shows(**{started: "cooking", recalled: "cooking"})


async def test_station_takes_over_an_order_of_an_offline_worker(
    kitchen: Kitchen, display: Display
) -> None:
    number = await kitchen.order()
    await kitchen.start_order(number, "mario")

    async with display.screen() as screen:
        await screen.shows(**{number: "cooking"})
        await display.perform(number, "bump", "cooking")

    assert await kitchen.orders_processed(STATION) == 1


async def test_tickets_stay_while_the_broker_connection_is_lost(
    kitchen: Kitchen, display: Display, broker_connections: BrokerConnections
) -> None:
    """Once the connection is back, no ticket is shown twice."""
    started, waiting = await kitchen.order(), await kitchen.order()
    async with display.screen() as screen:
        await screen.shows(started, waiting)
        await display.perform(started, "start", "received")
        await broker_connections.cut()

        for number, action, expected in (
            (started, "bump", "cooking"),
            (waiting, "start", "received"),
            (waiting, "bump", "cooking"),
        ):
            await eventually(
                lambda: _is_done(display, number, action, expected),  # noqa: B023 - awaited at once
                doing=f"for {action} to be done",
            )
        third, fourth = await kitchen.order(), await kitchen.order()
        await screen.wait_until(
            lambda: {third, fourth} <= screen.tickets.keys(), doing="for new orders to come"
        )

    for number in (started, waiting):
        statuses = [status for status, _ in await kitchen.history(number)]
        assert statuses == ["received", "cooking", "ready"]


async def test_station_dead_letters_invalid_messages(
    display: Display, broker: Broker, other_broker: Broker, kitchen: Kitchen
) -> None:
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


async def test_station_with_a_taken_name_is_refused_and_opens_once_it_is_free(
    kitchen: Kitchen, display: Display, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stations, "NAME_TAKEN_RETRY_DELAY", 0.5)
    number = await kitchen.order()
    await kitchen.register_worker(STATION)
    async with display.screen() as screen:
        assert screen.entries["station"]["state"] == "refused"

        await kitchen.mark_offline(STATION)
        await screen.shows(number)
        assert screen.entries["station"]["state"] == "open"


async def test_order_whose_message_is_lost_is_shown_again_by_a_reopened_station(
    kitchen: Kitchen, display: Display, broker: Broker
) -> None:
    number = await kitchen.order()
    async with display.screen() as screen:
        await screen.shows(number)
        display.shutdown.request_stop()
        await eventually(lambda: _is_offline(kitchen), doing="for the station to be offline")
    if (await broker.depths())[TAKEOUT]:  # else the station had claimed the order before it came
        async with first_delivery(broker, TAKEOUT) as delivery:
            await delivery.ack()  # as a broker does that loses its disk

    async with (
        running_display(kitchen.database, broker, kitchen.relay) as again,
        again.screen() as screen,
    ):
        await screen.shows(number)


async def test_get_request_opens_no_station(
    kitchen: Kitchen, display: Display, broker: Broker
) -> None:
    """A GET request registers no worker and takes no order."""
    number = await kitchen.order()

    answer = await display.client.get("/kitchen/stations/grill/live")

    assert answer.status_code == 409
    assert "POST" in answer.json()["detail"]
    assert (await display.client.get("/kitchen/stations")).json() == []
    async with kitchen.database.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM workers") == 0
    async with kitchen.running_worker(broker):
        await kitchen.wait_for(number, "ready")


async def test_live_view_requested_before_its_station_is_open_starts_once_it_is(
    display: Display, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A screen sends both requests at once, and either may arrive first."""
    monkeypatch.setattr(stations, "OPENING_WAIT", 30)
    bar, grill = (
        asyncio.create_task(display.client.send(request, stream=True))
        for request in (
            display.client.build_request("GET", f"/kitchen/stations/{name}/live")
            for name in ("bar", "grill")
        )
    )
    await asyncio.sleep(0.1)
    assert not bar.done()

    for name in ("grill", "bar"):
        await display.client.post(f"/kitchen/stations/{name}", json={})

    for response in (await bar, await grill):
        assert response.headers["content-type"].startswith("text/event-stream")
        await response.aclose()


async def test_stations_are_listed_with_their_states_and_types(
    kitchen: Kitchen, display: Display, broker: Broker
) -> None:
    """Simulated cooks are not listed. A station of another process cannot be opened here."""
    number = await kitchen.order()
    async with kitchen.running_worker(broker, name="mario"):
        await kitchen.wait_for(number, "ready")
    async with kitchen.database.connection() as connection:
        for name in ("bar", "fryer"):
            types, session = (OrderType.TAKEOUT,), uuid4()
            assert await workers.register(
                connection, name, types, timedelta(minutes=1), session, is_station=True
            )
        await workers.deregister(connection, name, session)
    async with display.screen("grill"):
        listed = (await display.client.get("/kitchen/stations")).json()

    assert [(each["name"], each["state"], each["order_types"]) for each in listed] == [
        ("bar", "in_use", ["takeout"]),
        ("fryer", "closed", ["takeout"]),
        ("grill", "open", ["dine_in", "takeout", "delivery"]),
    ]
    assert all(each["last_seen"].endswith("Z") for each in listed)


OTHER_ORIGINS = [
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},  # another port
    {"Origin": "https://elsewhere.example"},
    {"Origin": "null"},
    {"Origin": "http://["},
    {"Origin": "http://a]:3001"},
]


async def test_page_of_another_origin_opens_no_station(display: Display) -> None:
    """The request is refused by its Fetch Metadata headers or, without them, by its origin."""
    address = "/kitchen/stations/grill"
    for headers in OTHER_ORIGINS:
        answer = await display.client.post(address, json={}, headers=headers)

        assert answer.status_code == 403, headers
        assert (await display.client.get(f"{address}/live")).status_code == 409, headers


async def test_page_of_the_same_origin_opens_a_station(display: Display) -> None:
    address = str(display.client.base_url).rstrip("/")

    answer = await display.client.post(
        "/kitchen/stations/grill", json={}, headers={"Origin": address}
    )

    assert answer.status_code == 200
    assert answer.json() == {"station": "grill", "live": "/kitchen/stations/grill/live"}


async def test_client_may_open_a_limited_number_of_stations(
    kitchen: Kitchen, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own unwatched station is closed for another one; stations of other clients are not."""
    monkeypatch.setattr(stations, "REPLACEABLE_AFTER", 0.2)
    async with (
        running_display(kitchen.database, broker, kitchen.relay, stations_per_address=2) as display,
        httpx.AsyncClient(
            base_url=display.client.base_url,
            transport=httpx.AsyncHTTPTransport(local_address="127.0.0.2"),
        ) as client,
    ):

        async def open_station(name: str) -> httpx.Response:
            return await client.post(f"/kitchen/stations/{name}", json={})

        async def is_open(name: str) -> bool:
            async with client.stream("GET", f"/kitchen/stations/{name}/live") as response:
                return response.status_code == 200

        await display.open("bar")
        for name in ("bar", "grill", "fryer"):
            assert (await open_station(name)).status_code == 200
        refused = await open_station("oven")
        await display.open("salads")

        await asyncio.sleep(0.3)
        assert (await open_station("oven")).status_code == 200
        names = ("bar", "salads", "grill", "fryer", "oven")
        open_stations = {name for name in names if await is_open(name)}

    assert refused.status_code == 409
    assert "kitchen_display.stations_per_address allows (2)" in refused.json()["detail"]
    assert open_stations == {"bar", "salads", "fryer", "oven"}


async def test_station_without_a_screen_is_closed_when_the_limit_is_reached(
    kitchen: Kitchen, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A station with a screen stays open."""
    monkeypatch.setattr(stations, "REPLACEABLE_AFTER", 0.2)
    async with running_display(kitchen.database, broker, kitchen.relay, stations=2) as display:
        await display.open("unwatched")
        async with display.screen("grill"):
            await asyncio.sleep(0.3)
            async with display.screen("fryer"):
                refused = await display.client.post("/kitchen/stations/bar", json={})
                unwatched = await display.client.get("/kitchen/stations/unwatched/live")

    assert refused.status_code == 409
    assert "kitchen_display.stations allows (2)" in refused.json()["detail"]
    assert unwatched.status_code == 409


async def test_station_shows_that_it_is_cut_off_from_the_broker(
    kitchen: Kitchen,
    display: Display,
    broker: Broker,
    broker_connections: BrokerConnections,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def refuse() -> None:
        raise BrokerUnavailable("The broker does not answer.")

    number = await kitchen.order()
    async with display.screen() as screen:
        await screen.shows(number)  # the broker connection is open
        monkeypatch.setattr(broker, "connect", refuse)
        await broker_connections.cut()
        await screen.wait_until(
            lambda: screen.entries["station"]["state"] == "cut_off",
            doing="for the station to be cut off",
        )

        monkeypatch.undo()
        await screen.wait_until(
            lambda: screen.entries["station"]["state"] == "open",
            doing="for the station to be connected",
        )


async def test_released_order_is_cooked_by_another_worker(
    kitchen: Kitchen, display: Display, other_broker: Broker
) -> None:
    number = await kitchen.order()
    async with display.screen() as screen:
        await screen.shows(number)

    async with kitchen.running_worker(other_broker, "mario"):
        await kitchen.wait_for(number, "ready")

    assert await kitchen.history(number) == [
        ("received", "order-service"),
        ("cooking", "mario"),
        ("ready", "mario"),
    ]


async def test_station_and_simulated_cook_share_a_queue(
    kitchen: Kitchen, display: Display, other_broker: Broker
) -> None:
    held = [await kitchen.order(), await kitchen.order()]
    async with display.screen() as screen:
        await screen.shows(*held)
        async with kitchen.running_worker(other_broker, "mario", kitchen=settings()):
            await kitchen.cook_another()

        assert screen.tickets == dict.fromkeys(held, "received")


async def _are_queued(broker: Broker, orders: int) -> bool:
    return sum((await broker.depths()).values()) == orders


async def _is_offline(kitchen: Kitchen) -> bool:
    async with kitchen.database.connection() as connection:
        status = await connection.fetchval("SELECT status FROM workers WHERE name = $1", STATION)
    return bool(status == "offline")


async def _is_done(display: Display, number: str, action: str, expected: str) -> bool:
    answer = await display.tap(number, action, expected)
    await asyncio.sleep(0)
    return answer.status_code == 200
