import re

import pytest
from playwright.async_api import Locator, Page, expect

from tests.support.all_in_one_app import AllInOneApp
from tests.support.browser import Screens, serious_violations
from tests.support.orders import make_item

pytestmark = pytest.mark.asyncio(loop_scope="session")

TIMES = "\N{MULTIPLICATION SIGN}"
SYNC_TIMEOUT = 1000  # ms within which all screens of a station show the same
RINGS = """
    const start = OscillatorNode.prototype.start;
    let tones = 0;
    OscillatorNode.prototype.start = function (...when) {
        document.documentElement.dataset.rings = Math.floor(++tones / 3);
        start.apply(this, when);
    };
"""

PRESS_1_AS_TICKETS_MOVE = """
    new MutationObserver((_, observer) => {
        observer.disconnect();
        document.dispatchEvent(new KeyboardEvent("keydown", { key: "1" }));
    }).observe(document.getElementById("rail"), { childList: true })
"""


def ticket(page: Page, number: str) -> Locator:
    """Return the ticket of an order."""
    short = number.rpartition("_")[2]
    return page.get_by_role("listitem").filter(has=page.get_by_role("heading", name=short))


def button(page: Page, name: str, number: str) -> Locator:
    """Return a button that acts on an order."""
    return page.get_by_role("button", name=f"{name} {number.rpartition('_')[2]}")


async def history(app: AllInOneApp, number: str) -> list[str]:
    """Return the statuses that an order had."""
    return [entry["status"] for entry in await app.get(f"/orders/{number}/history")]


async def test_tickets_are_started_bumped_undone_and_recalled_on_any_screen(
    app: AllInOneApp, screens: Screens
) -> None:
    number = await app.order(order_type="dine_in", table_number=4)
    later = await app.order()
    one, other = [await screens.open("/kitchen") for _ in range(2)]

    await button(one, "Start", number).click()
    await expect(button(other, "Bump", number)).to_be_visible(timeout=SYNC_TIMEOUT)
    await button(one, "Bump", number).click()
    await expect(ticket(other, number)).to_have_count(0, timeout=SYNC_TIMEOUT)
    await button(one, "Start", later).click()
    await button(one, "Bump", later).click()
    offers = other.get_by_role("region", name="Undo").get_by_role("button")
    await expect(offers).to_have_text([re.compile("Undo 002"), re.compile("Undo 001")])
    await button(other, "Undo", number).click()
    await expect(button(one, "Bump", number)).to_be_visible(timeout=SYNC_TIMEOUT)
    await one.reload()
    await button(one, "Bump", number).click()
    await expect(ticket(one, number)).to_have_count(0)
    await one.get_by_role("button", name="Recall").click()
    await button(one, "Recall", number).click()
    await expect(button(other, "Bump", number)).to_be_visible(timeout=SYNC_TIMEOUT)

    steps = await history(app, number)
    assert steps == ["received", "cooking", "ready", "cooking", "ready", "cooking"]


async def test_screen_shows_notes_totals_rushed_and_cancelled_tickets(
    app: AllInOneApp, screens: Screens
) -> None:
    """Rushed tickets come first, and cancelled ones stay until acknowledged."""
    salad = make_item(name="Caesar salad", quantity=3, notes="no onions")
    first = await app.order(items=[make_item(), salad])
    second = await app.order(items=[make_item(quantity=2)], notes="nut allergy")
    page = await screens.open("/kitchen")
    await expect(page.locator(".ticket h3")).to_have_text(["Order 001", "Order 002"])
    await expect(ticket(page, first)).to_contain_text("no onions")
    await expect(ticket(page, second)).to_contain_text("nut allergy")
    await expect(page.get_by_text("2 of 12 tickets")).to_be_visible()
    totals = page.get_by_role("complementary", name="All day").get_by_role("listitem")
    await expect(totals).to_have_text([f"3 {TIMES} Caesar salad", f"3 {TIMES} Margherita"])

    await button(page, "Rush", second).click()
    await expect(page.locator(".ticket h3")).to_have_text(["Order 002", "Order 001"])
    await app.cancel(first)
    await expect(ticket(page, first).get_by_text("Cancelled")).to_be_visible()
    await expect(totals).to_have_text([f"2 {TIMES} Margherita"])
    await expect(page.get_by_text("Order 001 is cancelled.")).to_be_attached()
    assert await serious_violations(page) == []
    await page.reload()
    await button(page, "Seen", first).click()

    await expect(ticket(page, first)).to_have_count(0)
    assert await serious_violations(page) == []


