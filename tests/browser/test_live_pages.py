"""The pages of one browser share its connections to the server, of which it has six."""

import re
from collections.abc import Iterable

import httpx
import pytest
from playwright.async_api import Locator, Page, expect

from tests.support.all_in_one_app import AllInOneApp
from tests.support.browser import Screens, expect_settled
from tests.support.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="session")

MOST_STREAMS = 4
VISITS = 2  # pages without a stream, which connect for a moment
CROWDED = "This browser has too many pages open: close some of them."
SHOWN = 1000  # ms until a page that is shown again is up to date
SOON = 5000  # ms: a page without a stream is updated every 1.5 s
SET_HIDDEN = """(isHidden) => {
    Object.defineProperty(document, "hidden", { configurable: true, get: () => isHidden });
    document.dispatchEvent(new Event("visibilitychange"));
}"""

FORBID_STORAGE = """
    Object.defineProperty(window, "localStorage", {
        get: () => { throw new DOMException("No storage", "SecurityError"); },
    });
"""


async def tab(page: Page, path: str) -> Page:
    """Open another page in the browser of a page."""
    page = await page.context.new_page()
    page.set_default_timeout(10_000)
    await page.goto(path)
    return page


async def count_streams(app: AllInOneApp) -> int:
    """Return the number of event streams that are open, as the server counts them."""
    async with httpx.AsyncClient(base_url=app.address) as client:
        metrics = (await client.get("/metrics")).text
    found = re.search(r"^restaurant_live_view_clients (\S+)", metrics, re.MULTILINE)
    assert found is not None
    return int(float(found[1]))


async def all_show(pages: Iterable[Page], selector: str, text: str | re.Pattern[str]) -> None:
    """Wait until an element of each page has this text."""
    for page in pages:
        await expect(page.locator(selector)).to_have_text(text, timeout=SOON)


async def set_hidden(pages: Iterable[Page], value: str) -> None:
    """Hide pages as another tab in front of them does (true), or show them again (false)."""
    for page in pages:
        await page.evaluate(f"({SET_HIDDEN})({value})")


def bump(page: Page, number: str) -> Locator:
    return page.get_by_role("button", name=f"Bump {number[-3:]}")


async def test_all_of_nine_pages_are_live_and_leave_connections_for_requests(
    screens: Screens, app: AllInOneApp
) -> None:
    """By as few streams as there may be; they are passed on, and end with the order."""
    orders = [await app.order() for _ in range(4)]
    first, second = orders[:2]
    board = await screens.open("/board")
    tracked = [await tab(board, f"/track/{number}") for number in orders]
    other, kitchen, dashboard = [
        await tab(board, path) for path in ("/board", "/kitchen?station=kitchen", "/dashboard")
    ]
    counter = await tab(board, "/")

    await counter.get_by_role("button", name="Margherita").click()
    for number in orders:
        await kitchen.get_by_role("button", name=f"Start {number[-3:]}").click()
        await expect(bump(kitchen, number)).to_be_visible(timeout=SOON)
    await bump(kitchen, first).click()
    await all_show(tracked[:1], "#headline", "Your order is ready")
    await all_show((board, other), "#ready li", first[-3:])
    await expect(dashboard.locator("#alarms")).to_be_attached()
    assert await count_streams(app) <= MOST_STREAMS + VISITS

    stuck = await tab(board, "about:blank")
    await stuck.route("**/live/**", lambda _: None)
    await stuck.goto("/dashboard")
    await board.close()
    await expect_settled(kitchen)
    await bump(kitchen, second).click()
    await expect(other.locator("#ready li")).to_have_text([second[-3:], first[-3:]], timeout=SOON)
    await expect(tracked[1].locator("#headline")).to_have_text("Your order is ready", timeout=SOON)
    await expect(stuck.get_by_role("alert")).to_have_text(CROWDED, timeout=2 * SOON)
    for page in (other, kitchen, dashboard, counter, *tracked):
        await expect(page.locator(".banner")).to_be_hidden()

    await set_hidden((kitchen, dashboard, other, stuck), "true")
    for number in (first, second):
        await app.complete(number)
    for number in orders[2:]:
        await app.cancel(number)
    await all_show(tracked, "#headline", re.compile("order was"))

    async def no_stream_is_open() -> bool:
        return await count_streams(app) == 0

    await eventually(no_stream_is_open, doing="for all event streams to end")
    await set_hidden((kitchen, other), "false")
    cancelled = kitchen.get_by_role("button", name=f"Seen {orders[3][-3:]}")
    await expect(cancelled).to_be_visible(timeout=SHOWN)
    await expect(other.locator("#ready li")).to_have_count(0, timeout=SHOWN)


async def test_pages_without_storage_leave_connections_for_each_other(
    screens: Screens, app: AllInOneApp
) -> None:
    """A page that gets no connection says that other pages have them."""
    numbers = [await app.order() for _ in range(MOST_STREAMS + VISITS + 1)]
    board = await screens.open("/sign-in")
    await board.context.add_init_script(FORBID_STORAGE)
    await board.goto("/board")
    stuck = await tab(board, "about:blank")
    await stuck.route("**/live/**", lambda _: None)
    await stuck.goto("/dashboard")

    tracked = [await tab(board, f"/track/{number}") for number in numbers]

    async def most_have_no_stream() -> bool:
        return await count_streams(app) <= MOST_STREAMS

    await eventually(most_have_no_stream, doing="for pages to end their streams")
    for number in numbers:
        await app.cancel(number)
    await all_show(tracked, "#headline", re.compile("order was"))
    await expect(stuck.get_by_role("alert")).to_have_text(CROWDED, timeout=2 * SOON)
