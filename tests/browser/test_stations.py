"""The page on which people choose the station that a screen shows."""

import re

import pytest
from playwright.async_api import expect

from tests.support.all_in_one_app import AllInOneApp
from tests.support.browser import Screens, serious_violations

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_station_is_opened_once_a_person_has_chosen_it(
    app: AllInOneApp, screens: Screens
) -> None:
    """The device offers the station that it showed last."""
    page = await screens.open("/kitchen")
    await expect(page.get_by_text("No station yet")).to_be_visible()
    await page.get_by_label("Name").fill("Grill & Co")
    for order_type in ("Dine in", "Takeout", "Delivery"):
        await page.get_by_label(order_type).uncheck()
    await page.get_by_role("button", name="Open").click()
    await expect(page.get_by_text("Choose at least one type.")).to_be_visible()
    assert await serious_violations(page) == []
    assert await app.get("/kitchen/stations") == []

    await page.get_by_label("Takeout").check()
    await page.get_by_role("button", name="Open").click()

    await expect(page.get_by_role("heading", name="Grill & Co")).to_be_visible()
    await expect(page.locator("#types")).to_have_text("Takeout")
    # The browser of the tests refuses to keep the screen on.
    notice = page.get_by_text("This screen may switch itself off")
    await expect(notice).to_be_visible()
    await expect(page.locator("footer").filter(has=notice)).to_be_visible()  # it covers nothing
    assert await serious_violations(page) == []
    await page.get_by_role("button", name="OK").click()
    await expect(notice).to_be_hidden()
    await page.goto("/kitchen")
    station = page.get_by_role("listitem").filter(has_text="Grill & Co")
    await expect(station).to_contain_text("open · Takeout")
    assert await serious_violations(page) == []
    await page.get_by_role("link", name="Go on with Grill & Co").click()
    await expect(page).to_have_url(
        re.compile("station=Grill(%20|[+])%26(%20|[+])Co&order_types=takeout$")
    )
    await expect(page.locator("#types")).to_have_text("Takeout")
    await expect(notice).to_be_hidden()
