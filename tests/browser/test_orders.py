"""The page of the day's orders in a browser."""

import asyncio
import functools
import json
import re
from datetime import timedelta

import pytest
from playwright.async_api import Locator, Page, Route, expect

from restaurant_system.database.connection import Database
from restaurant_system.models.clock import utc_now
from restaurant_system.models.status import OrderStatus
from tests.support.all_in_one_app import AllInOneApp
from tests.support.browser import Screens, expect_settled, heights_during_acts, serious_violations
from tests.support.database import execute
from tests.support.orders import make_item
from tests.support.services import move_through

pytestmark = pytest.mark.asyncio(loop_scope="session")

COOKED = (OrderStatus.COOKING, OrderStatus.READY)
ITEM = make_item(modifiers=[{"name": "onions", "kind": "remove"}], notes="well done")


async def expect_listed(page: Page, *texts: str) -> None:
    """Wait until the list has exactly these orders, in their order."""
    rows = page.locator("#list > li")
    await expect(rows).to_have_count(len(texts))
    if texts:
        await expect(rows).to_contain_text([*texts])


async def choose(page: Page, state: str, count: int) -> None:
    """Choose a filter, which shows how many orders it has."""
    chip = page.locator("#filters button").filter(has_text=re.compile(rf"^{state} {count}$"))
    await chip.click()


def row(page: Page, number: str) -> Locator:
    """Return the row of an order."""
    return page.locator(f'[data-order="{number}"]')


async def test_order_is_found_opened_handed_over_and_cancelled(
    screens: Screens, app: AllInOneApp, app_database: Database
) -> None:
    """By keyboard and by mouse, on two screens."""
    page = await screens.open("/orders")
    await expect(page.locator("#empty")).to_have_text("No orders yet today.")
    jose = await app.order(
        customer_name="José Núñez",
        reference="84H9B",
        allergy_note="peanuts",
        amount_due=12.5,
        items=[ITEM],
    )
    await expect_listed(page, "José Núñez")
    place = await row(page, jose).bounding_box()
    await app.order(order_type="dine_in", table="Terrace 3")
    zoe = await app.order(order_type="dine_in", table="Terrace 12", customer_name="Zoë O’Brien")
    await expect(page.locator("#filters button").first).to_have_text("Open 3")
    await expect_listed(page, "José Núñez")  # stays in its place
    assert await row(page, jose).bounding_box() == place
    await page.get_by_role("button", name="Show 2 more").click()
    await expect(page.locator("#more")).to_be_hidden()
    await move_through(app_database, jose, *COOKED, by="grill")
    await expect_listed(page, "Zoë", "Terrace 3", "José Núñez")

    await find_orders(page, jose)
    other = await screens.open("/orders?state=ready", width=390, height=844)
    await hand_over_and_undo(page, other, app, jose)
    await send_back_late(page, app, jose)
    await open_and_send_back(page, jose)
    await cancel(page, zoe)
    history = await app.get(f"/orders/{zoe}/history")
    assert [each["status"] for each in history] == ["received", "cancelled"]

    await choose(other, "All", 3)
    await expect_settled(other)
    await row(other, jose).locator(".open").click()
    await app.complete(jose)  # somebody else is faster
    details = other.get_by_role("dialog", name="Order 001")
    await expect(details.locator("header .state")).to_have_text("Handed over")
    await expect(details.locator(".acts button")).to_have_count(0)
    await expect(row(other, jose).locator(".amount")).not_to_contain_text("12.50")  # is not due
    assert await serious_violations(other) == []


async def find_orders(page: Page, jose: str) -> None:
    """Find orders by name without accents, table, reference and number; see what a filter hides."""
    search = page.get_by_label("Find an order")
    for text, found in (
        *(("nunez", "José"), ("o'brien", "Zoë"), ("84h", "José")),
        *(("3", "Zoë"), ("terrace 3", "Terrace 3"), (jose.lower(), "José")),
    ):
        await search.fill(text)
        await expect(page.locator("#list > li").first).to_contain_text(found)
    await search.fill("20")  # is in the date of each order
    await expect_listed(page)
    await search.fill("zoe")
    await choose(page, "Ready", 0)
    await page.get_by_role("button", name="Show 1 order in another state").click()
    await expect_listed(page, "Zoë")
    await search.press("Escape")
    await choose(page, "Open", 3)
    assert await serious_violations(page) == []


async def hand_over_and_undo(page: Page, other: Page, app: AllInOneApp, jose: str) -> None:
    """Hand over by one tap, whose first answer is lost; what is undone cannot be undone again."""
    sent: list[Route] = []

    async def lose_first(route: Route) -> None:
        sent.append(route)
        if len(sent) == 1:
            await route.fetch()
            await route.abort()
        else:
            await route.continue_()

    await page.route("**/hand-over", lose_first)
    await expect_settled(page)
    undo = page.locator("#undo").get_by_role("button")
    async with page.expect_response("**/hand-over"):
        await page.locator("#list").get_by_role("button", name="Hand over 001").click()
        await expect(undo).to_contain_text(re.compile(r"001 handed over: undo \d+ s"))
    assert len({route.request.headers["idempotency-key"] for route in sent}) == 1
    assert len(sent) == 2
    await expect_listed(other)
    await expect_listed(page, "Zoë", "Terrace 3")
    await app.undo_hand_over(jose)  # somebody else
    await expect(undo).to_have_count(0)
    await expect_listed(other, "José Núñez")
    assert await other.evaluate("document.documentElement.scrollWidth") == 390
    assert len(await heights_during_acts(row(other, jose))) == 1  # the next row stays in its place


