import asyncio

import httpx
import pytest

from restaurant_system.database import personal_data, tickets
from restaurant_system.errors import NotReady
from restaurant_system.messaging.broker import Broker
from restaurant_system.messaging.postgres import PostgresBroker
from restaurant_system.models.clock import rfc_3339, utc_now
from restaurant_system.models.order import MoveOfReadyOrder
from restaurant_system.services.order.ready_orders import ActOnReadyOrder, ReadyAction
from tests.support.database import execute
from tests.support.deployments import JSON
from tests.support.display import STATION, Display, Screen
from tests.support.kitchen import Kitchen
from tests.support.orders import make_item
from tests.support.responses import assert_problem
from tests.support.services import make_ready_orders

KEY = {"Idempotency-Key": "one-tap-of-the-cook"}


@pytest.fixture
def broker(postgres_broker: PostgresBroker) -> Broker:
    """Use the broker in PostgreSQL: taps do not depend on the broker."""
    return postgres_broker


async def order_on_screen(kitchen: Kitchen, screen: Screen, *, items: int = 1) -> str:
    """Place an order, and wait until it is on the screen."""
    number = await kitchen.order(items=[make_item()] * items)
    await screen.wait_until(lambda: number in screen.tickets, doing="for a ticket")
    return number


async def statuses(kitchen: Kitchen, number: str) -> list[str]:
    """Return the statuses that an order had."""
    return [status for status, _ in await kitchen.history(number)]


async def log_notes(kitchen: Kitchen, number: str) -> list[str | None]:
    """Return the note of each log row of an order."""
    query = """
        SELECT log.notes FROM order_status_log AS log JOIN orders ON orders.id = order_id
        WHERE number = $1 ORDER BY log.id
    """
    async with kitchen.database.connection() as connection:
        return [row["notes"] for row in await connection.fetch(query, number)]


async def test_order_is_started_bumped_and_recalled(
    kitchen: Kitchen, display: Display, screen: Screen
) -> None:
    """Each move is logged with its station; a recalled order counts once."""
    number = await order_on_screen(kitchen, screen)

    await display.perform(number, "start", "received")
    await screen.shows(**{number: "cooking"})
    await display.perform(number, "bump", "cooking")
    await screen.shows(**{number: "ready"})
    assert list(await display.bumped()) == [number]
    assert await kitchen.orders_processed(STATION) == 1

    await display.perform(number, "recall", "ready")
    await screen.shows(**{number: "cooking"})
    assert await display.bumped() == {}
    assert await kitchen.orders_processed(STATION) == 0
    order = await kitchen.get(number)
    assert order["completed_at"] is None
    assert order["estimated_completion"] is not None

    await display.perform(number, "bump", "cooking")
    assert await kitchen.history(number) == [
        ("received", "order-service"),
        *[(status, STATION) for status in ("cooking", "ready", "cooking", "ready")],
    ]
    assert await kitchen.orders_processed(STATION) == 1
    assert await log_notes(kitchen, number) == [None, None, None, "recalled", None]


async def test_order_that_staff_send_back_is_on_the_screen_of_its_station_until_that_is_undone(
    kitchen: Kitchen, display: Display, screen: Screen
) -> None:
    number = await order_on_screen(kitchen, screen)
    await display.perform(number, "start", "received")
    await display.perform(number, "bump", "cooking")
    await execute(kitchen.database, "UPDATE station_tickets SET bumped_at = '2020-01-01'")
    await screen.wait_until(lambda: number not in screen.tickets, doing="until it has left")
    ready = make_ready_orders(kitchen.database, kitchen.relay)

    async def perform(action: ReadyAction) -> None:
        act = ActOnReadyOrder(number=number, action=action, move=MoveOfReadyOrder(), request_id="r")
        await ready.perform(act, key=None)

    await perform(ReadyAction.SEND_BACK)
    await screen.shows(**{number: "cooking"})
    assert await kitchen.orders_processed(STATION) == 0
    await perform(ReadyAction.UNDO_SEND_BACK)
    await screen.shows(**{number: "ready"})
    assert list(await display.bumped()) == [number]
    await perform(ReadyAction.SEND_BACK)
    await display.perform(number, "bump", "cooking")
    assert await kitchen.orders_processed(STATION) == 1


