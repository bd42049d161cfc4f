"""An order on the screens of a browser that lacks what Safari 15.0 and Chrome 100 lack."""

import re

import pytest
from playwright.async_api import Page, Route, expect

from tests.browser.test_counter import MENU
from tests.browser.test_live_pages import tab
from tests.support.all_in_one_app import AllInOneApp
from tests.support.browser import Screens, expect_settled

pytestmark = pytest.mark.asyncio(loop_scope="session")

REMOVE_FEATURES = """
    const missing = [
        [AbortSignal, "timeout", "any"],
        [Array.prototype, "at", "findLast", "findLastIndex", "toReversed", "toSorted",
            "toSpliced", "with"],
        [Crypto.prototype, "randomUUID", "subtle"],
        [Element.prototype, "checkVisibility", "setHTMLUnsafe"],
        [HTMLDialogElement.prototype, "close", "open", "show", "showModal"],
        [HTMLElement.prototype, "hidePopover", "inert", "popover", "showPopover", "togglePopover"],
        [HTMLFormElement.prototype, "requestSubmit"],
        [Iterator.prototype, "every", "filter", "find", "forEach", "map", "reduce", "some",
            "toArray"],
        [Map, "groupBy"],
        [Navigator.prototype, "locks", "setAppBadge", "userActivation", "vibrate", "wakeLock"],
        [Object, "groupBy", "hasOwn"],
        [Promise, "try", "withResolvers"],
        [Set.prototype, "difference", "intersection", "isSubsetOf", "union"],
        [String.prototype, "at", "isWellFormed", "toWellFormed"],
        [SubmitEvent.prototype, "submitter"],
        [URL, "canParse", "parse"],
        [window, "BroadcastChannel", "CompressionStream", "HTMLDialogElement", "Notification",
            "SharedWorker", "requestIdleCallback", "structuredClone"],
    ];
    for (const [owner, ...names] of missing) for (const name of names) delete owner[name];
    window.HTMLUnknownElement = Object.getPrototypeOf(document.createElement("dialog")).constructor;
"""
# Declarations that are unknown to these browsers, and rules whose selectors are.
UNKNOWN_CSS = re.compile(
    r'(?<=[{;])\s*[a-z-]+:[^;{}]*(?:light-dark\(|color-mix\(|oklch\(|\ddvh|\bclip;|/ "")[^;{}]*;'
    r"|(?<=})[^{}@]*:(?:has\(|focus-visible|:backdrop)[^{}]*{[^{}]*}"
    r"|(?<=[{;])\s*(?:inset-inline-end|accent-color|content-visibility):[^;{}]*;"
)
TOO_OLD = "This browser is too old for this page"
TRANSPARENT = "rgba(0, 0, 0, 0)"


async def remove_features(page: Page) -> None:
    """Let the pages of a browser run without newer features."""

    async def remove_css(route: Route) -> None:
        response = await route.fetch()
        css = UNKNOWN_CSS.sub("", await response.text())
        await route.fulfill(response=response, body=css)

    await page.context.route("**/*.css", remove_css)
    await page.context.add_init_script(f"(() => {{{REMOVE_FEATURES}}})()")


@pytest.mark.parametrize("app", [{"RESTAURANT_ORDER_SERVICE__MENU": MENU}], indirect=True)
async def test_order_is_placed_cooked_and_handed_over_by_an_older_browser(
    screens: Screens, app: AllInOneApp
) -> None:
    counter = await screens.open("about:blank")
    await remove_features(counter)
    await counter.goto("/")
    assert await counter.evaluate("typeof AbortSignal.timeout") == "undefined"
    ribeye = counter.get_by_role("button", name="Ribeye")
    for part in ("body", "#place"):
        background = await counter.locator(part).evaluate("(it) => getComputedStyle(it).background")
        assert not background.startswith(TRANSPARENT), part

    await ribeye.click()
    options = counter.locator("#options")
    await expect(options).to_be_visible()
    assert await counter.evaluate("document.activeElement.matches('#options *')")
    for _ in range(12):
        await counter.keyboard.press("Tab")
        assert await counter.evaluate("document.activeElement.matches('body, #options *')")
    await counter.keyboard.press("Escape")
    await expect(options).to_be_hidden()
    await expect(ribeye).to_be_focused()
    await ribeye.click()
    await options.get_by_role("radio", name="Medium").check()
    await expect(options).to_be_hidden()
    await counter.get_by_role("radio", name="Takeout").check(force=True)
    await counter.locator("#customer").fill("Ada")
    await counter.locator("#place").click()
    await expect(counter.locator("#placed-number")).to_have_text("001")
    async with counter.context.expect_page() as opened:
        await counter.locator("#placed-link").click()
    track = await opened.value
    await counter.locator("#placed-link").click()

    kitchen, board = [await tab(counter, path) for path in ("/kitchen?station=kitchen", "/board")]
    await expect(track.locator("#headline")).to_have_text("We have your order")
    assert len(counter.context.pages) == 4  # tracked orders are shown in one window
    await kitchen.get_by_role("button", name="Start 001").click()
    await expect(kitchen.get_by_role("button", name="Bump 001")).to_be_visible()
    await expect_settled(kitchen)
    await kitchen.get_by_role("button", name="Bump 001").click()
    await expect(board.locator("#ready li")).to_have_text(["001"])
    await kitchen.locator("#recall-button").click()
    await kitchen.locator("#recall").get_by_role("button", name="Close").click()
    await expect(kitchen.locator("#recall")).to_be_hidden()
    await expect(track.locator("#headline")).to_have_text("Your order is ready")

    orders = await tab(counter, "/orders")
    await open_and_hand_over(orders)
    await expect(board.locator("#ready li")).to_have_count(0)
    (number,) = re.findall(r"ORD_\d+_\d+", track.url)
    await app.complete(number)
    await expect(track.locator("#headline")).to_have_text("Your order was handed over")


async def open_and_hand_over(orders: Page) -> None:
    """Open the only order, close its dialog, and tap on its hand-over."""
    await expect(orders.locator("#list .open")).to_be_visible()
    await expect_settled(orders)
    await orders.locator("#list .open").click()
    details = orders.locator("#details")
    await expect(details).to_contain_text("Ribeye")
    await orders.keyboard.press("Escape")
    await expect(details).to_be_hidden()
    await expect_settled(orders)
    await orders.get_by_role("button", name="Hand over 001").click()
    await expect(orders.locator("#undo button")).to_contain_text("001 handed over")


async def test_browser_that_is_too_old_is_reported(screens: Screens) -> None:
    """One that has no modules, and one that does not know the syntax of the page.

    An error of a page that runs, such as that of a response that is no JSON, is not reported.
    """
    page = await screens.open("/board")
    await expect(page.locator("#old-browser")).to_have_count(0)
    await page.evaluate("dispatchEvent(new ErrorEvent('error', { message: 'SyntaxError' }))")
    await expect(page.get_by_role("alert").filter(visible=True)).to_have_count(0)

    without_modules = await tab(page, "about:blank")
    await without_modules.add_init_script("delete HTMLScriptElement.prototype.noModule;")
    await without_modules.goto("/track/ORD_20240101_001")
    older = await tab(page, "about:blank")
    unknown = {"body": "const last = list?.?.at;", "content_type": "text/javascript"}
    await older.route("**/*.page.js", lambda route: route.fulfill(**unknown))
    await older.goto("/board")

    for each in (without_modules, older):
        await expect(each.get_by_text(TOO_OLD)).to_be_visible()
