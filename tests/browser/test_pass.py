"""The page of the pass, where ready orders are handed over."""

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
from tests.support.rows import insert_order
from tests.support.services import move, move_through

pytestmark = pytest.mark.asyncio(loop_scope="session")

READY = (OrderStatus.COOKING, OrderStatus.READY)
BACK = 15_000  # ms until a page is connected again
KEPT_FOR = 1500  # ms after the latest tap for which what was tapped stays in its place
MIDDLES = """
    (buttons) => buttons.map((button) => {
        const { left, top, width, height } = button.getBoundingClientRect();
        return [left + width / 2, top + height / 2];
    })
"""
PRESS_1_AS_ORDERS_MOVE = """
    new MutationObserver((_, observer) => {
        observer.disconnect();
        document.dispatchEvent(new KeyboardEvent("keydown", { key: "1" }));
    }).observe(document.querySelector("section.takeout ol"), { childList: true })
"""
COUNT_RINGS = """
    window.rings = 0;
    window.AudioContext.prototype.resume = function () { window.rings += 1; };
"""


def card(page: Page, number: str) -> Locator:
    """Return the card of an order."""
    return page.locator(f'#sections li[data-order="{number}"]')


def hand_over(page: Page, number: str) -> Locator:
    """Return the button for the hand-over of an order."""
    return card(page, number).locator(".hand-over")


def offer(page: Page) -> Locator:
    """Return the buttons that undo the latest acts."""
    return page.locator("#undo").get_by_role("button")


async def act(page: Page, number: str, name: str) -> None:
    """Perform one of the acts besides the hand-over."""
    await expect_settled(page)
    await card(page, number).get_by_role("button", name=f"More for order {number[-3:]}").click()
    await card(page, number).get_by_role("button", name=name).click()


async def expect_numbers(page: Page, section: str, *numbers: str) -> None:
    """Wait until a section shows these orders, in their order."""
    shown = page.get_by_role("region", name=section).locator(".order-number")
    await expect(shown).to_contain_text([each[-3:] for each in numbers])
    await expect(shown).to_have_count(len(numbers))


async def test_ready_orders_are_handed_over_marked_sent_back_and_kept_over_an_outage(
    screens: Screens, app: AllInOneApp, app_database: Database
) -> None:
    """By touch on a phone, by keyboard on a tablet; the board drops what is handed over at once."""
    ada = await app.order(customer_name="Ada", amount_due=12.5, allergy_note="peanuts")
    platform = await app.order(reference="84H9B", channel="uber_eats", external_id="1")
    table = await app.order(order_type="dine_in", table="Terrace 3")
    late = await app.order(customer_name="Zoë")
    await move_through(app_database, ada, *READY)
    phone = await screens.open("/pass", width=390, height=844, has_touch=True)
    page = await screens.open("/pass")
    board = await screens.open("/board")
    await expect(card(page, ada)).to_contain_text("To pay 12.50")
    await page.evaluate(COUNT_RINGS)
    await page.keyboard.press("Tab")  # allows sound
    for number in (platform, table, late):
        await move_through(app_database, number, *READY)

    await expect_numbers(page, "Takeout", ada, platform, late)
    await expect_numbers(phone, "Dine in", table)
    assert await page.evaluate("window.rings") > 0
    for number, texts in {
        ada: ("Ada", "Allergy: peanuts", "0:0"),
        platform: ("84H9B", "Uber Eats"),
        table: ("Table Terrace 3",),
    }.items():
        for text in texts:
            await expect(card(page, number)).to_contain_text(text)
    assert await serious_violations(page) == []
    assert await serious_violations(phone) == []
    assert await phone.evaluate("document.documentElement.scrollWidth") == 390
    sections = phone.get_by_role("navigation", name="Sections").get_by_role("button")
    await expect(sections).to_have_text(["Dine in 1", "Takeout 3"])
    await phone.set_viewport_size({"width": 390, "height": 300})
    await sections.last.tap()
    await expect(card(phone, ada)).to_be_in_viewport()
    await phone.set_viewport_size({"width": 390, "height": 844})

    await expect(board.locator("#ready li")).to_have_count(3)  # none for a table
    await expect_settled(phone)
    await hand_over(phone, platform).dblclick()
    await expect(board.locator(f'[data-order="{platform}"]')).to_have_count(0)
    await expect_numbers(page, "Takeout", ada, late)
    await expect(offer(phone)).to_contain_text(re.compile(r"002 handed over: undo \d+ s"))
    await expect(card(phone, late)).not_to_have_class(re.compile("pending"))
    await expect_settled(phone)
    await offer(phone).tap()
    await expect_numbers(page, "Takeout", ada, platform, late)

    await act_by_keyboard(page, ada, platform)
    await act(phone, table, "Not fetched")
    await expect_numbers(page, "Not fetched", table)
    await execute(
        app_database,
        f"UPDATE orders SET completed_at = now() - interval '31 min' WHERE number = '{late}'",  # noqa: S608
    )
    for each in (page, phone):
        await expect_numbers(each, "Not fetched", table, late)
    await act(phone, table, "Back on the board")
    await expect_numbers(phone, "Not fetched", late)

    await keep_taps_over_an_outage(phone, page, app_database, ada, table)
    await expect_numbers(page, "Takeout", platform)