async def test_order_that_was_handed_over_is_not_recalled_until_that_is_undone(
    kitchen: Kitchen, display: Display, screen: Screen
) -> None:
    """Of a hand-over and a recall at once, one is refused; the customer has the food, or waits."""
    numbers = [await order_on_screen(kitchen, screen) for _ in range(4)]
    ready = make_ready_orders(kitchen.database, kitchen.relay)

    async def perform(number: str, action: ReadyAction) -> None:
        act = ActOnReadyOrder(number=number, action=action, move=MoveOfReadyOrder(), request_id="r")
        await ready.perform(act, key=None)

    for number in numbers:
        await display.perform(number, "start", "received")
        await display.perform(number, "bump", "cooking")
    results = await asyncio.gather(
        *(perform(each, ReadyAction.HAND_OVER) for each in numbers),
        *(display.tap(each, "recall", "ready") for each in reversed(numbers)),
        return_exceptions=True,
    )

    for number, handed_over, recalled in zip(numbers, results, reversed(results), strict=False):
        assert isinstance(recalled, httpx.Response)
        if handed_over is not None:
            assert isinstance(handed_over, NotReady)
            assert recalled.status_code == 200
            await display.perform(number, "bump", "cooking")
            await perform(number, ReadyAction.HAND_OVER)
        as_of = rfc_3339((await kitchen.get(number))["updated_at"])
        refused = await display.tap(number, "recall", "ready", as_of=as_of)
        assert_problem(refused, 409)
        assert refused.json()["handed_over"] is True
        assert refused.json()["current_status"] == (await statuses(kitchen, number))[-1] == "ready"
    assert await display.bumped() == {}

    await perform(numbers[0], ReadyAction.UNDO_HAND_OVER)
    assert list(await display.bumped()) == [numbers[0]]
    await display.perform(numbers[0], "recall", "ready")
    await screen.wait_until(
        lambda: screen.tickets.get(numbers[0]) == "cooking", doing="for the recalled ticket"
    )


async def test_one_of_several_concurrent_taps_succeeds(
    kitchen: Kitchen, display: Display, screen: Screen
) -> None:
    """The later taps are refused with the order's status and station."""
    number = await order_on_screen(kitchen, screen)

    answers = await asyncio.gather(*(display.tap(number, "start", "received") for _ in range(5)))

    assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409, 409]
    refused = next(answer for answer in answers if answer.status_code == 409).json()
    assert refused["current_status"] == "cooking"
    assert (
        refused["detail"] == f"The ticket has changed: order {number} is now cooking at {STATION}."
    )
    await display.perform(number, "bump", "cooking")
    assert await statuses(kitchen, number) == ["received", "cooking", "ready"]


async def test_repeated_tap_takes_effect_once(
    kitchen: Kitchen, display: Display, screen: Screen
) -> None:
    """A repeated tap does not take effect again, even if its effect was undone."""
    number = await order_on_screen(kitchen, screen)
    await display.perform(number, "start", "received")

    answers = await asyncio.gather(
        *(display.tap(number, "bump", "cooking", **KEY) for _ in range(4))
    )
    await display.perform(number, "recall", "ready")
    late = await display.tap(number, "bump", "cooking", **KEY)

    assert {answer.status_code for answer in (*answers, late)} == {200}
    assert late.json() == {"order_number": number, "status": "ready"}
    assert late.headers["Idempotency-Replayed"] == "true"
    assert await statuses(kitchen, number) == ["received", "cooking", "ready", "cooking"]


async def test_repeated_tap_on_an_order_erased_meanwhile_gets_its_answer(
    kitchen: Kitchen, display: Display, screen: Screen
) -> None:
    number = await order_on_screen(kitchen, screen)
    await display.perform(number, "start", "received")
    await display.perform(number, "bump", "cooking", **KEY)
    async with kitchen.database.connection() as sql:
        await sql.execute("UPDATE orders SET status = 'completed'")
        (order,) = await personal_data.orders_by_number(sql, [number], at=utc_now())
        assert await personal_data.erase(sql, [order.id], at=utc_now(), exchange="") == [number]
        await personal_data.erase_fingerprints(sql, [order.id])

    late = await display.tap(number, "bump", "cooking", **KEY)

    assert (late.status_code, late.headers["Idempotency-Replayed"]) == (200, "true")


async def test_tap_on_an_outdated_ticket_is_refused(
    kitchen: Kitchen, display: Display, screen: Screen
) -> None:
    """A tap is refused even if the order has left and regained the expected status."""
    number = await order_on_screen(kitchen, screen)
    await display.perform(number, "start", "received", as_of=screen.entries[number]["updated_at"])
    await screen.shows(**{number: "cooking"})
    seen = screen.entries[number]["updated_at"]
    await display.perform(number, "bump", "cooking")
    await display.perform(number, "recall", "ready", as_of=(await display.bumped())[number])

    late = await display.tap(number, "bump", "cooking", as_of=seen)

    assert late.status_code == 409
    assert late.json()["current_status"] == "cooking"
    assert await kitchen.status(number) == "cooking"


