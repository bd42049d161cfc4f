"""The counter page: placing orders, also while the connection fails."""

import json
import re
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from playwright.async_api import Locator, Page, Route, expect

from restaurant_system.database.connection import Database
from restaurant_system.models.clock import utc_now
from restaurant_system.models.status import OrderStatus
from tests.support.all_in_one_app import AllInOneApp
from tests.support.browser import Screens, serious_violations
from tests.support.services import move_through
from tests.support.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="session")

# A draft as earlier releases stored it: open, or sent but without a response.
OF_EARLIER_RELEASES = """([version, phase]) => {
  const { items, unconfirmed, ...draft } = JSON.parse(localStorage.getItem("counter.draft"));
  const body = {
    order_type: "takeout",
    customer_name: "Ada",
    items: [{ name: "Espresso", quantity: 1, price: 2.4 }],
  };
  const sent = phase === "sent" ? { body, sentAt: Date.now() } : { body: null, sentAt: null };
  const named = version === 1 ? { lines: items, doubt: unconfirmed } : { items, unconfirmed };
  const stored = { ...draft, ...named, ...sent, version, phase, placed: null };
  localStorage.setItem("counter.draft", JSON.stringify(stored));
}"""
WITHOUT_NOTES = """() => {
  const { notes, ...draft } = JSON.parse(localStorage.getItem("counter.draft"));
  localStorage.setItem("counter.draft", JSON.stringify(draft));
}"""
AS_DRAFT_AGAIN = """() => {
  const name = Object.keys(localStorage).find((each) => each.startsWith("counter.order."));
  const { draft } = JSON.parse(localStorage.getItem(name));
  localStorage.setItem("counter.draft", JSON.stringify(draft));
}"""
AN_HOUR_LATER = """() => {
  for (const name of Object.keys(localStorage)) {
    if (!name.startsWith("counter.order.")) continue;
    const order = JSON.parse(localStorage.getItem(name));
    localStorage.setItem(name, JSON.stringify({ ...order, sentAt: order.sentAt - 3600000 }));
  }
}"""
# The cents of what is typed, or null, and the number that is sent for it.
TYPED = """async (texts) => {
  const { centsOf, decimal, numberIn } = await import("/assets/counter-cents.js");
  const sent = (text) => (centsOf(text) === null ? numberIn(text) : decimal(centsOf(text)));
  return texts.map((text) => [centsOf(text), sent(text)]);
}"""
CURRENCIES: list[tuple[str, int, str, dict[str, list[object]]]] = [
    (
        "JPY",
        0,
        "¥1,200",
        {"1200": [1200, 1200], "1.200": [None, "1.200"], "1200,5": [None, 1200.5]},
    ),
    (
        "KWD",
        3,
        "KWD\u00a01,200.000",
        {"1.125": [1125, 1.125], "1,5": [1500, 1.5], "-0,005": [-5, -0.005]},
    ),
    ("IDR", 2, "IDR\u00a01,200.00", {"45000": [4500000, 45000], "45.000": [None, "45.000"]}),
]
WRONG_PRICES = {
    "": "Price is required.",
    "9.999": "Price must have at most 2 decimals.",
    "1000000": "Price must be from 0.00 to 999,999.99.",
    "free": "Price must be a number.",
}
# In how many lines each word of a name on the menu is shown.
LINES_OF_WORDS = """(name) => {
  const text = document.querySelector("#menu .name").firstChild;
  text.data = name;
  return name.split(" ").map((word) => {
    const range = document.createRange();
    range.setStart(text, name.indexOf(word));
    range.setEnd(text, name.indexOf(word) + word.length);
    return range.getClientRects().length;
  });
}"""
PHONE = {"width": 360, "height": 740}
DOUBLE_TAP = 600  # ms in which a second tap or key does not close what the first has opened
IS_COVERED = """(element) => {
  const { left, right, top } = element.getBoundingClientRect();
  return !element.contains(document.elementFromPoint((left + right) / 2, top + 2));
}"""
MENU = str(Path(__file__).with_name("menu.yaml"))
ZONE = ZoneInfo("Asia/Kathmandu")  # 5 h 45 min ahead of the browser


def button(page: Page, name: str) -> Locator:
    """Find a button by its name, or by the beginning of its name."""
    return page.get_by_role("button", name=name)


