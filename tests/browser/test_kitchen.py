import asyncio
import json
import re
from datetime import timedelta
from importlib.resources import files
from typing import Any

import pytest
from playwright.async_api import Locator, Page, Route, expect

from restaurant_system import screens as screen_files
from restaurant_system.models.clock import rfc_3339, utc_now
from tests.support.all_in_one_app import AllInOneApp
from tests.support.browser import Screens, expect_settled, serious_violations
from tests.support.orders import make_item

pytestmark = pytest.mark.asyncio(loop_scope="session")

TIMES = "\N{MULTIPLICATION SIGN}"
MINUS = "\N{MINUS SIGN}"
SYNC_TIMEOUT = 1000  # ms within which all screens of a station show the same
NEXT_TAP = 1000  # ms within which another tap at the same place is the same
MOVE_GRACE = 400  # ms after tickets have moved within which a tap is not for another one
RING_INTERVAL = 4000  # ms
RINGS = """
    const start = OscillatorNode.prototype.start;
    let tones = 0;
    OscillatorNode.prototype.start = function (...when) {
        document.documentElement.dataset.rings = Math.floor(++tones / 3);
        start.apply(this, when);
    };
"""

# Playwright's clock stops frames, too.
KEEP_FRAMES = """
    for (const name of ["requestAnimationFrame", "cancelAnimationFrame"]) {
        window[name] = __pwClock.builtins[name];
    }
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


async def install_clock(page: Page) -> None:
    """Load a page again with a clock that the test moves, while frames go on."""
    await page.clock.install()
    await page.add_init_script(KEEP_FRAMES)
    await page.reload()


async def history(app: AllInOneApp, number: str) -> list[str]:
    """Return the statuses that an order had."""
    return [entry["status"] for entry in await app.get(f"/orders/{number}/history")]


async def test_tickets_are_started_bumped_undone_and_recalled_on_any_screen(
    app: AllInOneApp, screens: Screens
) -> None:
    number = await app.order(order_type="dine_in", table_number=4)
    later = await app.order()
    one, other = [await screens.open("/kitchen?station=kitchen") for _ in range(2)]

    await button(one, "Start", number).click()
    await expect(button(other, "Bump", number)).to_be_visible(timeout=SYNC_TIMEOUT)
    await expect_settled(other)
    await button(other, "Undo start", number).click()
    await expect(button(one, "Start", number)).to_be_visible(timeout=SYNC_TIMEOUT)
    await expect(ticket(one, number).get_by_text("New")).to_have_count(0)
    assert await history(app, number) == ["received"]
    await expect_settled(one)
    await button(one, "Start", number).click()
    await expect(button(other, "Bump", number)).to_be_visible(timeout=SYNC_TIMEOUT)
    await expect_settled(one)
    await button(one, "Bump", number).click()
    await expect(ticket(other, number)).to_have_count(0, timeout=SYNC_TIMEOUT)
    await button(one, "Start", later).click()
    await expect(button(one, "Bump", later)).to_be_enabled()
    await expect_settled(one)
    await button(one, "Bump", later).click()
    offers = other.get_by_role("region", name="Undo").get_by_role("button")
    await expect(offers).to_have_text([re.compile("Undo 002"), re.compile("Undo 001")])
    await expect_settled(other)
    await button(other, "Undo", number).click()
    await expect(button(one, "Bump", number)).to_be_visible(timeout=NEXT_TAP + SYNC_TIMEOUT)
    await app.hand_over(later)
    await expect_settled(other)
    await button(other, "Undo", later).click()
    await expect(other.get_by_role("alert")).to_contain_text("002 was handed over")
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
    """Rushed tickets come first, then what is promised first; cancelled ones stay until seen."""
    salad = make_item(name="Caesar salad", quantity=3, notes="no onions")
    first = await app.order(
        order_type="delivery", delivery_address="12 Analytical Row", items=[make_item(), salad]
    )
    second = await app.order(items=[make_item(quantity=2)], notes="nut allergy")
    page = await screens.open("/kitchen?station=kitchen")
    await expect(page.locator(".ticket h3")).to_have_text(["Order 002", "Order 001"])
    await expect(ticket(page, first)).to_contain_text("no onions")
    await expect(ticket(page, second)).to_contain_text("nut allergy")
    await expect(page.get_by_text("2 of 12 tickets")).to_be_visible()
    totals = page.get_by_role("complementary", name="All day").get_by_role("listitem")
    await expect(totals).to_have_text([f"3 {TIMES} Caesar salad", f"3 {TIMES} Margherita"])

    await button(page, "Rush", first).click()
    await expect(page.locator(".ticket h3")).to_have_text(["Order 001", "Order 002"])
    await expect_settled(page)
    await button(page, "Undo rush", first).click()
    await expect(page.locator(".ticket h3")).to_have_text(["Order 002", "Order 001"])
    await expect_settled(page)
    await button(page, "Rush", first).click()
    await expect(page.locator(".ticket h3")).to_have_text(["Order 001", "Order 002"])
    await app.cancel(first, "The party has left")
    await expect(ticket(page, first).get_by_text("Cancelled")).to_be_visible()
    await expect(ticket(page, first)).to_contain_text("Reason: The party has left")
    await expect(totals).to_have_text([f"2 {TIMES} Margherita"])
    announced = page.get_by_text("Order 001 is cancelled: The party has left")
    await expect(announced).to_be_attached()
    assert await serious_violations(page) == []
    await page.reload()
    await expect(ticket(page, first)).to_contain_text("Reason: The party has left")
    await expect(announced).to_be_attached()  # until the next touch
    await button(page, "Seen", first).click()

    await expect(ticket(page, first)).to_have_count(0)
    assert await serious_violations(page) == []


async def test_ticket_shows_everything_that_the_kitchen_needs_of_an_order(
    app: AllInOneApp, screens: Screens
) -> None:
    """The list of bumped tickets shows the same; all-day totals count modifiers apart."""
    onions = {"name": "onions", "kind": "remove"}
    burger = {"name": "Burger", "modifiers": [onions, {"name": "Bacon", "quantity": 2}]}
    please = {"name": "Cutlery please", "kind": "instruction"}
    cola = make_item(name="Cola", modifiers=[{"name": "No ice", "kind": "remove"}])
    menu = make_item(
        name="Menu du jour",
        quantity=2,
        modifiers=[burger, please],
        guest="MD1",
        course=2,
        sku="D-7",
    )
    notes = "Napkins, please\nCutlery: yes"
    number = await app.order(
        order_type="delivery",
        handoff="courier",
        customer_name="Alex R.",
        reference="84H9B",
        channel="example.eats",
        external_id="0b0f2b6e",
        allergy_note="peanuts",
        notes=notes,
        ready_at=rfc_3339(utc_now() + timedelta(minutes=5)),
        items=[menu, cola],
        amount_due=12.5,
    )
    await app.release(number)
    seated = await app.order(
        order_type="dine_in", table="Terrace 3", customer_name="Ada Lovelace", amount_due=9.5
    )
    page = await screens.open("/kitchen?station=kitchen")
    lines = [
        "Delivery · Courier",
        "Allergy: peanuts",
        "Alex R.",
        "84H9B",
        "example.eats",
        f"2 {TIMES} Menu du jour",
        "Course 2",
        "MD1",
        "Burger",
        "NO onions",
        f"2 {TIMES} Bacon",
        "Cutlery please",
        "NO ice",
        "To pay 12.50",
    ]

    ticket_lines = ticket(page, number)
    for line in lines:
        await expect(ticket_lines).to_contain_text(line)
    assert notes in await ticket_lines.inner_text()  # as it is rendered
    await expect(ticket_lines).not_to_contain_text("D-7")
    await expect(ticket_lines.locator("s")).to_have_text(["onions", "ice"])
    await expect(ticket_lines.locator(".due")).to_have_text(re.compile(r"^for \d\d:\d\d$"))
    await expect(ticket_lines.locator(".age")).to_have_text(re.compile(f"^{MINUS}4:"))
    await expect(ticket(page, seated)).to_contain_text("Table Terrace 3")
    await expect(ticket(page, seated)).not_to_contain_text("Ada Lovelace")
    await expect(ticket(page, seated)).not_to_contain_text("To pay")
    totals = page.get_by_role("complementary", name="All day").get_by_role("listitem")
    await expect(totals.filter(has_text="Menu du jour").locator(".modifiers > li")).to_contain_text(
        [f"2 {TIMES} Burger", f"4 {TIMES} Bacon", f"2 {TIMES} NO onions"]
    )
    assert await serious_violations(page) == []
    other = await screens.open("/kitchen?station=kitchen")
    await button(page, "Start", number).click()
    await button(page, "Bump", number).wait_for()
    await page.get_by_role("button", name="Cross off Menu du jour").click()
    crossed = ticket(other, number).locator(".items > .done")
    await expect(crossed).to_have_count(1)
    await expect(totals.filter(has_text="Menu du jour")).to_have_count(0)
    await expect(totals.filter(has_text="Cola")).to_have_count(1)
    await other.get_by_role("button", name="Cross off Cola").click()
    assert await serious_violations(other) == []
    await button(page, "All done: Bump", number).click()
    await expect(ticket(page, number)).to_have_count(0)
    await page.get_by_role("button", name="Recall").click()
    bumped = page.get_by_role("dialog").get_by_role("listitem").first
    for line in lines:
        await expect(bumped).to_contain_text(line)
    assert notes in await bumped.inner_text()
    assert await serious_violations(page) == []


async def test_keys_do_what_taps_do_and_keep_the_focus(app: AllInOneApp, screens: Screens) -> None:
    """A digit pressed while tickets move acts on the ticket that was shown before."""
    first, second, third = [await app.order() for _ in range(3)]
    page = await screens.open("/kitchen?station=kitchen")
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
    assert await history(app, first) == ["received"]  # its start can still be undone


async def test_second_tap_within_a_second_acts_on_no_other_ticket(
    app: AllInOneApp, screens: Screens
) -> None:
    """Tickets stay in their places for a second after a tap, and buttons that undo, too.

    Nor does a key act on a ticket that has just got the focus of one that somebody else has bumped.
    """
    numbers = [await app.order() for _ in range(5)]
    page = await screens.open("/kitchen?station=kitchen")
    await install_clock(page)
    await ticket(page, numbers[4]).wait_for()
    await page.clock.pause_at(utc_now() + timedelta(seconds=2))
    for number in numbers[:2]:
        await button(page, "Start", number).click()
        await expect(ticket(page, number)).to_have_attribute("data-status", "cooking")
    await page.clock.fast_forward(NEXT_TAP)
    heads = page.locator(".ticket h3")

    async def tap_twice(place: Locator, effect: Locator, key: str) -> None:
        box = await place.bounding_box()
        assert box is not None
        middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        await page.mouse.click(*middle)
        await effect.wait_for()
        await page.clock.fast_forward(NEXT_TAP - 300)
        await page.mouse.click(*middle)
        await page.keyboard.press(key)
        await page.clock.fast_forward(300)
        await page.clock.fast_forward(MOVE_GRACE)

    await tap_twice(heads.nth(0), page.locator(".ticket.leaving"), "1")
    await expect(heads).to_have_text([f"Order 00{number}" for number in (2, 3, 4, 5)])
    await tap_twice(heads.nth(0), page.locator(".ticket.leaving"), "1")
    await expect(heads).to_have_text([f"Order 00{number}" for number in (3, 4, 5)])
    await tap_twice(
        button(page, "Rush", numbers[3]), page.locator(".ticket .rush.rushed"), "Shift+Digit2"
    )
    await expect(heads).to_have_text([f"Order 00{number}" for number in (4, 3, 5)])
    await expect(page.locator(".ticket .rush.rushed")).to_have_count(1)
    assert {number: (await history(app, number))[-1] for number in numbers} == dict(
        zip(numbers, ["ready", "ready", "received", "received", "received"], strict=True)
    )
    offers = page.get_by_role("region", name="Undo").get_by_role("button")
    await expect(offers).to_have_text([re.compile(f"00{number}") for number in (4, 2, 1)])
    await tap_twice(offers.nth(1), ticket(page, numbers[1]), "Shift")
    await expect(heads).to_have_text([f"Order 00{number}" for number in (4, 2, 3, 5)])

    last = await heads.nth(3).bounding_box()
    offer = await offers.first.bounding_box()
    assert last is not None
    assert offer is not None
    other = await screens.open("/kitchen?station=kitchen")
    await button(other, "Rush", numbers[4]).click()
    await expect(heads).to_have_text([f"Order 00{number}" for number in (5, 4, 2, 3)])
    await page.mouse.click(last["x"] + 5, last["y"] + 5)
    await expect(page.get_by_text("just moved")).to_be_visible()
    await page.mouse.click(offer["x"] + 5, offer["y"] + 5)
    await expect(offers.first).to_have_text(re.compile("Undo rush 005"))
    await expect(offers.first).to_have_attribute("aria-disabled", "false")
    assert await history(app, numbers[2]) == ["received"]
    await page.clock.fast_forward(MOVE_GRACE)
    await page.mouse.click(last["x"] + 5, last["y"] + 5)
    await expect(ticket(page, numbers[2])).to_have_attribute("data-status", "cooking")
    await press_keys_after_a_bump_on(other, page, numbers[1], numbers[2])


async def press_keys_after_a_bump_on(other: Page, page: Page, bumped: str, following: str) -> None:
    """Bump a ticket on another screen than the one where it has the focus, and press keys there."""
    await page.clock.fast_forward(NEXT_TAP)
    await button(page, "Bump", bumped).focus()
    await expect_settled(other)
    await button(other, "Bump", bumped).click()
    await expect(button(page, "Bump", following)).to_be_focused()
    for key in ("Enter", "Space", "f"):
        await page.keyboard.press(key)
        await expect(ticket(page, following)).to_have_attribute("data-tap", "")
    await page.clock.fast_forward(NEXT_TAP)
    await page.keyboard.press("Enter")
    await expect(ticket(page, following)).to_have_class(re.compile("leaving"))


async def test_tap_on_a_button_that_has_just_become_another_one_is_ignored(
    app: AllInOneApp, screens: Screens
) -> None:
    """As after a late answer, when a second tap is meant for the start."""
    number = await app.order()
    page = await screens.open("/kitchen?station=kitchen")
    await install_clock(page)
    await ticket(page, number).wait_for()
    await page.clock.pause_at(utc_now() + timedelta(seconds=2))
    reached = asyncio.Event()

    async def answer_late(route: Route) -> None:
        await reached.wait()
        await route.continue_()

    await page.route(f"**/{number}/start", answer_late)
    box = await button(page, "Start", number).bounding_box()
    assert box is not None
    await page.mouse.click(box["x"] + 5, box["y"] + 5)
    await page.clock.fast_forward(NEXT_TAP + 200)
    reached.set()
    await expect(button(page, "Bump", number)).to_be_enabled()
    await page.clock.fast_forward(NEXT_TAP - 200)
    await page.mouse.click(box["x"] + 5, box["y"] + 5)
    await page.clock.fast_forward(300)
    await expect(button(page, "Bump", number)).to_be_enabled()


async def test_new_ticket_rings_until_the_next_input_and_across_a_reload(
    app: AllInOneApp, screens: Screens
) -> None:
    """The sound is allowed by the first input; muting is remembered."""
    page = await screens.open("/kitchen?station=kitchen")
    await page.add_init_script(RINGS)
    await page.clock.install()
    await page.reload()
    await page.get_by_role("button", name="Tap to turn sound on").click()
    await expect(page.get_by_role("button", name="Sound on")).to_be_visible()
    await expect(page.get_by_text("0 of 12 tickets")).to_be_visible()

    await app.order()
    await expect(page.locator("html")).to_have_attribute("data-rings", "1")
    await page.clock.fast_forward(RING_INTERVAL)
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
    await expect(page.locator(".ticket .status")).to_have_text("Received")


TWO_ITEMS = [make_item(name="Spaghetti Carbonara"), make_item(name="Caesar salad", quantity=2)]
CELLS = """
    [...document.querySelectorAll(".ticket")].filter((each) => each.offsetParent).map((each) => {
        const [rail, box] = [each.parentElement, each].map((one) => one.getBoundingClientRect());
        const contents = each.querySelector(".contents");
        const food = each.querySelector(".items").offsetHeight;
        const head = each.querySelector("header").offsetHeight;
        const foot = each.querySelector(".buttons").offsetHeight;
        return {
            whole: box.right <= rail.right + 1 && box.bottom <= rail.bottom + 1
                && contents.scrollHeight <= contents.clientHeight
                && contents.scrollWidth <= contents.clientWidth,
            food, around: head + foot, text: getComputedStyle(each.querySelector(".name")).fontSize,
            smallest: Math.min(
                ...[...each.querySelectorAll("header :not(.unseen)")]
                    .filter((part) => part.offsetHeight && part.innerText)
                    .map((part) => parseFloat(getComputedStyle(part).fontSize)),
            ),
        };
    })
