"""Signing in with a PIN on an enrolled device, in a browser."""

import re

import pytest
from playwright.async_api import Page, expect

from restaurant_system.database.connection import Database
from restaurant_system.models.access import Role
from tests.browser.test_sign_in import sign_in
from tests.support.access import PASSWORD, PIN, make_users
from tests.support.browser import Screens, serious_violations

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.parametrize("app", [{"RESTAURANT_SECURITY__OPEN": "false"}], indirect=True),
]
TABLET = {"width": 1024, "height": 768, "has_touch": True}


async def sign_in_with_pin(page: Page, name: str, pin: str) -> None:
    """Choose a name, and type a PIN on the keypad of the page."""
    await page.get_by_role("radio", name=name).check()
    for digit in pin:
        await page.get_by_role("button", name=digit, exact=True).tap()
    await page.get_by_role("button", name="Sign in").tap()


async def test_device_is_enrolled_and_used_by_several_people_until_it_is_removed(
    screens: Screens, app_database: Database
) -> None:
    users = make_users(app_database)
    for name, role in (("Anna", Role.STAFF), ("Kitty", Role.KITCHEN), ("Mia", Role.MANAGER)):
        await users.add(name, role, PASSWORD)

    # Anna sets her PIN elsewhere.
    office = await screens.open("/sign-in")
    await sign_in(office, "Anna")
    await office.get_by_text("Your PIN").click()
    await office.get_by_label("New PIN").fill(PIN)
    await office.get_by_role("button", name="Save").click()
    await expect(office.locator("#own-pin-result")).to_have_text("Saved.")
    assert await serious_violations(office) == []
    await office.get_by_role("button", name="Sign out").click()

    # The manager gives a PIN, and enrols the device.
    page = await screens.open("/access", **TABLET)
    await sign_in(page, "Mia")
    await page.get_by_role("button", name="New PIN for Kitty").click()
    await page.get_by_label("New PIN", exact=True).fill("1111")
    await page.get_by_role("button", name="Save").click()
    await expect(page.get_by_role("alert")).to_contain_text("too easy to guess")
    await page.get_by_label("New PIN", exact=True).fill("7412")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("button", name="Remove the PIN of Kitty")).to_be_visible()
    await page.get_by_label("Name of this device").fill("Kitchen tablet")
    assert await serious_violations(page) == []
    await page.get_by_role("button", name="Enrol this device").click()
    await expect(page.get_by_text("Kitchen tablet")).to_be_visible()
    assert await serious_violations(page) == []

    # Two people take turns on one page, the second one by keyboard.
    await page.goto("/kitchen?station=grill")
    await sign_in_with_pin(page, "Kitty", "7413")
    await expect(page.get_by_role("alert")).to_contain_text("The PIN is wrong")
    await sign_in_with_pin(page, "Kitty", "7412")
    await expect(page.locator("#places .account")).to_contain_text("Kitty")
    await page.locator("#places summary").tap()
    await page.get_by_role("button", name="Switch user").tap()
    await page.get_by_role("radio", name="Anna").focus()
    await page.keyboard.press("Space")
    await page.keyboard.press("Tab")
    await page.keyboard.type(PIN)
    await page.keyboard.press("Enter")
    await expect(page).to_have_url(re.compile("/kitchen\\?station=grill$"))
    await expect(page.locator("#places .account")).to_contain_text("Anna")

    # A manager elsewhere removes the device.
    await office.goto("/access")
    await sign_in(office, "Mia")
    office.on("dialog", lambda dialog: dialog.accept())
    await office.get_by_role("button", name="Remove the device Kitchen tablet").click()
    await expect(office.get_by_text("No device is enrolled.")).to_be_visible()
    await page.reload()
    await expect(page.get_by_label("Password")).to_be_visible()
    await expect(page.locator("#pin-sign-in")).to_be_hidden()
