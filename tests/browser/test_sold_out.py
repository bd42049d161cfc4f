"""What is sold out is marked on the counter and the kitchen display, and shown on all screens."""

from datetime import UTC, datetime

import pytest
from playwright.async_api import Locator, Page, expect

from restaurant_system.database import menu_availability
from restaurant_system.database.connection import Database
from restaurant_system.database.menu_availability import StoredLimit
from restaurant_system.models.menu_offer import Limit
from tests.support.all_in_one_app import AllInOneApp
from tests.support.browser import Screens, serious_violations

pytestmark = pytest.mark.asyncio(loop_scope="session")

WITHIN_TWO_SECONDS = 2000  # ms


async def open_dialog(page: Page, name: str) -> Locator:
    """Open the dialog, and show what can be done with an item."""
    await page.get_by_role("button", name="Sold out…").click()
    await page.get_by_role("dialog").get_by_role("searchbox").fill(name)
    entry = page.locator("#sold-out li").filter(has_text=name)
    await entry.locator("summary").click()
    return entry


async def test_item_marked_on_one_screen_is_shown_on_all_within_two_seconds(
    app_database: Database, screens: Screens
) -> None:
    """What is not on the menu any more can be lifted as well."""
    async with app_database.connection() as connection:
        await menu_availability.set_limit(
            connection, StoredLimit("sku:old-7", Limit(0, None), datetime.now(UTC), None), ()
        )
    counter, kitchen = await screens.open("/"), await screens.open("/kitchen?station=kitchen")
    item = counter.locator("#menu button").filter(has_text="Margherita")
    await expect(item).to_contain_text("9.50")

    entry = await open_dialog(kitchen, "Margherita")
    assert await serious_violations(kitchen) == []
    await entry.get_by_role("button", name="Until tomorrow").click()
    await expect(item).to_contain_text("Sold out", timeout=WITHIN_TWO_SECONDS)
    await expect(entry.locator("summary")).to_contain_text("Sold out until tomorrow")

    entry = await open_dialog(counter, "Margherita")
    assert await serious_violations(counter) == []
    await entry.get_by_role("spinbutton").fill("3")
    await entry.get_by_role("button", name="left", exact=True).click()
    await expect(entry.locator("summary")).to_contain_text("3 left")
    await expect(item).to_contain_text("9.50", timeout=WITHIN_TWO_SECONDS)
    kitchens = kitchen.locator("#sold-out li").filter(has_text="Margherita")
    await expect(kitchens).to_contain_text("3 left", timeout=WITHIN_TWO_SECONDS)

    await entry.locator("summary").click()
    await entry.get_by_role("button", name="Available again").click()
    await expect(kitchens).not_to_contain_text("3 left", timeout=WITHIN_TWO_SECONDS)
    await counter.get_by_role("dialog").get_by_role("searchbox").fill("Pánna")
    unavailable = counter.locator("#sold-out li").filter(has_text="Panna cotta")
    await expect(unavailable).to_contain_text("Unavailable in the menu file")

    state = counter.locator("#sold-out [role=status]").first
    await counter.route("**/menu/availability", lambda route: route.abort())
    await expect(state).to_have_text("The menu cannot be loaded at the moment.")
    await counter.unroute("**/menu/availability")
    await expect(state).to_be_empty()
    await counter.get_by_role("dialog").get_by_role("searchbox").fill("old-7")
    removed = counter.locator("#sold-out li").filter(has_text="old-7")
    await removed.get_by_text("Not on the menu any more").click()
    await expect(removed.get_by_role("button")).to_have_text(["Available again old-7"])
    await removed.get_by_role("button").click()
    await expect(removed).to_have_count(0)


async def test_long_tap_on_an_item_marks_it_and_orders_nothing(screens: Screens) -> None:
    """A right click and the menu key of a keyboard count as long taps."""
    page = await screens.open("/", has_touch=True)
    item = page.locator("#menu button").filter(has_text="Margherita")
    dialog = page.get_by_role("dialog")
    await expect(page.locator("#sold-out-button")).to_be_visible()

    await item.click(delay=700)
    await expect(dialog.get_by_role("searchbox")).to_have_value("Margherita")
    assert await serious_violations(page) == []
    await dialog.get_by_role("button", name="Until I say").click()
    await expect(dialog).to_be_hidden()
    await expect(item).to_contain_text("Sold out", timeout=WITHIN_TWO_SECONDS)
    await expect(page.locator("#count")).to_have_text("0 items")

    await item.press("Shift+F10")
    await dialog.get_by_role("button", name="Available again").click()
    await expect(item).to_contain_text("9.50", timeout=WITHIN_TWO_SECONDS)
    await item.click()
    await expect(page.locator("#count")).to_have_text("1 item")
    await item.click(button="right")
    await dialog.get_by_role("button", name="Close").click()
    await item.tap()
    await expect(page.locator("#count")).to_have_text("2 items")


async def test_item_held_on_a_ticket_is_marked_without_starting_the_order(
    app: AllInOneApp, screens: Screens
) -> None:
    """One that was typed is not on the menu: the dialog says so, and shows the menu."""
    items = [{"name": name, "quantity": 1, "price": 9.5} for name in ("Margherita", "Party hat")]
    number = await app.order(items=items)
    counter, kitchen = await screens.open("/"), await screens.open("/kitchen?station=kitchen")
    await kitchen.get_by_role("button", name="Sold out…").wait_for()

    dialog = kitchen.locator("#sold-out")

    async def hold(name: str) -> None:
        await kitchen.locator(".items .name", has_text=name).hover(force=True)
        await kitchen.mouse.down()
        await expect(dialog).to_be_visible()
        await kitchen.mouse.up()

    await hold("Party hat")
    await expect(dialog).to_contain_text("“Party hat” is not on the menu")
    await expect(dialog.locator("li", has_text="Margherita")).to_be_visible()
    await dialog.get_by_role("searchbox").fill("Party hat")
    await expect(dialog.get_by_text("Nothing on the menu is called that.")).to_be_visible()
    await dialog.get_by_role("button", name="Close").click()
    await hold("Margherita")
    await expect(dialog).not_to_contain_text("is not on the menu")
    await dialog.get_by_role("button", name="Until I say Margherita").click()

    item = counter.locator("#menu button").filter(has_text="Margherita")
    await expect(item).to_contain_text("Sold out", timeout=WITHIN_TWO_SECONDS)
    assert len(await app.get(f"/orders/{number}/history")) == 1