async def send_back_late(page: Page, app: AllInOneApp, number: str) -> None:
    """Send an order back to the kitchen that somebody hands over before the request arrives."""

    async def hand_over_first(route: Route) -> None:
        await app.hand_over(number)
        await route.continue_()

    await page.route("**/send-back", hand_over_first, times=1)
    await page.keyboard.press("1")
    await page.keyboard.press("Enter")
    async with page.expect_request("**/send-back") as sent:
        await page.get_by_role("button", name="Back to the kitchen").click()
    await expect(page.get_by_role("alert")).to_contain_text("Order 001 was handed over")
    assert "as_of" in json.loads((await sent.value).post_data or "")
    await expect(row(page, number)).to_have_count(0)
    await app.undo_hand_over(number)
    await expect(row(page, number).locator(".state")).to_have_text("Ready")


async def open_and_send_back(page: Page, number: str) -> None:
    """Open an order by keyboard, show its QR code, send it back to the kitchen, and undo that."""
    await page.keyboard.press("1")
    await page.keyboard.press("Enter")
    details = page.get_by_role("dialog", name="Order 001")
    for text in ("Allergy: peanuts", "NO onions", "well done", "grill", "12.50", "Received"):
        await expect(details).to_contain_text(text)
    await expect(details).not_to_contain_text("order-service")  # staff do not know it
    await details.get_by_role("button", name="QR code").click()
    code = details.get_by_role("img", name="QR code of the link")
    await expect(code).not_to_have_js_property("naturalWidth", 0)
    assert await serious_violations(page) == []
    await details.get_by_role("button", name="Back to the kitchen").click()
    await expect(details).to_be_hidden()
    await expect(row(page, number).locator(".state")).to_have_text("Cooking")
    undo = page.locator("#undo").get_by_role("button")
    await expect(undo).to_contain_text("001 back to the kitchen")
    await page.reload()
    await expect(undo).to_contain_text("001 back to the kitchen")
    await expect(row(page, number).locator(".state")).to_have_text("Cooking")
    await page.keyboard.press("u")  # is no letter of the search
    await expect(row(page, number).locator(".state")).to_have_text("Ready")
    await expect(undo).to_have_count(0)


async def cancel(page: Page, number: str) -> None:
    """Cancel an order, with a reason, after a question."""
    await page.get_by_label("Find an order").fill("")
    await expect_settled(page)
    await row(page, number).locator(".open").click()
    details = page.get_by_role("dialog", name="Order 003")
    await details.get_by_role("button", name="Cancel the order").click()
    await details.get_by_role("button", name="Cancel the order").click()
    await expect(details.get_by_label("Why?")).to_be_focused()  # a reason is needed
    await details.get_by_role("button", name="Entered by mistake").click()
    await page.keyboard.press("Enter")
    await expect(details).to_be_hidden()
    await choose(page, "Cancelled", 1)
    await expect_listed(page, "Zoë")
    await row(page, number).locator(".open").press("Enter")
    await expect(details).to_contain_text("Cancelled becauseEntered by mistake")


async def test_second_tap_and_tap_on_a_row_that_has_moved_hand_over_no_other_order(
    screens: Screens, app: AllInOneApp, app_database: Database
) -> None:
    """The tapped row stays; then the next one settles first, and so does the button for undo.

    A new order moves the others only once the page is left alone.
    """
    numbers = [await app.order(customer_name=f"Customer {each}") for each in range(4)]
    for number in numbers[:3]:
        await move_through(app_database, number, *COOKED, by="grill")
    page = await screens.open("/orders?state=ready")
    await expect_listed(page, "Customer 0", "Customer 1", "Customer 2")
    await page.clock.install()
    await page.clock.pause_at(utc_now() + timedelta(seconds=2))  # the page is open for a while
    sent: list[str] = []
    page.on("request", lambda each: sent.append(each.url) if each.method == "POST" else None)
    box = await row(page, numbers[0]).locator(".act").bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2

    await page.mouse.click(x, y)
    await expect(row(page, numbers[0]).locator(".state")).to_have_text("Handed over")
    await page.locator("#undo").get_by_role("button").click()  # it has just appeared there
    await page.mouse.click(x, y)
    await move_through(app_database, numbers[3], *COOKED, by="grill")
    await expect_listed(page, *(f"Customer {each}" for each in range(4)))  # the newest is the last
    await page.clock.fast_forward(1600)
    await expect_listed(page, "Customer 1", "Customer 2", "Customer 3")
    await page.mouse.click(x, y)
    await expect(page.get_by_role("alert")).to_contain_text("The list has just moved.")
    assert [each.rsplit("/", 2)[1:] for each in sent] == [[numbers[0], "hand-over"]]

    await page.clock.fast_forward(1100)
    await page.mouse.click(x, y)
    await expect(row(page, numbers[1]).locator(".state")).to_have_text("Handed over")
    await choose(page, "All", 4)
    undo = row(page, numbers[1]).locator(".act")
    await page.clock.fast_forward(1600)
    await expect(undo).to_have_text("Undo 002")
    await page.clock.fast_forward(1100)
    await undo.dblclick()
    await expect(page.get_by_role("alert")).to_contain_text("Undone: 002.")
    assert [each.rsplit("/", 2)[1:] for each in sent[1:]] == [
        [numbers[1], "hand-over"],
        ["hand-over", "undo"],
    ]

    await app.order(customer_name="Customer 4")
    more = page.get_by_role("button", name="Show 1 more")
    await expect(more).to_be_visible()
    await page.clock.fast_forward(9000)
    await page.mouse.move(x, y)
    await page.clock.fast_forward(9000)
    await expect(more).to_be_visible()
    await page.clock.fast_forward(1000)  # the page is untouched for 10 s
    await expect(more).to_be_hidden()
    await expect_listed(page, *(f"Customer {each}" for each in reversed(range(5))))


