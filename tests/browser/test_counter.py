"""The counter page: placing orders, also while the connection fails."""

import re
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Locator, Page, Route, expect

from tests.support.all_in_one_app import AllInOneApp
from tests.support.browser import Screens, serious_violations

pytestmark = pytest.mark.asyncio(loop_scope="session")

AS_VERSION_1 = """() => {
  const { items, unconfirmed, ...draft } = JSON.parse(localStorage.getItem("counter.draft"));
  const stored = { ...draft, version: 1, lines: items, doubt: unconfirmed };
  localStorage.setItem("counter.draft", JSON.stringify(stored));
}"""
WITHOUT_NOTES = """() => {
  const { notes, ...draft } = JSON.parse(localStorage.getItem("counter.draft"));
  localStorage.setItem("counter.draft", JSON.stringify(draft));
}"""
AN_HOUR_LATER = """() => {
  const draft = JSON.parse(localStorage.getItem("counter.draft"));
  draft.sentAt -= 3600000;
  localStorage.setItem("counter.draft", JSON.stringify(draft));
}"""
PHONE = {"width": 360, "height": 740}


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
    await expect(page.get_by_label("Table")).to_be_hidden()
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
    assert await horizontal_overflow(page) == 0
    assert await serious_violations(page) == []
    (order,) = await orders(app)
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


async def test_orders_are_placed_with_the_keyboard_alone(
    screens: Screens, app: AllInOneApp
) -> None:
    """After each step the focus moves to the next one."""
    page = await screens.open("/")
    press, write = page.keyboard.press, page.keyboard.type
    await expect(button(page, "Margherita")).to_be_visible()

    await press("Tab")
    await expect(button(page, "Margherita")).to_be_focused()
    await press("Enter")
    await press("Space")
    await page.get_by_role("radio", name="Dine in").focus()
    await press("Tab")
    await write("Ada")
    await press("Tab")
    await write("7")
    await button(page, "Type an item").focus()
    await press("Enter")
    await write("Birthday cake")
    await press("Tab")
    await write("24,90")
    await press("Enter")
    await expect(button(page, "Type an item")).to_be_focused()
    await expect(page.locator("#total")).to_have_text("43.90")
    await page.get_by_label("Table").press("Enter")

    await expect(button(page, "Next order")).to_be_focused()
    await press("Enter")
    await expect(button(page, "Margherita")).to_be_focused()
    await expect(page.get_by_label("Customer name")).to_have_value("")
    await expect(page.locator("#total")).to_have_text("0.00")
    (order,) = await orders(app)
    assert (order["table_number"], order["total_amount"]) == (7, 43.9)


async def test_each_error_is_shown_at_its_field_and_the_first_is_focused(
    screens: Screens, app: AllInOneApp
) -> None:
    """Changing a field hides its error."""
    page = await screens.open("/", width=360, height=740)
    place = button(page, "Place order")
    name, items = page.get_by_label("Customer name"), button(page, "Type an item")

    await place.click()

    await expect(name).to_be_focused()
    await expect(name).to_have_attribute("aria-invalid", "true")
    await expect(name).to_have_accessible_description(
        "Customer name must have at least one character."
    )
    await expect(page.get_by_label("Table")).to_have_accessible_description(
        "Table is required for dine_in."
    )
    await expect(items).to_have_accessible_description("Items must have at least one entry.")
    await page.get_by_role("radio", name="Takeout").check()
    await name.fill("Ada")
    await expect(name).not_to_have_attribute("aria-invalid", "true")
    await items.click()
    await page.get_by_label("Name", exact=True).fill("Cake")
    price = page.get_by_label("Price")
    for wrong, sentence in (
        ("", "Price is required."),
        ("9.999", "Price must have at most two decimals."),
        ("1000", "Price must be from 0.01 to 999.99."),
        ("free", "Price must be a number."),
    ):
        await price.fill(wrong)
        await place.click()
        await expect(price).to_be_focused()
        await expect(price).to_have_accessible_description(sentence)
    assert await horizontal_overflow(page) == 0
    assert await serious_violations(page) == []
    await price.fill("999.99")
    await place.click()
    await expect(page.locator("#placed-total")).to_have_text("999.99")
    assert len(await orders(app)) == 1


async def test_order_whose_response_is_lost_is_placed_once(
    screens: Screens, app: AllInOneApp
) -> None:
    """A double tap and a reload repeat the request with the same idempotency key."""
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
    await expect(button(page, "Placing")).to_be_focused()
    await expect(page.locator("#order")).to_have_js_property("inert", value=True)
    assert await serious_violations(page) == []
    await button(page, "Send again now").click()
    await page.wait_for_function("localStorage.getItem('counter.draft').includes('sent')")
    await page.reload()
    await expect(page.get_by_text("No answer yet.")).to_be_visible()
    await page.unroute("**/orders")
    await button(page, "Send again now").click()
    await expect(page.locator("#placed-number")).to_have_text("001")
    assert len(await orders(app)) == 1
    assert len(set(keys)) == 1
    assert len(keys) >= 3


async def test_order_that_may_have_been_placed_needs_confirmation(
    screens: Screens, app: AllInOneApp
) -> None:
    """The page asks before it sends an order again that may have been placed."""
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

    await expect(page.get_by_text("may have been placed")).to_be_focused()
    await expect(page.get_by_label("Customer name")).to_have_value("Ada Lovelace")
    assert len(set(keys)) == 1
    await button(page, "Place order").click()
    await expect(button(page, "Send again now")).to_be_visible()
    assert len(set(keys)) == 2  # now another order is sent
    await page.unroute("**/orders")
    await page.evaluate(AN_HOUR_LATER)
    await page.reload()
    await expect(page.get_by_text("may have been placed")).to_be_visible()
    assert await orders(app) == []
    await button(page, "Place order").click()
    await expect(page.locator("#placed-number")).to_have_text("001")


async def test_draft_survives_a_reload_and_is_shared_by_all_windows(screens: Screens) -> None:
    """A cleared draft can be restored; one that an older version of the page stored is kept."""
    page = await screens.open("/")
    await fill_in(page)
    await page.get_by_label("Notes for the kitchen").fill("in a hurry")
    await page.evaluate(AS_VERSION_1)
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


async def test_draft_stored_before_an_upgrade_added_a_field_can_be_sent(screens: Screens) -> None:
    page = await screens.open("/")
    await fill_in(page)
    await page.evaluate(WITHOUT_NOTES)

    await page.reload()
    await button(page, "Place order").click()

    await expect(page.locator("#placed-number")).to_have_text("001")


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
        ["Now 7.00", "No longer on the menu", "Sold out since it was chosen"]
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
    await expect(page.locator("#placed-total")).to_have_text("39.50")
    (order,) = await orders(app)
    prices = [(item["name"], item["price"]) for item in order["items"]]
    assert prices == [("Bianca", 5), ("Bianca", 7), ("Marinara", 8), ("Diavola", 12.5)]