"""
# The texts of buttons that need more than a line, or more than their width.
BROKEN_BUTTONS = """
    (languages) => {
        const ticket = document.querySelector(".ticket");
        const find = (selector) => ticket.querySelector(selector);
        const parts = [".level", ".step span", ".rush span"].map(find);
        const before = parts.map((part) => part.innerHTML);
        Object.assign(ticket.dataset, { status: "cooking", level: "late" });
        const isBroken = ({ offsetHeight, scrollWidth, clientWidth }) =>
            offsetHeight > 28 || scrollWidth > clientWidth;
        const broken = languages.flat().filter((texts) => {
            parts.forEach((part, index) => (part.textContent = texts[index]));
            return parts.some((part) => isBroken(part.closest("button") ?? part));
        });
        Object.assign(ticket.dataset, { status: "received", level: "fresh" });
        parts.forEach((part, index) => (part.innerHTML = before[index]));
        return broken;
    }
"""
LANGUAGES = [
    json.loads((files(screen_files) / "texts" / f"{language}.json").read_bytes())["kitchen"]
    for language in ("en", "de", "es")
]
BUTTONS = [
    [
        [late and each["level"][late], each["action"][step], each["action"]["rush"]]
        for each in LANGUAGES
    ]
    for step, late in (("bump", "late"), ("bump_done", ""))
]
PAGES_OF = """
    async (heights) => {
        const { place } = await import("/assets/cells.js");
        const parts = (height) => (height < 0 ? [-height * 10] : Array(height).fill(10));
        const sizes = heights.map((height) => ({ parts: parts(height), frames: [0, 0] }));
        const { places, pages } = place(sizes, { columns: 2, rows: 2, cell: 10, gap: 0 });
        return [places.map(({ page }) => page), pages];
    }