async def answer_late(event: asyncio.Event, route: Route) -> None:
    """Answer a request with its response of now, after an event."""
    response = await route.fetch()
    await event.wait()
    await route.fulfill(response=response)


async def test_late_orders_are_marked_and_have_a_filter(
    screens: Screens, app: AllInOneApp, app_database: Database
) -> None:
    """The dashboard leads to the filter; an order becomes late while it is shown."""
    late, other = await app.order(customer_name="Ada"), await app.order(customer_name="Bob")
    page = await screens.open("/orders")
    await expect_listed(page, "Bob", "Ada")
    await execute(
        app_database,
        f"UPDATE orders SET promised_at = now() + interval '2 s' WHERE number = '{late}'",  # noqa: S608
    )
    await expect(row(page, late).locator(".state")).to_have_text("Waiting, late")
    await expect(row(page, other).locator(".state")).to_have_text("Waiting")
    dashboard = await screens.open("/dashboard")
    await dashboard.get_by_role("link", name="Show the orders").click()
    await expect_listed(dashboard, "Ada")
    await expect(dashboard.locator("#filters [aria-pressed=true]")).to_have_text("Late 1")


async def test_acts_are_kept_over_an_outage_and_a_reload_and_take_effect_once(
    screens: Screens, app: AllInOneApp, app_database: Database
) -> None:
    """A hand-over and a cancellation with its reason, whose requests do not arrive at first."""
    ada, bob = [await app.order(customer_name=name) for name in ("Ada", "Bob")]
    await move_through(app_database, ada, *COOKED, by="grill")
    page = await screens.open("/orders?order=ORD_20200101_001", width=390, height=844)
    await expect(page.get_by_role("alert")).to_contain_text("ORD_20200101_001 is not in this list")
    sent: list[str] = []

    async def lose(route: Route) -> None:
        if route.request.method == "POST":
            sent.append(route.request.headers["idempotency-key"])
            await route.abort()
        else:
            await route.fallback()

    await page.context.route("**/orders/**", lose)
    await expect_listed(page, "Bob", "Ada")
    await expect_settled(page)
    await row(page, ada).locator(".act").click()
    await row(page, bob).locator(".open").click()
    details = page.get_by_role("dialog", name="Order 002")
    await details.get_by_role("button", name="Close").click()
    await row(page, bob).locator(".open").click()  # nothing has moved
    await details.get_by_role("button", name="Cancel the order").click()
    await details.get_by_label("Why?").fill("wrong address")
    await page.keyboard.press("Enter")
    waiting = page.get_by_text("2 taps are kept.")
    await expect(waiting).to_be_visible()
    await page.reload()
    await expect(waiting).to_be_visible()
    for number in (ada, bob):
        await expect(row(page, number).locator(".state")).to_have_text("Waits to be sent")
        await expect(row(page, number).locator(".act")).to_be_disabled()

    late = asyncio.Event()
    await page.route(f"**/orders/{bob}", functools.partial(answer_late, late), times=1)
    await expect_settled(page)
    await row(page, bob).locator(".open").click()
    await expect(details).to_be_visible()
    await page.context.unroute("**/orders/**", lose)
    undo = page.get_by_role("button", name="001 handed over: undo")  # over the dialog
    await expect(undo).to_be_visible()
    await expect_settled(page)
    await undo.click()
    await expect(details).to_contain_text("Cancelled becausewrong address")
    late.set()
    await page.wait_for_timeout(300)
    assert "wrong address" in await details.inner_text()
    await page.get_by_text("Undone: 001.").click()
    await expect(waiting).to_be_hidden()
    await page.keyboard.press("Escape")
    await choose(page, "Ready", 1)
    assert len(sent) > 1 == len(set(sent))  # the first act, by its key
    assert [each["status"] for each in await app.get(f"/orders/{bob}/history")] == [
        "received",
        "cancelled",
    ]
