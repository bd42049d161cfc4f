"""Adding, disabling and enabling people on the managers' page, in a browser."""

import pytest
from playwright.async_api import expect

from restaurant_system.database.connection import Database
from restaurant_system.models.access import Role
from tests.browser.test_sign_in import sign_in
from tests.support.access import PASSWORD, make_sign_in, make_users
from tests.support.browser import Screens, serious_violations

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.parametrize("app", [{"RESTAURANT_SECURITY__OPEN": "false"}], indirect=True),
]
PHONE = {"width": 360, "height": 740, "has_touch": True}


async def test_manager_adds_disables_and_enables_a_person_on_a_phone(
    screens: Screens, app_database: Database
) -> None:
    """Also by keyboard; the person signs in with the password that was shown last."""
    await make_users(app_database).add("Mia", Role.MANAGER, PASSWORD)
    await make_users(app_database).disable("manager")
    page = await screens.open("/access", **PHONE)
    page.on("dialog", lambda dialog: dialog.accept())
    await sign_in(page, "Mia")
    await expect(page.get_by_role("heading", name="Add a person")).to_be_visible()
    dialog = page.get_by_role("dialog")

    await page.get_by_label("Name", exact=True).fill("MIA")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("alert")).to_contain_text("Another person has this name")
    await page.get_by_label("Name", exact=True).fill("Zoë O'Brien-Featherstonehaugh")
    for key in ("Tab", "ArrowDown", "Tab", "Enter"):
        await page.keyboard.press(key)
    await expect(dialog).to_contain_text("Password of Zoë")
    assert await serious_violations(page) == []
    first = await dialog.locator("code").text_content()
    await page.get_by_role("button", name="Done").tap()
    await page.get_by_role("button", name="Disable Zoë").tap()
    await expect(page.get_by_text("Staff · disabled on")).to_be_visible()
    await page.get_by_role("button", name="Disable Mia").tap()
    await expect(page.get_by_role("alert")).to_contain_text("Mia is the last manager")
    assert await page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    await page.get_by_role("button", name="Enable Zoë").tap()
    await expect(dialog).to_contain_text("It is shown only now")
    second = await dialog.locator("code").text_content()
    await page.keyboard.press("Escape")
    await expect(page.get_by_text("Staff · no PIN")).to_be_visible()
    assert second not in (first, "", None)
    assert second not in await page.content()
    await make_sign_in(app_database).sign_in("zoë o'brien-featherstonehaugh", str(second), None)