async def fill_in(page: Page) -> None:
    """Compose a valid takeout order of two items from the menu."""
    await page.get_by_role("radio", name="Takeout").check()
    await page.get_by_label("Customer name").fill("Ada Lovelace")
    await button(page, "Margherita 9.50").click()
    await button(page, "Espresso 2.40").click()


async def orders(app: AllInOneApp) -> list[dict[str, Any]]:
    """Return the rows of all placed orders."""
    listed: list[dict[str, Any]] = (await app.get("/orders"))["orders"]
    return listed


async def only_order(app: AllInOneApp) -> dict[str, Any]:
    """Return the only order, once it is placed: the page goes on before it has the answer."""

    async def is_placed() -> bool:
        return bool(await orders(app))

    await eventually(is_placed, doing="for the order to be placed")
    (order,) = await orders(app)
    return order


async def horizontal_overflow(page: Page) -> int:
    """Return by how many pixels a page is wider than the screen."""
    wider: int = await page.evaluate(
        "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    )
    return wider


async def test_order_is_composed_changed_and_placed_on_a_phone(
    screens: Screens, app: AllInOneApp
) -> None:
    page = await screens.open("/", **PHONE, has_touch=True)
    await page.get_by_role("radio", name="Delivery").check()
    await expect(page.get_by_label("Table", exact=True)).to_be_hidden()
    await page.get_by_label("Customer name").fill("Zoë O’Neil")
    await page.get_by_label("Delivery address").fill("12 Analytical Row")

    await button(page, "Margherita 9.50").tap()
    await button(page, "Margherita 9.50").tap()
    await button(page, "Tiramisù 5.90").tap()
    await button(page, "One more: Tiramisù").tap()
    await button(page, "Espresso 2.40").tap()
    await button(page, "Remove Espresso").tap()
    await button(page, "Panna cotta Sold out").tap(force=True)
    notes = page.get_by_role("listitem").filter(has_text="Margherita").get_by_label("Notes")
    await notes.last.fill("no basil")
    await button(page, "Margherita 9.50").tap()

    await expect(page.locator("#total")).to_have_text("40.30")
    await expect(page.locator("#count")).to_have_text("5 items")
    assert await horizontal_overflow(page) == 0
    assert await serious_violations(page) == []
    await button(page, "Place order").tap()
    await expect(page.locator("#placed-number")).to_have_text("001")
    await expect(page.locator("#placed-total")).to_have_text("40.30")
    await expect(page.get_by_text("A phone opens this only if")).to_be_visible()  # 127.0.0.1
    await expect(page.locator("#placed-qr")).to_be_visible()  # once it is loaded
    for part in ("title", "number", "qr"):
        assert not await page.locator(f"#placed-{part}").evaluate(IS_COVERED), part
    assert await horizontal_overflow(page) == 0
    assert await serious_violations(page) == []
    order = await only_order(app)
    link = page.get_by_role("link", name="Follow this order")
    await expect(link).to_have_attribute(
        "href", re.compile(rf"/track/{order['order_number']}/[0-9a-f]{{32}}")
    )
    assert order["total_amount"] == 40.3
    assert order["delivery_address"] == "12 Analytical Row"
    assert order["items"] == [
        {"name": "Margherita", "quantity": 2, "price": 9.5, "notes": "no basil"},
        {"name": "Tiramisù", "quantity": 2, "price": 5.9, "notes": None},
        {"name": "Margherita", "quantity": 1, "price": 9.5, "notes": None},
    ]


async def choose_items(page: Page) -> None:
    """Choose items that need a choice, and change one that need not, on a touch screen."""
    dialog = page.get_by_role("dialog")
    await button(page, "Ribeye 28.00").tap()
    await dialog.get_by_role("radio", name="Medium").check()
    await expect(dialog).to_be_hidden()
    await button(page, "Calzone from 9.00").tap()
    await dialog.get_by_role("radio", name="Large").check()
    await button(page, "Margherita 9.50").tap()
    await button(page, "Change Margherita").tap()
    await dialog.get_by_role("radio", name="Sourdough").check()
    await dialog.get_by_role("checkbox", name="No basil").check()
    await dialog.get_by_role("checkbox", name="Ham").check()
    await expect(dialog.get_by_role("checkbox", name="Olives")).to_be_disabled()
    await dialog.get_by_role("combobox", name="Change").select_option(label="Without")
    await dialog.get_by_label("What").fill("onions")
    await dialog.get_by_label("What").press("Enter")
    await dialog.get_by_label("For guest").fill("Ann")
    assert await horizontal_overflow(page) == 0
    assert await serious_violations(page) == []
    await button(page, "Done · 13.00").tap()
    await page.get_by_role("textbox", name="Quantity of Margherita").fill("15")


async def fill_in_more(page: Page) -> None:
    """Fill in what few orders need."""
    await page.locator("#more summary").tap()
    await page.get_by_role("radio", name="Takeout").check()
    await page.get_by_label("To pay").fill("4")
    await page.get_by_role("radio", name="Dine in").check()
    await expect(page.get_by_label("To pay")).to_be_hidden()
    await page.get_by_label("Allergy").fill("peanuts")
    await page.get_by_label("Ready at").fill("19:30")
    await page.get_by_label("On (").fill("2030-01-01")
    await button(page, "Add a charge").tap()
    await page.get_by_label("Amount").fill("3")
    await button(page, "Add a discount").tap()
    await page.get_by_label("Amount").last.fill("5,50")


async def test_words_of_the_menu_are_not_broken_on_tablets(screens: Screens) -> None:
    page = await screens.open("/", width=820, height=1180)
    await expect(button(page, "Margherita 9.50")).to_be_visible()

    for width in (360, 500, 820):
        await page.set_viewport_size({"width": width, "height": 1180})
        lines = await page.evaluate(LINES_OF_WORDS, "Penne all'Arrabbiata")
        assert lines == [1, 1], width


async def search_items(page: Page) -> None:
    """Enter picks what is searched, and nothing else while that is sold out."""
    for searched, count in (("margherita b", "0 items"), ("margherita", "1 item")):
        await page.locator("#search").fill(searched)
        await page.locator("#search").press("Enter")
        await expect(page.locator("#count")).to_have_text(count)
    await page.locator("#search").fill("")
    await button(page, "Clear").tap()


async def modify_items(page: Page) -> None:
    """Change one of two equal items by a second tap, and pass through choices by keyboard."""
    last = page.get_by_role("group", name="Choices of the item")
    await button(page, "Margherita 9.50").tap()
    await button(page, "Margherita 9.50").tap()
    await last.get_by_role("button", name="Sourdough 1.50").tap()
    await last.get_by_role("button", name="NO basil").tap()
    await expect(page.locator("#order-items .sum")).to_have_text(["9.50", "10.50"])
    await last.get_by_role("button", name="Ham").tap()
    await expect(last.get_by_role("button", name="Olives")).to_be_disabled()
    await button(page, "Ribeye 28.00").press("Enter")
    await page.keyboard.press("ArrowDown")
    await page.keyboard.press("ArrowUp")
    await page.keyboard.press("ArrowDown")
    await expect(page.get_by_role("radio", name="Medium")).to_be_checked()
    await page.keyboard.press("Enter")
    await expect(page.locator("#order-items")).to_contain_text("Medium")
    await last.get_by_role("button", name="Rare").tap()
    await expect(page.locator("#order-items .sum")).to_have_text(["9.50", "13.00", "28.00"])
    await expect(page.locator("#order-items")).not_to_contain_text("Medium")
    await button(page, "Clear").tap()


@pytest.mark.parametrize(
    "app",
    [{"RESTAURANT_ORDER_SERVICE__MENU": MENU, "RESTAURANT_BUSINESS_TIMEZONE": ZONE.key}],
    indirect=True,
)
async def test_order_with_modifiers_is_placed_withdrawn_corrected_and_placed_again(
    screens: Screens, app: AllInOneApp, app_database: Database
) -> None:
    """An item with a choice takes two taps; everything that few orders need is below "More".

    An order that is ready is not withdrawn.
    """
    page = await screens.open("/", **PHONE, has_touch=True)
    await search_items(page)
    await modify_items(page)
    await choose_items(page)
    await page.get_by_label("Table", exact=True).fill("Terrace 3")
    await fill_in_more(page)
    await expect(page.locator("#total")).to_have_text("232.50")
    await button(page, "Place order").tap()
    await expect(page.get_by_label("Ready at")).to_have_accessible_description(
        re.compile("at most 30 days ahead")
    )
    await page.get_by_label("On (").fill("")
    await page.reload()
    await expect(page.locator("#more-filled")).to_have_text(
        "Allergy, Ready at, Service charge, Discount"
    )
    assert await horizontal_overflow(page) == 0
    assert await serious_violations(page) == []

    await button(page, "Place order").tap()
    await expect(page.locator("#placed-total")).to_have_text("232.50")
    await button(page, "Withdraw this order").tap()
    await button(page, "Keep it").tap()
    await button(page, "Withdraw this order").tap()
    await button(page, "Withdraw it").tap()
    await expect(page.get_by_text("Order 001 is not cooked.")).to_be_visible()
    assert await serious_violations(page) == []
    await button(page, "Change it and place it again").tap()
    await button(page, "Remove Ribeye").tap()
    await button(page, "Place order").tap()

    await expect(page.locator("#placed-number")).to_have_text("002")
    await expect(page.locator("#placed-total")).to_have_text("204.50")
    placed, withdrawn = await orders(app)
    assert withdrawn["status"] == "cancelled"
    assert "amount_due" not in placed
    ready_at = datetime.fromisoformat(placed["ready_at"])
    assert f"{ready_at.astimezone(ZONE):%H:%M}" == "19:30"
    assert timedelta(0) < ready_at - utc_now() <= timedelta(days=1)
    assert (placed["table"], placed["allergy_note"]) == ("Terrace 3", "peanuts")
    assert placed["charges"] == [
        {"name": "Service charge", "amount": 3},
        {"name": "Discount", "amount": -5.5},
    ]
    calzone, margherita = placed["items"]
    assert (calzone["name"], calzone["price"]) == ("Calzone (Large)", 12)
    assert (margherita["sku"], margherita["quantity"]) == ("PIZ-MAR", 15)
    assert margherita["guest"] == "Ann"
    changes = [(each["kind"], each["name"], each["price"]) for each in margherita["modifiers"]]
    assert changes == [
        ("choice", "Sourdough", 1.5),
        ("add", "Ham", 2.5),
        ("remove", "No basil", -0.5),
        ("remove", "onions", 0),
    ]
    await button(page, "Withdraw this order").tap()
    number = placed["order_number"]
    await move_through(app_database, number, OrderStatus.COOKING, OrderStatus.READY)
    await button(page, "Withdraw it").tap()
    await expect(page.get_by_text("It is too late: the order is ready.")).to_be_visible()
    await expect(button(page, "Withdraw this order")).to_be_focused()


async def pick_by_keyboard(page: Page) -> None:
    """Pick two items by the search, and leave it."""
    press, write = page.keyboard.press, page.keyboard.type
    await write("margh")
    await expect(page.locator("#menu .item:visible")).to_have_count(1)
    await expect(page.get_by_role("tab", selected=True)).to_have_count(0)
    await page.keyboard.down("Enter")
    await page.keyboard.down("Enter")  # is held down
    await page.keyboard.up("Enter")
    await write("tiramisu")  # an accent less than on the menu
    await press("Enter")
    await write("panna cotta")  # sold out
    await press("Enter")
    await press("Backspace")
    await press("Enter")
    await expect(page.get_by_label("Customer name")).to_be_focused()


async def test_orders_are_placed_with_the_keyboard_alone(
    screens: Screens, app: AllInOneApp
) -> None:
    """Enter moves on to the next field, and places nothing; the next order has the same type."""
    page = await screens.open("/")
    press, write = page.keyboard.press, page.keyboard.type
    table, search = page.get_by_label("Table", exact=True), page.locator("#search")
    await expect(button(page, "Margherita")).to_be_visible()
    await expect(page.get_by_role("link", name="Kitchen")).to_be_visible()

    await expect(page.get_by_role("radio", name="Dine in")).to_be_focused()
    await button(page, "Skip the links").press("Enter")
    await press("Tab")
    await expect(page.get_by_role("radio", name="Dine in")).to_be_focused()
    await write("7")
    await expect(table).to_be_focused()
    await expect(page.get_by_role("radio", name="7", exact=True)).to_be_checked()
    await press("Enter")
    await expect(search).to_be_focused()
    await pick_by_keyboard(page)
    await search.fill("cotta")
    await page.get_by_label("Customer name").focus()
    await write("Ada")
    await press("Enter")
    await expect(page.get_by_label("Notes for the kitchen")).to_be_focused()
    await button(page, "Type an item").focus()
    await press("Enter")
    await write("Birthday cake")
    await press("Enter")
    await write("24,90")
    await press("Enter")
    await expect(button(page, "Type an item")).to_be_focused()
    await expect(page.locator("#total")).to_have_text("40.30")
    assert await orders(app) == []
    await press("Control+Enter")

    await expect(button(page, "Next order")).to_be_focused()
    await press("Enter")
    await page.wait_for_timeout(DOUBLE_TAP)
    await expect(search).to_have_value("")
    await expect(page.get_by_role("tab", selected=True)).to_have_count(1)
    await expect(button(page, "Margherita")).to_be_visible()
    await press("Enter")
    await expect(page.get_by_role("radio", name="Dine in")).to_be_focused()
    await expect(page.get_by_label("Customer name")).to_have_value("")
    await expect(page.locator("#total")).to_have_text("0.00")
    order = await only_order(app)
    assert (order["table_number"], order["total_amount"]) == (7, 40.3)
    await press("ArrowRight")
    await page.locator(".item").first.click()
    await button(page, "Clear").click()
    await expect(page.get_by_role("radio", name="Takeout")).to_be_checked()


async def test_each_error_is_shown_at_its_field_and_the_first_is_focused(
    screens: Screens, app: AllInOneApp
) -> None:
    """Changing a field hides its error."""
    page = await screens.open("/", width=360, height=740)
    place, items = button(page, "Place order"), button(page, "Type an item")
    name, amount_due = page.get_by_label("Customer name"), page.get_by_label("To pay")
    await page.get_by_role("radio", name="Delivery").check()

    await place.click()

    await expect(name).to_be_focused()
    await expect(name).to_have_attribute("aria-invalid", "true")
    await expect(name).to_have_accessible_description(re.compile("^Customer name is required"))
    await expect(page.get_by_label("Delivery address")).to_have_accessible_description(
        re.compile("^Delivery address is required")
    )
    await expect(items).to_have_accessible_description("Items must have at least one entry.")
    await page.get_by_role("radio", name="Takeout").check()
    await place.click()
    await expect(name).to_be_focused()
    await expect(name).to_have_attribute("aria-invalid", "true")
    await expect(name).to_have_accessible_description(
        "Customer name is required, unless there is a reference."
    )
    await name.fill("Ada")
    await expect(name).not_to_have_attribute("aria-invalid", "true")
    await items.click()
    await page.get_by_label("Name", exact=True).fill("Cake")
    await expect_price_errors(page)
    await page.get_by_label("Price").fill("999.99")
    await page.locator("#more summary").click()
    await page.get_by_label("Reference").fill("8" * 65)
    await amount_due.fill("0,505")
    await button(page, "Add a discount").click()
    await button(page, "Options of Cake").click()
    await page.get_by_label("Course").fill("10")
    await button(page, "Done").click()
    await page.locator("#more summary").click()
    await place.click()
    await expect(button(page, "Options of Cake")).to_have_accessible_description(
        "Cake, course must be at most 9."
    )
    await expect(page.get_by_label("Reference")).to_be_hidden()
    await button(page, "Options of Cake").click()
    await page.get_by_label("Course").fill("9")
    await button(page, "Done").click()
    await place.click()
    await expect(page.get_by_label("Reference")).to_be_focused()
    await expect(page.get_by_label("Amount")).to_have_accessible_description("Amount is required.")
    assert await horizontal_overflow(page) == 0
    assert await serious_violations(page) == []
    await expect(amount_due).to_have_accessible_description(
        "To pay on handover must have at most 2 decimals."
    )
    await page.get_by_label("Reference").fill("84H9B")
    await amount_due.fill("0,50")
    await page.get_by_label("Amount").fill("0.99")
    await place.click()
    await expect(page.locator("#placed-total")).to_have_text("999.00")
    order = await only_order(app)
    assert order["amount_due"] == 0.5


async def expect_price_errors(page: Page) -> None:
    """Type wrong prices; each one is refused with a sentence."""
    price = page.get_by_label("Price")
    for wrong, sentence in WRONG_PRICES.items():
        await price.fill(wrong)
        await button(page, "Place order").click()
        await expect(price).to_be_focused()
        await expect(price).to_have_accessible_description(sentence)


async def test_order_whose_response_is_lost_is_placed_once(
    screens: Screens, app: AllInOneApp
) -> None:
    """A double tap and a reload repeat the request with the same idempotency key.

    So does a page that ended when the order was stored, but the next draft was not.
    """
    page = await screens.open("/")
    keys: list[str] = []

    async def drop_response(route: Route) -> None:
        keys.append(route.request.headers["idempotency-key"])
        await route.fetch()  # the order is placed
        await route.abort()

    await page.route("**/orders", drop_response)
    await fill_in(page)
    await button(page, "Place order").dblclick()

    await expect(page.get_by_text("No answer yet.")).to_be_visible()
    assert await serious_violations(page) == []
    await button(page, "Send again now").click()
    await page.evaluate(AS_DRAFT_AGAIN)
    await page.reload()
    await expect(page.get_by_text("No answer yet.")).to_be_visible()
    await page.unroute("**/orders")
    await button(page, "Send again now").click()
    await expect(page.locator("#placed-number")).to_have_text("001")
    await expect(page.locator("#order-items li")).to_have_count(0)
    assert len(await orders(app)) == 1
    assert len(set(keys)) == 1
    assert len(keys) >= 3
    stored = await page.evaluate("Object.values(localStorage).join()")
    assert "Ada Lovelace" not in stored  # nothing personal of a placed order is kept


async def test_orders_composed_during_an_outage_are_each_placed_once_in_sequence(
    screens: Screens, app: AllInOneApp
) -> None:
    """Each is listed with what became of it, also after a reload; a refused one can be changed."""
    page = await screens.open("/")
    await expect(button(page, "Espresso")).to_be_visible()
    sent = page.locator("#sent li")
    await page.route("**/orders", lambda route: route.abort())
    for table in ("7", "8"):
        await page.get_by_role("radio", name=table, exact=True).click()
        await button(page, "Espresso 2.40").click()
        await button(page, "Place order").click()
        await expect(page.get_by_text("No answer yet.")).to_be_visible()
    await page.get_by_role("radio", name="Delivery").check()
    await page.get_by_label("Customer name").fill("Grace Hopper")
    await button(page, "Place order").click()
    await expect(page.get_by_label("Delivery address")).to_have_accessible_description(
        "Delivery address is required."
    )
    await page.get_by_label("Delivery address").fill("12 Analytical Row")
    await button(page, "Espresso 2.40").click()
    await page.locator("#more summary").click()
    await page.get_by_label("Phone").fill("1" * 41)  # too long, which the server finds
    await button(page, "Place order").click()
    await page.wait_for_timeout(DOUBLE_TAP)
    await button(page, "Next order").press("Enter")
    await page.get_by_role("radio", name="Takeout").check()
    await page.get_by_label("Customer name").fill("Linus")
    await expect(sent).to_have_text(["Table 7 waits", "Table 8 waits", "Grace Hopper waits"])
    for each in await sent.get_by_role("button").all():
        await expect(each).to_be_in_viewport(ratio=1)

    await page.reload()
    await expect(sent).to_have_count(3)
    assert await orders(app) == []
    assert await horizontal_overflow(page) == 0
    await page.unroute("**/orders")
    await page.evaluate("dispatchEvent(new Event('online'))")

    await expect(sent).to_have_text(
        ["Grace Hopper not accepted", "002 · Table 8 placed", "001 · Table 7 placed"]
    )
    await expect(page.locator("#announcement")).to_have_text("Grace Hopper: not accepted.")
    await expect(page.get_by_label("Customer name")).to_have_value("Linus")
    await sent.first.get_by_role("button").click()
    assert await serious_violations(page) == []
    await button(page, "Change it").click()
    await expect(page.get_by_label("Phone")).to_be_focused()
    await page.get_by_label("Phone").fill("+1 555 0100")
    await button(page, "Place order").click()
    await expect(page.locator("#placed-number")).to_have_text("003")
    await button(page, "Linus not sent").click()
    await button(page, "Continue with it").click()
    await expect(page.get_by_label("Customer name")).to_have_value("Linus")
    await expect(sent).to_have_count(3)
    placed = await orders(app)
    assert [each.get("table_number") for each in placed] == [None, 8, 7]
    await page.get_by_role("button", name="002").click()
    code = page.get_by_role("img", name="QR code")
    await expect(code).to_have_js_property("complete", value=True)
    await expect(code).to_be_visible()


async def test_three_items_for_a_table_are_placed_with_five_taps(
    screens: Screens, app: AllInOneApp
) -> None:
    """So are those of the next table, because its first tap closes the order that was placed.

    The first key of a table that is typed does so too, and it is not lost, in any window.
    """
    page = await screens.open("/", width=820, height=1180, has_touch=True)
    taps = 0

    async def tap(target: Locator) -> None:
        nonlocal taps
        taps += 1
        await target.tap()

    for table in ("7", "12"):
        await tap(page.get_by_role("radio", name=table, exact=True))
        await expect(page.locator("#placed")).to_be_hidden()
        for item in ("Margherita 9.50", "Tiramisù 5.90", "Espresso 2.40"):
            await tap(button(page, item))
        await tap(button(page, "Place order"))
        await expect(page.locator("#placed-title")).to_have_text("Order placed")

    assert taps == 10
    typed = page.get_by_label("Table", exact=True)
    await typed.click()
    await page.keyboard.type("A34")
    await button(page, "Espresso 2.40").tap()
    await button(page, "Place order").tap()
    await expect(page.locator("#placed-title")).to_have_text("Order placed")
    await page.get_by_role("radio", name="Dine in").focus()
    await page.keyboard.type("9")
    await button(page, "Espresso 2.40").tap()
    await button(page, "Place order").tap()
    await expect(page.locator("#placed-title")).to_have_text("Order placed")
    other = await page.context.new_page()
    await other.goto("/")
    await expect(other.locator("#placed")).to_be_visible()
    await other.get_by_label("Table", exact=True).click()
    await other.keyboard.type("12")
    await expect(page.locator("#placed")).to_be_hidden()
    await expect(typed).to_have_value("12")
    await page.locator("#sent button").first.click()
    await expect(page.locator("#placed")).to_be_visible()
    await page.get_by_role("radio", name="12", exact=True).tap()
    await expect(page.locator("#placed")).to_be_hidden()

    placed = await orders(app)
    tables = [(each["table_number"], each.get("table"), len(each["items"])) for each in placed]
    assert tables == [(9, None, 1), (None, "A34", 1), (12, None, 3), (7, None, 3)]


async def test_order_that_may_have_been_placed_needs_confirmation(
    screens: Screens, app: AllInOneApp
) -> None:
    """Sent again it keeps its key; the page asks before it is changed."""
    page = await screens.open("/")
    keys: list[str] = []

    async def fail(route: Route) -> None:
        keys.append(route.request.headers["idempotency-key"])
        await route.fulfill(status=503)

    await page.route("**/orders", fail)
    await fill_in(page)
    await button(page, "Place order").click()
    for _ in range(2):
        await button(page, "Send again now").click()

    await button(page, "Stop waiting").click()

    await expect(page.get_by_text("may have been placed. Sent again")).to_be_focused()
    await button(
        page,
        "Send again",
    ).click()
    await expect(button(page, "Send again now")).to_be_visible()
    assert len(set(keys)) == 1
    await page.unroute("**/orders")
    await page.evaluate(AN_HOUR_LATER)
    await page.reload()
    await expect(page.get_by_text("May have been placed", exact=True)).to_be_visible()
    assert await orders(app) == []
    await button(page, "Change it").click()
    await expect(page.get_by_text("Ask the kitchen before you place it again")).to_be_focused()
    await expect(page.get_by_label("Customer name")).to_have_value("Ada Lovelace")
    await button(page, "Place order").click()
    await expect(page.locator("#placed-number")).to_have_text("001")


async def test_draft_survives_a_reload_and_is_shared_by_all_windows(
    screens: Screens, app: AllInOneApp
) -> None:
    """A cleared draft can be restored; those that older versions of the page stored can be sent."""
    page = await screens.open("/")
    await fill_in(page)
    await page.get_by_label("Notes for the kitchen").fill("in a hurry")
    await page.evaluate(OF_EARLIER_RELEASES, [1, "open"])
    other = await page.context.new_page()
    await other.goto("/")

    await page.reload()

    for each in (page, other):
        await expect(each.get_by_label("Customer name")).to_have_value("Ada Lovelace")
        await expect(each.get_by_label("Notes for the kitchen")).to_have_value("in a hurry")
        await expect(each.get_by_role("radio", name="Takeout")).to_be_checked()
        await expect(each.locator("#total")).to_have_text("11.90")
    await button(other, "One more: Espresso").click()
    await expect(page.locator("#total")).to_have_text("14.30")
    await page.bring_to_front()  # Chromium draws a hidden page once a second: each click would wait
    await button(page, "Clear").click()
    await expect(other.locator("#total")).to_have_text("0.00")
    await button(page, "Bring it back").click()
    await expect(other.locator("#total")).to_have_text("14.30")
    await button(page, "Place order").click()
    await expect(other.locator("#placed-number")).to_have_text("001")

    await page.get_by_role("radio", name="Takeout").click()  # as it was, so that nothing changes
    await fill_in(page)
    await page.evaluate(WITHOUT_NOTES)
    await page.reload()
    await button(page, "Place order").click()
    await expect(page.locator("#placed-number")).to_have_text("002")
    await other.close()
    await page.wait_for_timeout(DOUBLE_TAP)
    await button(page, "Next order").press("Enter")
    await fill_in(page)
    await page.evaluate(OF_EARLIER_RELEASES, [2, "sent"])
    await page.reload()
    await expect(page.locator("#sent li").first).to_have_text("003 · Takeout placed")
    assert len(await orders(app)) == 3


async def test_amounts_are_typed_and_shown_in_the_currency(screens: Screens) -> None:
    """A point before thousands is not taken for one before decimals."""
    page = await screens.open("/board")
    currency: dict[str, object] = {}

    async def with_currency(route: Route) -> None:
        module = await (await route.fetch()).text()
        constant = f"export const currency = {json.dumps(currency)};"
        body = re.sub("^export const currency = .*;$", constant, module, flags=re.MULTILINE)
        await route.fulfill(body=body, content_type="text/javascript")

    await page.route("**/restaurant.js", with_currency)
    for code, decimals, shown, typed in CURRENCIES:
        currency = {"code": code, "decimals": decimals}
        await page.reload()

        formatted = await page.evaluate(
            "async () => (await import('/assets/words.js')).money(1200)"
        )
        assert formatted == shown
        assert await page.evaluate(TYPED, list(typed)) == list(typed.values())


async def test_changed_menu_is_shown_and_the_order_keeps_its_prices(
    screens: Screens, app: AllInOneApp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A person may accept the new price of an item."""
    menu = tmp_path / "menu.yaml"
    pizza = "sections: [{name: Pizza, items: ["
    bianca, marinara = "{name: Bianca, price: 6.50}", "{name: Marinara, price: 8}"
    menu.write_text(f"{pizza}{bianca}, {marinara}, {{name: Diavola, price: 12.50}}]}}]")
    app.kill()
    monkeypatch.setenv("RESTAURANT_ORDER_SERVICE__MENU", str(menu))
    app.open()
    page = await screens.open("/", width=360, height=740)
    rows = page.locator("#order-items").get_by_role("listitem")
    await button(page, "Type an item").click()
    await page.get_by_label("Name", exact=True).fill("Bianca")
    await page.get_by_label("Price").fill("5")
    await page.get_by_role("radio", name="Takeout").check()
    await page.get_by_label("Customer name").fill("Ada")
    for item in ("Bianca 6.50", "Bianca 6.50", "Marinara 8.00", "Diavola 12.50"):
        await button(page, item).click()

    sold_out = "{name: Diavola, price: 13, available: false}"
    menu.write_text(
        f"{pizza}{{name: Bianca, price: 7}}, {sold_out}, {{name: Nduja, price: 14}}]}}]"
    )

    await expect(button(page, "Nduja 14.00")).to_be_visible()
    await expect(page.locator("#menu").get_by_text("Marinara")).to_have_count(0)
    await expect(button(page, "Diavola Sold out")).to_be_disabled()
    await expect(button(page, "Diavola Sold out")).to_be_focused()
    differences = rows.locator(".differs:visible")
    await expect(differences).to_contain_text(
        ["Now 7.00", "No longer on the menu", "Not available any more"]
    )
    await expect(
        rows.first.locator(".differs")
    ).to_be_hidden()  # it was typed, not chosen from the menu
    await expect(page.locator("#announcement")).to_contain_text("Bianca: Now 7.00")
    await expect(page.locator("#total")).to_have_text("38.50")
    assert await horizontal_overflow(page) == 0
    assert await serious_violations(page) == []
    await button(page, "Take the new price of Bianca: 7.00").click()
    await expect(button(page, "One more: Bianca").last).to_be_focused()
    await expect(rows.nth(1)).to_contain_text("Bianca 7.00")
    await expect(differences).to_have_count(2)
    await button(page, "Place order").click()
    await expect(button(page, "Options of Diavola")).to_have_accessible_description(
        re.compile("^Diavola is not available")
    )
    await button(page, "Remove Diavola").click()
    await button(page, "Place order").click()
    await expect(page.locator("#placed-total")).to_have_text("27.00")
    order = await only_order(app)
    prices = [(item["name"], item["price"]) for item in order["items"]]
    assert prices == [("Bianca", 5), ("Bianca", 7), ("Marinara", 8)]
