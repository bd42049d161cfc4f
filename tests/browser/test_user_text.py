"""Text written by users: its direction, and its place on the screen."""

import pytest
from playwright.async_api import Page, expect

from restaurant_system.database.connection import Database
from tests.support.all_in_one_app import AllInOneApp
from tests.support.browser import Screens
from tests.support.orders import make_item

pytestmark = pytest.mark.asyncio(loop_scope="session")

REVERSED = "\N{RIGHT-TO-LEFT OVERRIDE}stun ON"  # what a browser shows as "NO nuts"
STACKED_MARKS = "a" + 49 * "\N{COMBINING TILDE}"
HEBREW = "\N{HEBREW LETTER SHIN}\N{HEBREW LETTER LAMED}"
DIRECTIONS = """
    elements => elements.map(each => [each.textContent, getComputedStyle(each).direction])
"""


async def user_texts(page: Page) -> dict[str, str]:
    """Return the texts that a page isolates, each with the direction that it has."""
    found = await page.locator(".user-text[dir=auto]").evaluate_all(DIRECTIONS)
    return {text: direction for text, direction in found if text}


async def test_text_on_a_ticket_keeps_its_direction(
    app: AllInOneApp, screens: Screens, app_database: Database
) -> None:
    """A direction override that was stored by an earlier release does not affect other text."""
    await app.order(items=[make_item(name=HEBREW, notes="nuts")], notes="1 spoon")
    async with app_database.connection() as connection:
        await connection.execute("UPDATE order_items SET notes = $1", REVERSED)
        await connection.execute("UPDATE orders SET notes = $1", REVERSED)
    page = await screens.open("/kitchen?station=kitchen")
    await expect(page.locator(".note")).to_have_text("\ufffdstun ON")

    texts = await user_texts(page)
    assert (texts[HEBREW], texts["\ufffdstun ON"]) == ("rtl", "ltr")
    assert "\u202e" not in await page.locator("body").inner_text()


async def test_stacked_combining_marks_do_not_cover_other_items(
    app: AllInOneApp, screens: Screens, app_database: Database
) -> None:
    """An earlier release stored any number of them."""
    await app.order(items=[make_item(notes="no onions"), make_item(name="soup", notes="hot")])
    async with app_database.connection() as connection:
        await connection.execute(
            "UPDATE order_items SET name = $1, notes = $1 WHERE name = 'soup'", STACKED_MARKS
        )
    page = await screens.open("/kitchen?station=kitchen")
    above = page.locator(".ticket .items > li").first
    await expect(above).to_contain_text("no onions")

    with_stack = await above.screenshot(animations="disabled")
    below = page.locator(".ticket .items > li").nth(1).locator(".name, .note")
    await below.evaluate_all("texts => texts.forEach(each => { each.textContent = 'a'; })")

    assert await above.screenshot(animations="disabled") == with_stack


async def test_names_on_the_dashboard_keep_their_direction(
    screens: Screens, app_database: Database
) -> None:
    """A direction override that was stored by an earlier release does not affect other text."""
    async with app_database.connection() as connection:
        await connection.execute(
            "INSERT INTO workers (name, type, heartbeat_interval, session)"
            " SELECT name, 'takeout', '1 hour', gen_random_uuid() FROM unnest($1::text[]) AS name",
            [HEBREW, REVERSED],
        )
    page = await screens.open("/dashboard")
    await expect(page.locator("#workers tbody tr")).to_have_count(2)

    assert await user_texts(page) == {HEBREW: "rtl", "\ufffdstun ON": "ltr"}