"""
PAGES: list[tuple[list[int], list[Any]]] = [  # heights in cells, and the pages in two by two cells
    ([], [[], 1]),
    ([1, 9, 1], [[0, 1, 3], 4]),
    ([4, 9, 1, 1, 1, 4], [[0, 1, 3, 3, 3, 4], 5]),  # next to the last part
    ([4, 10, 2, 2], [[0, 1, 3, 4], 5]),
    ([1, -5, 1], [[0, 1, 2], 3]),  # in one part
    ([1, 4, 1], [[0, 1, 2], 3]),
    ([1, 4, 4, 4, 1, 1, 1, 1], [[0, 1, 2, 3, 4, 4, 4, 4], 5]),
]
# The cells in which tickets of these parts begin, on pages of four columns and nine rows.
CELLS_OF = """
    async (tickets) => {
        const { place } = await import("/assets/cells.js");
        const sizes = tickets.map((parts) => ({ parts, frames: [0, 0, 0, 0] }));
        const { places } = place(sizes, { columns: 4, rows: 9, cell: 1, gap: 0 });
        return places.map(({ blocks: [{ page, row, column }] }) => [page, row, column]);
    }
"""
ITEMS_INSIDE = """
    (ticket) => {
        const cell = ticket.getBoundingClientRect();
        const end = ticket.querySelector(".buttons").getBoundingClientRect().top;
        const isInside = ({ left, right, top, bottom }) =>
            left >= cell.left && right <= cell.right && top >= cell.top && bottom <= end;
        return [...ticket.querySelectorAll(".items > li")]
            .filter((item) => isInside(item.getBoundingClientRect()))
            .map((item) => item.querySelector(".name").innerText);
    }