async def test_key_used_for_another_tap_is_refused(
    kitchen: Kitchen, display: Display, screen: Screen
) -> None:
    number = await order_on_screen(kitchen, screen)
    await display.perform(number, "start", "received", **KEY)

    others = [
        await display.tap(number, "bump", "cooking", **KEY),
        await display.tap(number, "start", "received", station="fryer", **KEY),
    ]

    assert [other.status_code for other in others] == [422, 422]
    await screen.shows(**{number: "cooking"})


async def test_refused_tap_does_not_use_its_key(
    kitchen: Kitchen, display: Display, screen: Screen
) -> None:
    number = await order_on_screen(kitchen, screen)

    too_early = await display.tap(number, "bump", "cooking", **KEY)
    await display.perform(number, "start", "received")
    again = await display.tap(number, "bump", "cooking", **KEY)

    assert (too_early.status_code, again.status_code) == (409, 200)


async def test_rush_is_shown_and_refused_for_an_outdated_ticket(
    kitchen: Kitchen, display: Display, screen: Screen
) -> None:
    number = await order_on_screen(kitchen, screen)

    await display.perform(number, "rush", "received")
    await screen.wait_until(
        lambda: screen.entries[number]["rushed_at"] is not None, doing="for the ticket to be rushed"
    )

    await display.perform(number, "start", "received")
    late = await display.tap(number, "rush", "received")
    assert late.status_code == 409


async def test_scheduled_or_held_order_is_refused_until_it_is_released(
    kitchen: Kitchen, display: Display
) -> None:
    scheduled, held, waiting = [await kitchen.order() for _ in range(3)]
    async with kitchen.database.connection() as sql:
        await sql.execute("UPDATE orders SET released_at = NULL WHERE number = $1", scheduled)
        await sql.execute("UPDATE orders SET released_at = '2024-01-01' WHERE number = $1", held)

    for number, state in ((scheduled, "scheduled for later"), (held, "held since an earlier day")):
        for action in ("start", "rush"):
            answer = await display.tap(number, action, "received")

            assert answer.status_code == 409
            assert answer.json()["detail"].startswith(f"Order {number} is {state}: release it")
        assert await statuses(kitchen, number) == ["received"]
    await display.perform(waiting, "start", "received")


async def test_waiting_order_that_is_on_no_rail_can_be_rushed_at_a_station_of_its_type(
    kitchen: Kitchen, display: Display, screen: Screen
) -> None:
    """It is the next ticket; the rail shows that it was rushed."""
    shown = [await kitchen.order() for _ in range(12)]
    await screen.shows(*shown)
    _, rushed = await kitchen.order(), await kitchen.order()

    other = await display.tap(rushed, "rush", "received", station="fryer")
    await display.perform(rushed, "rush", "received")
    await display.perform(shown[0], "start", "received")
    await display.perform(shown[0], "bump", "cooking")
    await screen.wait_until(lambda: rushed in screen.tickets, doing="for the next ticket")

    assert other.status_code == 409
    assert other.json()["detail"].startswith("Station fryer does not take orders of the type")
    assert screen.entries[rushed]["rushed_at"] is not None
    assert len(screen.tickets.keys() - shown) == 1


async def test_only_the_station_of_an_order_can_bump_or_recall_it(
    kitchen: Kitchen, display: Display, screen: Screen
) -> None:
    number = await order_on_screen(kitchen, screen)
    await display.perform(number, "start", "received")

    bump = await display.tap(number, "bump", "cooking", station="fryer")
    await display.perform(number, "bump", "cooking")
    recall = await display.tap(number, "recall", "ready", station="fryer")

    assert (bump.status_code, recall.status_code) == (409, 409)
    assert bump.json()["detail"].endswith(f"is now cooking at {STATION}.")
    assert recall.json()["processed_by"] == STATION
    assert await statuses(kitchen, number) == ["received", "cooking", "ready"]


async def test_recall_of_an_uncounted_order_keeps_the_count_at_zero(
    kitchen: Kitchen, display: Display
) -> None:
    """A station that is opened after its first taps has no row that could count them."""
    number = await kitchen.order()
    await display.perform(number, "start", "received")
    await display.perform(number, "bump", "cooking")
    async with display.screen():
        await display.perform(number, "recall", "ready")

    assert await kitchen.orders_processed(STATION) == 0


INVALID_TAPS = [
    ("start", b'{"expected": "cooking"}', "expected"),
    ("start", b'{"expected": "raw"}', "expected"),
    ("start", b"{}", "expected"),
    ("eat", b'{"expected": "received"}', "action"),
]