async def act_by_keyboard(page: Page, ada: str, platform: str) -> None:
    """Hand over by digit, and send back to the kitchen; undo both."""
    await page.keyboard.press("1")
    await expect(card(page, ada)).to_have_count(0)
    await page.keyboard.press("Enter")  # the next order does not get the focus
    await page.keyboard.press("ArrowDown")
    await expect(hand_over(page, platform)).to_be_focused()
    await expect(offer(page)).to_have_count(1)
    await page.keyboard.press("u")
    await expect(card(page, ada)).to_be_visible()
    await page.keyboard.press("k")
    await expect(card(page, platform)).to_have_count(0)
    await page.keyboard.press("u")
    await expect(card(page, platform)).to_be_visible()


async def keep_taps_over_an_outage(
    phone: Page, page: Page, database: Database, ada: str, table: str
) -> None:
    """Hand over without a connection; an order that has changed meanwhile stays."""
    tab = await phone.context.new_page()  # knows of an answer from the other one alone
    await tab.route("**/hand-over", lambda route: route.abort())
    await tab.goto("/pass")
    await expect_numbers(tab, "Dine in", table)
    await phone.context.set_offline(True)
    for number in (ada, table):
        await expect_settled(phone)
        await hand_over(phone, number).tap()
        await expect(card(phone, number)).to_contain_text("Waits to be sent")
    await expect(phone.get_by_text("2 taps are kept.")).to_be_visible()
    await act(page, table, "Back to the kitchen")
    await expect_numbers(page, "Dine in")
    await move(database, table, *READY, at=utc_now(), by="mario")
    await expect_numbers(page, "Dine in", table)

    await phone.context.set_offline(False)
    await expect(offer(phone)).to_contain_text("001 handed over", timeout=BACK)
    for each in (phone, tab):
        await expect(each.get_by_role("alert").filter(has_text="003 has changed")).to_be_visible()
    await tab.close()
    await expect_numbers(phone, "Dine in", table)
    await expect(phone.get_by_text("kept")).to_have_count(0)


async def test_orders_are_handed_over_as_fast_as_somebody_taps(
    screens: Screens, app: AllInOneApp, app_database: Database
) -> None:
    """A card that is tapped neither grows nor moves the next one away from the finger."""
    numbers = [await app.order(customer_name=f"Customer {each}") for each in range(4)]
    for number in numbers:
        await move_through(app_database, number, *READY)
    page = await screens.open("/pass", width=390, height=844)
    await expect_numbers(page, "Takeout", *numbers)
    await expect_settled(page)
    await page.clock.install()
    await page.clock.pause_at(utc_now() + timedelta(seconds=2))
    middles = await page.locator("#sections .hand-over").evaluate_all(MIDDLES)

    for number, middle in zip(numbers, middles, strict=True):
        await page.mouse.click(*middle)
        await expect(card(page, number)).to_contain_text("Handed over")  # the view has shown it
        await page.clock.fast_forward(300)

    await expect(offer(page)).to_have_count(4)
    await expect(page.get_by_role("alert")).to_be_empty()
    bar = await page.locator("#undo").bounding_box()
    assert bar is not None
    assert bar["height"] < 80  # one row, which hides no more orders
    await page.clock.fast_forward(KEPT_FOR)
    await expect_numbers(page, "Takeout")

    for number in numbers[:2]:
        await app.undo_hand_over(number)
    await expect_numbers(page, "Takeout", *numbers[:2])
    assert len(await heights_during_acts(card(page, numbers[0]))) == 1


async def test_keys_act_on_no_order_that_moves_to_the_place_of_another(
    screens: Screens, app: AllInOneApp, app_database: Database
) -> None:
    """An act can be undone as soon as it is shown, even before its answer, and after a reload."""
    first, second = [await app.order(customer_name=f"Customer {each}") for each in range(2)]
    third = "ORD_20241216_003"
    async with app_database.connection() as sql:
        await insert_order(sql, number=third)
    for number in (first, second, third):
        await move_through(app_database, number, *READY)
    page = await screens.open("/pass")
    await expect_numbers(page, "Takeout", first, second, third)
    await hand_over(page, first).focus()
    await page.evaluate(PRESS_1_AS_ORDERS_MOVE)

    await app.hand_over(first)  # on another device
    await expect_numbers(page, "Takeout", second, third)
    for key in ("Enter", "n", "k"):
        await page.keyboard.press(key)
    await page.keyboard.press("ArrowDown")
    await expect(hand_over(page, second)).to_be_focused()
    await expect(offer(page)).to_have_count(0)

    await page.route("**/hand-over", hold_answer, times=1)
    await page.keyboard.press("Enter")
    await expect(offer(page)).to_contain_text("002 handed over")
    await page.reload()
    await expect(offer(page)).to_contain_text("002 handed over")
    await page.keyboard.press("u")
    await expect_numbers(page, "Takeout", second, third)
    assert (await app.get(f"/orders/{second}"))["status"] == "ready"

    await page.keyboard.press("2")
    await expect(offer(page)).to_contain_text("003 (Dec 16) handed over")  # not that of today


async def hold_answer(route: Route) -> None:
    """Let a request take effect, and hold back its answer."""
    await route.fetch()
