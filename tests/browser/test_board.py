"""The pickup board for customers."""

import re

import pytest
from playwright.async_api import Page, expect

from restaurant_system.database.connection import Database
from restaurant_system.models.clock import utc_now
from restaurant_system.models.status import OrderStatus
from tests.support.all_in_one_app import AllInOneApp
from tests.support.browser import Screens, serious_violations
from tests.support.rows import insert_order
from tests.support.services import move, move_through

pytestmark = pytest.mark.asyncio(loop_scope="session")

SOON = 2000  # ms: a second, doubled because other tests run at the same time


async def test_board_shows_highlights_and_announces_an_order_once_it_is_ready(
    screens: Screens, app: AllInOneApp, app_database: Database
) -> None:
    """A courier reads the reference of the platform; an order of another day has its date."""
    number = await app.order(reference="84H9B")
    earlier = f"ORD_20241216_{number[-3:]}"
    sql = await app_database.dedicated()
    await insert_order(sql, number=earlier)
    await sql.close()
    await move_through(app_database, earlier, OrderStatus.COOKING, OrderStatus.READY, at=utc_now())
    page = await screens.open("/board", width=1920, height=1080, reduced_motion="reduce")
    short = number[-3:]
    await expect(page.locator("#preparing li")).to_have_text([f"{short} 84H9B"])
    await expect(page.locator("#ready li.new")).to_have_text([f"{short} Dec 16"])

    await move_through(app_database, number, OrderStatus.COOKING)
    at = utc_now()
    await move(app_database, number, OrderStatus.COOKING, OrderStatus.READY, at=at, by="mario")

    await expect(page.locator("#ready li.new").first).to_have_text(f"{short} 84H9B", timeout=SOON)
    await expect(page.locator("#preparing li")).to_have_count(0)
    await expect(page.get_by_role("status")).to_have_text(f"Order {short} (84H9B) is ready.")
    assert await serious_violations(page) == []

    await app.hand_over(number)

    await expect(page.locator("#ready li")).to_have_text([f"{short} Dec 16"], timeout=SOON)
    await page.reload()
    await expect(page.locator("#ready li")).to_have_text([f"{short} Dec 16"])

    courier = await app.order(order_type="delivery", handoff="courier", reference="WOLT-7")
    await page.goto("/board?order_types=delivery,burger")

    await expect(page.locator("main li")).to_have_text([f"{courier[-3:]} WOLT-7"])
    await expect(page.locator("#notice")).to_have_text(
        "There is no order type burger. In this address you can write: dine_in, takeout, delivery."
    )
    assert await serious_violations(page) == []


MAKE_READY = """
UPDATE orders SET status = 'cooking', processed_by = 'mario' WHERE number LIKE 'ORD_20241216_8___';
UPDATE orders SET status = 'ready', completed_at = now() WHERE status = 'cooking';
"""


@pytest.mark.parametrize(("width", "height"), [(1920, 1080), (360, 640)])
async def test_board_with_a_hundred_orders_fits_the_screen(
    screens: Screens, app_database: Database, width: int, height: int
) -> None:
    """With many orders, the board shows smaller numbers or pages of them.

    Long references are shown with their ends, in which they differ. What is on no page is
    counted, and at the pass what is in no list.
    """
    is_phone = width == 360
    sql = await app_database.dedicated()
    for _ in range(60):
        await insert_order(sql)
    for place in range(8100, 8301 if is_phone else 8140):
        reference = f"GH-7781-ABCDEFGH-{place}" if is_phone else None
        await insert_order(sql, number=f"ORD_20241216_{place}", reference=reference)
    await sql.execute(MAKE_READY)
    await sql.close()

    page = await screens.open("/board", width=width, height=height, reduced_motion="reduce")

    await expect(page.locator("#ready li").first).to_be_visible()
    assert await overflowing_elements(page) == []
    if is_phone:
        await expect(page.locator("#ready-page")).to_have_text(re.compile(r"^1 of \d+ · 1 more$"))
        captions = await page.evaluate(CAPTIONS)
        assert captions
        for end, is_shown, size in captions:
            assert end.startswith("H-8")
            assert is_shown
            assert size >= 14
        await page.goto("/pass")
        rest = page.get_by_role("link", name="141 more orders")
        await expect(rest).to_have_attribute("href", "/orders?state=ready")
    else:
        await expect(page.locator("#preparing li")).to_have_count(60)
        await expect(page.locator("#ready li")).to_have_count(40)
        await expect(page.locator(".page")).to_have_text(["", ""])


CAPTIONS = """
() => [...document.querySelectorAll("#ready .caption")].map((caption) => {
  const [end, cell] = [caption.lastChild, caption.parentElement.getBoundingClientRect()];
  const { left, right } = end.getBoundingClientRect();
  const size = parseFloat(getComputedStyle(caption).fontSize);
  return [end.textContent, cell.left <= left && right <= cell.right, size];
})
"""
OVERFLOWING = """
() => [...document.querySelectorAll("html, body, main, section, ul, li, h1, h2")]
  .filter((each) => each.scrollWidth > each.clientWidth
                 || each.scrollHeight > each.clientHeight + 1)
  .map((each) => each.outerHTML.slice(0, 80))
"""


async def overflowing_elements(page: Page) -> list[str]:
    """Return the elements whose content overflows them."""
    overflowing: list[str] = await page.evaluate(OVERFLOWING)
    return overflowing