async def test_invalid_tap_is_refused_with_its_field(display: Display, kitchen: Kitchen) -> None:
    number = await kitchen.order()
    for action, body, field in INVALID_TAPS:
        answer = await display.client.post(
            f"/kitchen/stations/{STATION}/tickets/{number}/{action}", content=body, headers=JSON
        )

        assert answer.status_code == 400, (action, body)
        assert [fault["field"] for fault in answer.json()["errors"]] == [field]
    assert await kitchen.status(number) == "received"


async def test_tap_on_an_unknown_order_is_not_found(display: Display) -> None:
    for number in ("ORD_20241216_404", "nonsense"):
        answer = await display.tap(number, "start", "received", **KEY)

        assert answer.status_code == 404


INVALID_STATIONS: list[tuple[str, dict[str, object]]] = [
    ("%00", {}),
    ("a%C2%9Bb", {}),
    ("a%E2%80%AEb", {}),
    ("a", {"order_types": ["soup"]}),
    ("a", {"order_types": []}),
    ("a", {"types": ["takeout"]}),
]


async def test_invalid_station_name_or_type_is_refused(display: Display) -> None:
    for name, body in INVALID_STATIONS:
        answer = await display.client.post(f"/kitchen/stations/{name}", json=body)

        assert answer.status_code == 400, (name, body)
        assert len(answer.json()["errors"]) == 1, (name, body)


async def test_last_50_bumped_tickets_are_listed_the_latest_first(
    kitchen: Kitchen, display: Display
) -> None:
    numbers = [await kitchen.order() for _ in range(tickets.RECALLABLE + 2)]
    for number in numbers:
        await display.perform(number, "start", "received")
        await display.perform(number, "bump", "cooking")

    assert list(await display.bumped()) == numbers[:1:-1]


async def test_keys_of_taps_are_separate_from_those_of_orders(
    kitchen: Kitchen, display: Display, screen: Screen
) -> None:
    number = await order_on_screen(kitchen, screen)
    await display.perform(number, "start", "received", **KEY)

    async with kitchen.database.connection() as connection:
        keys = await connection.fetch("SELECT key FROM idempotency_keys")

    too_short = await display.tap(number, "bump", "cooking", **{"Idempotency-Key": "1"})

    assert too_short.status_code == 400
    assert "16 to 200 visible ASCII" in too_short.json()["errors"][0]["message"]
    assert [row["key"] for row in keys] == [f"tap {KEY['Idempotency-Key']}"]


async def test_undone_rush_gives_an_order_its_former_place(
    kitchen: Kitchen, display: Display, screen: Screen
) -> None:
    number = await order_on_screen(kitchen, screen)
    rank = (await kitchen.get(number))["rank_at"]
    for _ in range(2):  # a second rush does not replace the rank that is kept
        await display.perform(number, "rush", "received")
    await screen.wait_until(
        lambda: screen.entries[number]["can_be_unrushed"], doing="for a rushed ticket"
    )

    for _ in range(2):
        await display.perform(number, "unrush", "received")

    await screen.wait_until(
        lambda: screen.entries[number]["rushed_at"] is None, doing="for the rush to be undone"
    )
    assert not screen.entries[number]["can_be_unrushed"]
    assert (await kitchen.get(number))["rank_at"] == rank
    assert await statuses(kitchen, number) == ["received"]


async def test_items_are_crossed_off_singly_by_concurrent_and_repeated_taps(
    kitchen: Kitchen, display: Display, screen: Screen
) -> None:
    number = await order_on_screen(kitchen, screen, items=3)
    early = await display.tap_item(number, "cross_off", "received", 0)
    await display.perform(number, "start", "received")

    answers = await asyncio.gather(
        *(display.tap_item(number, "cross_off", "cooking", item) for item in (1, 0, 1, 2))
    )
    await display.tap_item(number, "restore", "cooking", 2)
    other = await display.tap_item(number, "cross_off", "cooking", 0, station="fryer")
    without = await display.tap(number, "cross_off", "cooking")
    needless = await display.tap_item(number, "bump", "cooking", 1)
    unknown = await display.tap_item(number, "cross_off", "cooking", 40)

    assert {answer.status_code for answer in answers} == {200}
    assert (early.status_code, other.status_code) == (400, 409)
    assert unknown.status_code == 404
    assert "has no item 40" in unknown.json()["detail"]
    assert without.json()["errors"] == [
        {"field": "item", "message": "is missing", "code": "item_missing"}
    ]
    assert needless.json()["errors"][0]["field"] == "item"
    await screen.wait_until(
        lambda: screen.entries[number]["crossed_off"] == [0, 1], doing="for two items to be done"
    )
    assert screen.tickets == {number: "cooking"}
