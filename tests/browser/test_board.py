"""The guests' wall."""

import pytest
from playwright.async_api import Page, expect

from restaurant_system.database.connection import Database
from restaurant_system.models.clock import utc_now
from restaurant_system.models.status import OrderStatus
from tests.support.all_in_one_app import AllInOneApp
from tests.support.browser import Screens, serious_violations
from tests.support.rows import insert_order
from tests.support.services import move, walk

pytestmark = pytest.mark.asyncio(loop_scope="session")

SOON = 2000  # ms: a second, on a machine that other tests share


async def test_an_order_goes_over_the_board(
    screens: Screens, app: AllInOneApp, app_database: Database
) -> None:
    """It is seen at once where it stands, draws the eye when it is ready, and is read out once."""
    number = await app.order()
    earlier = await app.order()
    await walk(app_database, earlier, OrderStatus.COOKING, OrderStatus.READY)
    page = await screens.open("/board", width=1920, height=1080, reduced_motion="reduce")
    short = number[-3:]
    await expect(page.locator("#preparing li")).to_have_text([short])
    await expect(page.locator("#ready li.new")).to_have_text([earlier[-3:]])

    await walk(app_database, number, OrderStatus.COOKING)
    at = utc_now()
    await move(app_database, number, OrderStatus.COOKING, OrderStatus.READY, at=at, by="mario")

    await expect(page.locator("#ready li.new").first).to_have_text(short, timeout=SOON)
    await expect(page.locator("#preparing li")).to_have_count(0)
    await expect(page.get_by_role("status")).to_have_text(f"Order {short} is ready.")
    assert await serious_violations(page) == []

    await app.complete(number)

    await expect(page.locator("#ready li")).to_have_text([earlier[-3:]], timeout=SOON)


@pytest.mark.parametrize(("width", "height"), [(1920, 1080), (360, 640)])
async def test_a_full_board_fits_its_wall(
    screens: Screens, app_database: Database, width: int, height: int
) -> None:
    """A hundred orders need no scroll bars: the numbers are smaller, or come page by page."""
    sql = await app_database.dedicated()
    for _ in range(60):
        await insert_order(sql)
    for place in range(1100, 1140):
        await insert_order(sql, number=f"ORD_20241216_{place}")
    await sql.close()
    for place in range(1100, 1140):
        await walk(
            app_database,
            f"ORD_20241216_{place}",
            OrderStatus.COOKING,
            OrderStatus.READY,
            at=utc_now(),
        )

    page = await screens.open("/board", width=width, height=height, reduced_motion="reduce")

    await expect(page.locator("#ready li").first).to_be_visible()
    assert await hidden_by_scrolling(page) == []
    if width > 1000:
        await expect(page.locator("#preparing li")).to_have_count(60)
        await expect(page.locator("#ready li")).to_have_count(40)


OVERFLOWING = """
() => [...document.querySelectorAll("html, body, main, section, ul, li, h1, h2")]
  .filter((each) => each.scrollWidth > each.clientWidth
                 || each.scrollHeight > each.clientHeight + 1)
  .map((each) => each.outerHTML.slice(0, 80))
"""


async def hidden_by_scrolling(page: Page) -> list[str]:
    """Name the elements that have more in them than there is room for."""
    overflowing: list[str] = await page.evaluate(OVERFLOWING)
    return overflowing