async def test_keys_do_what_taps_do_and_keep_the_focus(app: AllInOneApp, screens: Screens) -> None:
    """A digit pressed while tickets move acts on the ticket that was shown before."""
    first, second, third = [await app.order() for _ in range(3)]
    page = await screens.open("/kitchen")
    keys = page.keyboard
    await expect(page.locator(".ticket")).to_have_count(3)

    await keys.press("2")
    await expect(button(page, "Bump", second)).to_be_focused()
    await keys.press("ArrowRight")
    await expect(button(page, "Start", third)).to_be_focused()
    await page.evaluate(PRESS_1_AS_TICKETS_MOVE)
    await keys.press("f")
    await expect(page.locator(".ticket h3").first).to_have_text("Order 003")
    await expect(button(page, "Bump", first)).to_be_focused()
    await keys.press("ArrowLeft")
    await expect(button(page, "Start", third)).to_be_focused()
    await keys.press("Space")
    await expect(button(page, "Bump", third)).to_be_focused()
    await keys.press("Space")
    await expect(button(page, "Bump", first)).to_be_focused()
    await expect(button(page, "Undo", third)).to_be_visible()
    await keys.press("u")
    await expect(button(page, "Bump", third)).to_be_visible()
    await keys.press("ArrowLeft")
    await keys.press("Space")
    await expect(ticket(page, third)).to_have_count(0)
    await keys.press("r")
    await expect(button(page, "Recall", third)).to_be_focused()
    await keys.press("Enter")
    await expect(button(page, "Bump", third)).to_be_visible()
    await keys.press("?")
    await expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
    await keys.press("Escape")
    await expect(button(page, "Bump", first)).to_be_focused()

    assert await history(app, third) == [
        "received",
        "cooking",
        "ready",
        "cooking",
        "ready",
        "cooking",
    ]
    assert await history(app, first) == ["received", "cooking"]


async def test_new_ticket_rings_until_the_next_input_and_across_a_reload(
    app: AllInOneApp, screens: Screens
) -> None:
    """The sound is allowed by the first input; muting is remembered."""
    page = await screens.open("/kitchen")
    await page.add_init_script(RINGS)
    await page.reload()
    await page.get_by_role("button", name="Tap to turn sound on").click()
    await expect(page.get_by_role("button", name="Sound on")).to_be_visible()
    await expect(page.get_by_text("0 of 12 tickets")).to_be_visible()

    await app.order()
    await expect(page.locator("html")).to_have_attribute("data-rings", "2")
    await expect(page.get_by_text("New order 001, Takeout.")).to_be_attached()
    new = page.locator(".ticket").get_by_text("New")
    await expect(new).to_be_visible()
    await page.reload()
    await expect(page.get_by_text("New order 001, Takeout.")).to_be_attached()
    await expect(new).to_be_visible()
    await page.keyboard.press("m")
    await expect(new).to_have_count(0)
    await page.reload()

    await expect(page.get_by_role("button", name="Sound off")).to_be_visible()
    await expect(page.locator(".ticket").get_by_text("Received")).to_be_visible()


@pytest.mark.parametrize(
    "app",
    [
        {
            "RESTAURANT_KITCHEN_DISPLAY__STATIONS": "1",
            "RESTAURANT_KITCHEN_DISPLAY__STATION_TIMEOUT": "1",
        }
    ],
    indirect=True,
)
async def test_page_shows_why_its_station_is_refused_and_opens_it_once_possible(
    app: AllInOneApp, screens: Screens
) -> None:
    number = await app.order()
    grill = await screens.open("/kitchen?station=grill")
    await ticket(grill, number).wait_for()

    fryer = await screens.open("/kitchen?station=fryer")
    unknown = await screens.open("/kitchen?station=bar&order_types=soup")

    await expect(fryer.locator("#notice")).to_contain_text("close the screens of one")
    await expect(unknown.locator("#notice")).to_contain_text("The body breaks a rule. order_types")
    await grill.close()
    await expect(ticket(fryer, number)).to_be_visible()
    await expect(fryer.locator("#notice")).to_be_empty()
    await expect(fryer.locator(".banner")).to_be_hidden()