"""
LAST_ITEM_IS_INSIDE = """
    (ticket) => {
        const [cell, item] = [ticket, ticket.querySelector(".items > li:last-child")]
            .map((each) => each.getBoundingClientRect());
        return item.bottom <= cell.bottom && item.right <= cell.right;
    }
"""


async def items_on_pages(page: Page, number: str) -> list[str]:
    """Return the items of a ticket that are shown on the pages from this one to the last."""
    items: list[str] = []
    while True:
        if await ticket(page, number).count():
            items += await ticket(page, number).evaluate(ITEMS_INSIDE)
        if not await page.get_by_role("button", name="Next page").is_enabled():
            return items
        await page.keyboard.press("PageDown")


async def place_twelve(app: AllInOneApp) -> None:
    """Place orders of two items, some of which have much to say of where they go."""
    for _ in range(8):
        await app.order(items=TWO_ITEMS, customer_name="Grace Hopper")
    for index in range(4):
        await app.order(
            items=TWO_ITEMS,
            order_type="delivery",
            handoff="courier",
            customer_name="Alex R.",
            reference="84H9B",
            channel="deliveroo",
            external_id=str(index),
        )


async def check_cells(page: Page) -> None:
    """Verify that tickets are whole, have large text and more food than anything else."""
    cells = await page.evaluate(CELLS)
    assert all(each["whole"] for each in cells)
    assert all(each["around"] < each["food"] for each in cells), cells
    assert {each["text"] for each in cells} == {"26px"}
    assert min(each["smallest"] for each in cells) >= 18
    assert await page.evaluate(BROKEN_BUTTONS, BUTTONS) == []


async def test_what_is_urgent_on_other_pages_is_shown_until_it_is_seen_there(
    app: AllInOneApp, screens: Screens
) -> None:
    first, *_, last = [await app.order(items=TWO_ITEMS) for _ in range(7)]
    page = await screens.open("/kitchen?station=kitchen", width=390, height=844)
    pages = page.get_by_role("navigation", name="Pages of tickets")
    more = pages.get_by_role("button", name="more ticket")
    await expect(more).to_have_text(re.compile(r"^4 more tickets\s+4 new\s+$"))
    for key in ("PageDown", "PageDown", "Shift", "PageUp", "PageUp"):
        await page.keyboard.press(key)
    await expect(more).to_have_text(re.compile(r"^4 more tickets\s+$"))
    new = await app.order(items=TWO_ITEMS)
    await expect(more).to_contain_text("1 new")
    await page.keyboard.press("Shift")
    await app.cancel(last, "The party has left")
    await expect(page.get_by_role("alert")).to_contain_text("007 is cancelled: The party has left")
    await expect(more).to_contain_text(re.compile(r"1 cancelled\s+1 new"))
    assert await serious_violations(page) == []

    await page.get_by_role("alert").get_by_text("cancelled").click()
    await more.click()
    await expect(ticket(page, last)).to_contain_text("Reason: The party has left")
    await expect(ticket(page, new).get_by_text("New")).to_be_visible()
    await page.keyboard.press("Shift")
    await expect(ticket(page, new).get_by_text("New")).to_have_count(0)
    await expect(pages.locator(".page")).to_have_css("background-color", "rgb(250, 204, 21)")
    other = await screens.open("/kitchen?station=kitchen")
    await button(other, "Rush", first).click()
    await expect(more).to_contain_text("1 rushed")
    await expect(button(page, "Undo rush", first)).to_be_in_viewport(ratio=1)
    await expect(ticket(page, last)).to_be_visible()
    assert await serious_violations(page) == []
    await more.click()
    await expect(ticket(page, first)).to_be_visible()
    await expect(more).not_to_contain_text("rushed")
    await expect(more).not_to_contain_text("new")
    await expect(more).to_contain_text("1 cancelled")


async def check_places(page: Page) -> None:
    """Verify that tickets are placed one after the other."""
    for heights, expected in PAGES:
        assert await page.evaluate(PAGES_OF, heights) == expected
    cells = await page.evaluate(CELLS_OF, [[2], [5, 5], [2], [4, 4], [2], [5]])
    assert cells == [[0, 0, 0], [0, 0, 1], [0, 0, 3], [0, 5, 0], [0, 5, 2], [1, 0, 0]]


@pytest.mark.parametrize("app", [{"RESTAURANT_KITCHEN_DISPLAY__CAPACITY": "30"}], indirect=True)
async def test_food_has_most_of_the_screen_and_the_rest_is_on_pages(
    app: AllInOneApp, screens: Screens
) -> None:
    """Twelve tickets of two items are whole; a rush does not turn the page.

    No ticket is on an earlier page, or further up on its page, than one before it. One that is
    larger than a page continues on the next.
    """
    await place_twelve(app)
    page = await screens.open("/kitchen?station=kitchen")
    shown = page.locator(".ticket:visible")
    await expect(shown).to_have_count(12)
    await check_cells(page)
    await check_places(page)
    await expect(page.get_by_role("navigation", name="Pages of tickets")).to_be_hidden()

    twenty = [make_item(name=f"Pizza {number}") for number in range(20)]
    long = await app.order(items=twenty, order_type="dine_in", table_number=7)
    larger = await app.order(
        items=[make_item(name=f"Spaghetti Carbonara {number}") for number in range(45)]
    )
    for _ in range(16):
        await app.order(items=TWO_ITEMS)
    pages = page.get_by_role("navigation", name="Pages of tickets")
    await expect(page.get_by_text("30 of 30 tickets")).to_be_visible()
    await expect(pages).to_contain_text(
        re.compile(r"\d\d more tickets.*Page 1 of [456]", re.DOTALL)
    )
    assert all(each["whole"] for each in await page.evaluate(CELLS))
    seen = set(await shown.locator("h3").all_inner_texts())
    items: list[str] = []
    while await pages.get_by_role("button", name="Next page").is_enabled():
        await page.keyboard.press("PageDown")
        if await ticket(page, larger).count():
            items += await ticket(page, larger).evaluate(ITEMS_INSIDE)
        else:
            assert all(each["whole"] for each in await page.evaluate(CELLS))
        seen |= set(await shown.locator("h3").all_inner_texts())
        if await ticket(page, long).count():
            assert await ticket(page, long).evaluate(LAST_ITEM_IS_INSIDE)
    assert len(seen) == 30
    assert items == [f"Spaghetti Carbonara {number}" for number in range(45)]
    await expect_settled(page)
    last = (await shown.locator("h3").last.inner_text())[-3:]
    await button(page, "Rush", last).click()
    await expect(ticket(page, last)).to_have_count(0)  # it is the first of the first page
    await expect(pages).not_to_contain_text("Page 1 of")
    assert await serious_violations(page) == []
    for _ in range(4):
        await page.keyboard.press("PageUp")
    await expect(page.locator(".ticket:visible h3").first).to_contain_text(last)

    await app.order(items=[make_item(name="Focaccia", quantity=3)])
    await expect(page.get_by_text("30 + 1 waiting")).to_be_visible()
    await expect(page.locator("#all-day")).to_contain_text(f"3 {TIMES} Focaccia")
    await page.keyboard.press("?")
    await page.get_by_role("radio", name="Large", exact=True).check()
    await page.reload()
    await expect(page.locator(".ticket:visible .name").first).to_have_css("font-size", "32px")
    await page.set_viewport_size({"width": 390, "height": 844})  # one column
    await expect(page.get_by_role("button", name="Next page")).to_be_in_viewport(ratio=1)
    assert await page.evaluate(BROKEN_BUTTONS, BUTTONS) == []
    await expect(page.locator("#all-day")).to_have_css("height", re.compile(r"^\d\d(\.\d+)?px$"))
    assert await items_on_pages(page, larger) == items
