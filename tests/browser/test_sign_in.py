"""The sign-in page, and the pages by role, in a browser."""

import re

import pytest
import pytest_asyncio
from playwright.async_api import Page, expect

from restaurant_system.database.connection import Database
from restaurant_system.models.access import Role
from tests.support.access import PASSWORD, make_users
from tests.support.all_in_one_app import AllInOneApp
from tests.support.browser import Screens, expect_settled, serious_violations
from tests.support.rows import insert_order
from tests.support.services import NOON

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.parametrize("app", [{"RESTAURANT_SECURITY__OPEN": "false"}], indirect=True),
]


@pytest_asyncio.fixture(loop_scope="session", autouse=True)
async def people(app_database: Database) -> None:
    """Add Anna, who is staff, and Kitty, who cooks."""
    await make_users(app_database).add("Anna", Role.STAFF, PASSWORD)
    await make_users(app_database).add("Kitty", Role.KITCHEN, PASSWORD)


async def sign_in(page: Page, name: str, password: str = PASSWORD) -> None:
    """Fill in the form of the sign-in page, and send it."""
    await page.get_by_label("Name").fill(name)
    await page.get_by_label("Password").fill(password)
    await page.get_by_role("button", name="Sign in").click()


async def test_page_is_shown_after_signing_in_and_not_after_signing_out(screens: Screens) -> None:
    page = await screens.open("/dashboard")
    await expect(page).to_have_url(re.compile("/sign-in"))
    assert await serious_violations(page) == []

    await sign_in(page, "anna", "wrong password")
    await expect(page.get_by_role("alert")).to_contain_text("is wrong")
    await sign_in(page, "anna")

    await expect(page).to_have_url(re.compile("/dashboard$"))
    await expect(page.locator("#waiting .figure")).to_have_text("0")
    await expect(page.locator("#places .account")).to_contain_text("Anna")
    assert await serious_violations(page) == []
    await page.get_by_role("button", name="Sign out").click()
    await expect(page).to_have_url(re.compile("/sign-in$"))
    await page.goto("/dashboard")
    await expect(page).to_have_url(re.compile("/sign-in"))


@pytest.mark.parametrize(
    ("name", "places"),
    [
        ("Anna", ["Counter", "Orders", "Kitchen", "Pass", "Board", "Dashboard"]),
        ("Kitty", ["Kitchen", "Board"]),
    ],
)
async def test_person_is_shown_the_pages_of_the_role(
    screens: Screens, name: str, places: list[str]
) -> None:
    """Also if another page was requested for."""
    page = await screens.open("/sign-in" if name == "Anna" else "/")

    await sign_in(page, name)

    await expect(page.get_by_role("heading", name=f"Signed in as {name}")).to_be_visible()
    assert await page.locator("#places a").all_inner_texts() == places
    assert await serious_violations(page) == []


async def test_address_of_another_site_is_not_followed(screens: Screens, app: AllInOneApp) -> None:
    for requested in (
        "https://evil.example/",
        "//evil.example/",
        "/\\evil.example",
        "javascript:0",
    ):
        page = await screens.open(f"/sign-in?next={requested}")

        await sign_in(page, "anna")

        await expect(page.locator("#places")).to_be_visible()
        assert page.url.startswith(app.address)


@pytest.mark.parametrize("requested", ["/.//evil.example/", "/board/..//evil.example/"])
async def test_path_that_begins_with_two_slashes_does_not_name_another_site(
    screens: Screens, app: AllInOneApp, requested: str
) -> None:
    page = await screens.open(f"/sign-in?next={requested}")

    await sign_in(page, "anna")

    await expect(page).to_have_url(f"{app.address}//evil.example/")


async def test_staff_places_an_order_at_the_counter(screens: Screens) -> None:
    page = await screens.open("/")
    await sign_in(page, "Anna")
    await expect(page).to_have_url(re.compile("/$"))

    await page.get_by_label("Customer name").fill("Ada")
    await page.get_by_role("radio", name="Takeout").check()
    await page.get_by_role("button", name=re.compile("Margherita")).first.click()
    await page.get_by_role("button", name="Place order").click()

    await expect(page.locator("#placed-number")).to_have_text("001")


async def test_kitchen_works_on_tickets(screens: Screens) -> None:
    page = await screens.open("/kitchen?station=grill")

    await sign_in(page, "Kitty")

    await expect(page).to_have_url(re.compile("/kitchen\\?station=grill$"))
    await expect(page.locator("#empty")).to_be_visible()
    await expect(page.locator("#places .account")).to_contain_text("Kitty")


async def test_act_after_the_end_of_a_session_is_done_once_the_same_person_has_signed_in(
    screens: Screens, app_database: Database
) -> None:
    """One of another person is not done, which is said. Every change says what became of it."""
    await make_users(app_database).add("Ben", Role.STAFF, PASSWORD)
    async with app_database.connection() as connection:
        for number in ("001", "002"):
            await insert_order(connection, number=f"ORD_20241216_{number}", released_at=NOON)
    page = await screens.open("/orders?state=held")
    await sign_in(page, "Anna")
    for number, next_person, outcome in (
        ("001", "Ben", "this was not done, because the session"),
        ("002", "Ben", None),
    ):
        await expect(page.locator("#list > li").first).to_be_visible()
        await expect_settled(page)
        await page.locator(f'[data-order$="{number}"] .open').click()
        await page.get_by_role("button", name="Cancel the order").click()
        await page.get_by_label("Why?").fill("mistake")
        await page.context.clear_cookies()  # as the browser does at the end of the session
        await page.keyboard.press("Enter")
        await expect(page.get_by_text("is kept, and sent once you have signed in")).to_be_visible()
        assert await serious_violations(page) == []
        await sign_in(page, next_person)
        cancelled = page.locator("#filters button").filter(has_text="Cancelled")
        if outcome is not None:
            await expect(page.get_by_role("alert")).to_contain_text(outcome)
        await expect(cancelled).to_have_text("Cancelled 0" if outcome else "Cancelled 1")

    dashboard = await page.context.new_page()
    await dashboard.goto("/dashboard")
    await expect(dashboard.get_by_role("button", name="Cook ORD_20241216_001")).to_be_visible()
    await page.context.clear_cookies()
    dashboard.on("dialog", lambda dialog: dialog.accept())
    await dashboard.get_by_role("button", name="Cook ORD_20241216_001").click()
    await expect(dashboard.get_by_text("What you did last was not done")).to_be_visible()
