"""All pages, empty and full, against axe-core, and what they request to load."""

import asyncio
from collections import Counter

import pytest
from playwright.async_api import Page, Route, expect

from restaurant_system.app import pages
from restaurant_system.database.connection import Database
from tests.support.all_in_one_app import AllInOneApp
from tests.support.browser import Screens, serious_violations

pytestmark = pytest.mark.asyncio(loop_scope="session")

WITHOUT_ORDERS = ["/sign-in", "/access", "/kitchen", "/no-such-page"]
WITH_ORDERS = [path for path in pages.ALL if "{" not in path and path not in WITHOUT_ORDERS]
WITH_ORDERS.append("/kitchen?station=kitchen")
LONG = "Llanfairpwllgwyngyllgogerychwyrndrobwllllantysiliogogogoch"
FULL: dict[str, object] = {
    "customer_name": "Ada Lovelace " + LONG,
    "reference": "84H-" + "7" * 40,
    "allergy_note": "peanuts, " + LONG,
    "notes": "Ring twice. " * 9,
    "amount_due": 12.5,
    "items": [
        {"name": f"{LONG} {place}", "quantity": 12, "price": 9.5, "notes": "no onions", "course": 1}
        for place in range(3)
    ],
}
# Of 28 orders, a third waits, a third cooks and a third is ready; two were never started.
FILL = """
UPDATE orders SET status = 'cooking', processed_by = 'anna' WHERE id % 3 > 0;
UPDATE orders SET status = 'ready', completed_at = now() - interval '31 minutes' WHERE id % 3 = 2;
UPDATE orders SET released_at = now() - interval '2 days' WHERE id IN (3, 6);
UPDATE orders SET promised_at = now() - interval '1 hour' WHERE status = 'cooking';
INSERT INTO menu_availability (item, remaining, changed_at) VALUES ('name:soup', 0, now());
"""

OUTAGE = 10_000  # ms until a page shows the banner
LOADED = "#menu li, #preparing li, .ticket, #sections li, #list li, #alarms li, #items li"
TO_THE_END = """
    for (const each of [document.scrollingElement, ...document.querySelectorAll("main *")]) {
        if (getComputedStyle(each).overflowY !== "visible") each.scrollTop = each.scrollHeight;
    }
    scrollTo(0, document.documentElement.scrollHeight);
"""
# The controls that are shown, with their positions, and whether the banner is over them; a notice
# about the screen goes away by itself.
CONTROLS = """
    (() => {
        const banner = document.getElementById("banner").getBoundingClientRect();
        const isBelow = ({ left, right, top, bottom }) =>
            left < banner.right && right > banner.left
            && top < banner.bottom && bottom > banner.top;
        return [...document.querySelectorAll("a, button, input, select, textarea, summary")]
            .filter((each) => each.checkVisibility() && !each.closest(".unseen, .screen-notice"))
            .map((each) => [each.outerHTML.slice(0, 80), each.getBoundingClientRect()])
            .filter(([, { bottom, top }]) => bottom > 0 && top < innerHeight)
            .map(([name, rect]) => [name, rect.left, rect.top, isBelow(rect)]);
    })()
"""

# By path, an element that a page shows, and requests that it sends without waiting for one of them.
TOGETHER = {
    "/": ("#menu button", {"/session", "/menu", "counter.page.js"}),
    "/access": ("#places a", {"/session", "/devices", "/pins", "/users", "access.page.js"}),
    "/kitchen": ("#places a", {"/session", "/kitchen/stations", "stations.page.js"}),
    "/kitchen?station=grill": ("#empty", {"/kitchen/stations/grill", "/live"}),
}


async def test_pages_have_no_serious_accessibility_violations(
    screens: Screens, app: AllInOneApp, app_database: Database
) -> None:
    """Without orders, and with many that have all fields; all of these fit a phone."""
    tablet = await screens.open("/", width=820, height=1180)
    for path in (*WITHOUT_ORDERS, *WITH_ORDERS):
        await show(tablet, path)
        assert await serious_violations(tablet) == [], path

    number, link = await fill(app, app_database)
    for path in (*WITH_ORDERS, link):
        await show(tablet, path)
        assert await serious_violations(tablet) == [], path
    phone = await screens.open("/", width=390, height=844)
    for path in (*WITHOUT_ORDERS, *WITH_ORDERS, link, f"/track/{number}"):
        await show(phone, path)
        assert await phone.evaluate("document.documentElement.scrollWidth") == 390, path


async def fill(app: AllInOneApp, database: Database) -> tuple[str, str]:
    """Place orders, of which some are cooking and ready; return a number and a tracking link."""
    orders = [app.order_with_link(**FULL, order_type="takeout") for _ in range(28)]
    placed = await asyncio.gather(*orders)
    async with database.connection() as connection:
        await connection.execute(FILL)
    return placed[0]


async def test_banner_of_an_outage_covers_no_control_and_moves_none(
    screens: Screens, app: AllInOneApp, app_database: Database
) -> None:
    """On a phone, full of orders, at the end of each page that scrolls."""
    _, link = await fill(app, app_database)
    opened = {
        path: await screens.open(path, width=390, height=844) for path in (*WITH_ORDERS, link)
    }
    for page in opened.values():
        await page.locator(LOADED).first.wait_for()
        await page.evaluate(TO_THE_END)
    before = {path: await page.evaluate(CONTROLS) for path, page in opened.items()}
    assert all(before.values())

    app.kill()

    for path, page in opened.items():
        await expect(page.locator("#banner")).to_be_in_viewport(ratio=1, timeout=OUTAGE)
        await expect(page.locator("#banner")).to_contain_text("No connection.")
        assert await page.evaluate(CONTROLS) == before[path], path  # none is covered


async def show(page: Page, path: str) -> None:
    """Open a page, and wait until it shows its first data."""
    await page.goto(path)
    await expect(page.locator("main")).to_be_visible()
    await page.wait_for_timeout(200)


async def test_pages_send_requests_together_and_none_twice(screens: Screens) -> None:
    page = await screens.open("/board")
    for path, (shown, together) in TOGETHER.items():
        sent = await hold_until_all_are_sent(page, together)

        await page.goto(path)

        await expect(page.locator(shown).first).to_be_visible()
        assert sent["/session"] <= 1, path
        await page.unroute_all()


async def hold_until_all_are_sent(page: Page, names: set[str]) -> Counter[str]:
    """Hold the requests whose addresses end so until the page has sent all of them; count them."""
    sent: Counter[str] = Counter()
    all_sent = asyncio.Event()

    async def hold(route: Route) -> None:
        sent.update(name for name in names if route.request.url.endswith(name))
        if sent.keys() == names:
            all_sent.set()
        await all_sent.wait()
        await route.continue_()

    await page.route(lambda url: url.endswith(tuple(names)), hold)
    return sent
