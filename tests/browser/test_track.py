"""The tracking page of one order."""

from datetime import timedelta
from zoneinfo import ZoneInfo

import asyncpg
import pytest
from playwright.async_api import expect

from restaurant_system.database.connection import Database
from restaurant_system.models.clock import rfc_3339, utc_now
from restaurant_system.models.status import OrderStatus
from tests.support.all_in_one_app import AllInOneApp
from tests.support.browser import Screens, serious_violations
from tests.support.orders import make_item
from tests.support.rows import insert_worker
from tests.support.services import move, move_through

pytestmark = pytest.mark.asyncio(loop_scope="session")

SOON = 2000  # ms: a second, doubled because other tests run at the same time
LONG = 20_000  # ms
SILENCE = 5000  # ms without an event after which a view counts as out of date
ZONE = ZoneInfo("Asia/Kathmandu")  # 5 h 45 min ahead of the browser

RECORD_ALERTS = """
window.alerts = [];
const resume = AudioContext.prototype.resume;
AudioContext.prototype.resume = function () {
  window.alerts.push("sound");
  return resume.call(this);
};
navigator.vibrate = () => window.alerts.push("vibration");
"""


async def put_cook_on_duty(app: AllInOneApp) -> None:
    """Register a worker for takeout, without whom there is no estimate."""
    sql = await asyncpg.connect(app.dsn)
    await insert_worker(sql, name="mario", type="takeout", status="online", last_seen=utc_now())
    await sql.close()


@pytest.mark.parametrize("app", [{"RESTAURANT_BUSINESS_TIMEZONE": ZONE.key}], indirect=True)
async def test_page_follows_an_order_to_its_completion(
    screens: Screens, app: AllInOneApp, app_database: Database
) -> None:
    """By its tracking link. Times are in the restaurant's time zone, not the device's."""
    ham = {"name": "Ham", "price": 1.5, "modifiers": [{"name": "rind", "kind": "remove"}]}
    wish = {"name": "Call Quux", "kind": "instruction"}
    items = [
        make_item(notes="for Quux", guest="Quux"),
        make_item(name="Calzone", quantity=2, modifiers=[ham, wish]),
    ]
    ready_at = utc_now().replace(second=0, microsecond=0)
    await put_cook_on_duty(app)
    number, link = await app.order_with_link(
        customer_name="Wilhelmina Quux",
        handoff="curbside",
        items=items,
        charges=[{"name": "Voucher", "amount": -2}],
        amount_due=20,
        ready_at=rfc_3339(ready_at),
    )
    page = await screens.open(link, width=360, height=740)
    headline, steps = page.locator("#headline"), page.locator("#steps li")
    await expect(page.get_by_role("heading")).to_contain_text(number[-3:])
    await expect(headline).to_have_text("We have your order")
    await expect(page.locator("#detail")).to_be_empty()  # no estimate is learned yet
    await page.get_by_role("button", name="Tap for a sound").click()
    await expect(page.locator("#alert")).to_contain_text("You will hear a sound")
    await expect(steps).to_contain_text(["Received", "Cooking", "Ready"])
    await expect(page).to_have_title(f"{number[-3:]} · Received")
    await expect(page.locator("#items li")).to_have_text(
        [
            "1 \u00d7 Margherita9.50",
            "2 \u00d7 Calzone22.00Hamwithout rind",
            "Hamwithout rind",
            "without rind",
            "Voucher-2.00",
        ]
    )
    await expect(page.locator("#total")).to_have_text("29.50")
    amount_due = page.get_by_text("To pay 20.00")
    await expect(amount_due).to_be_visible()
    await expect(page.locator("#type")).to_have_text(
        f"Takeout · for {ready_at.astimezone(ZONE):%H:%M}"
    )
    referrers: list[str | None] = []
    page.on("request", lambda request: referrers.append(request.headers.get("referer")))
    await page.add_init_script(RECORD_ALERTS)
    await page.reload()
    await page.get_by_role("button", name="Tap for a sound").click()
    await expect(page.locator("#total")).to_have_text("29.50")
    assert len(referrers) > 5
    assert not any(referrer and "/track/" in referrer for referrer in referrers)

    due = utc_now().replace(second=0, microsecond=0) + timedelta(minutes=9)
    await move_through(app_database, number, OrderStatus.COOKING, due=due)

    await expect(headline).to_have_text("Your order is cooking", timeout=SOON)
    await expect(page.locator("#detail")).to_have_text(
        f"Ready at about {due.astimezone(ZONE):%H:%M}"
    )
    await expect(page.locator("[aria-current=step]")).to_contain_text("Cooking")

    at = utc_now()
    await move(app_database, number, OrderStatus.COOKING, OrderStatus.READY, at=at, by="mario")

    await expect(headline).to_have_text("Your order is ready", timeout=SOON)
    await expect(page.locator("#detail")).to_have_text("We bring it out to your car.")
    assert await page.evaluate("window.alerts") == ["sound", "vibration"]
    await expect(page.locator("#alert")).to_be_hidden()
    await expect(page).to_have_title(f"{number[-3:]} · Ready")
    await expect(page.locator("[aria-current=step]")).to_contain_text(
        f"{at.astimezone(ZONE):%H:%M}"
    )
    await expect(steps).to_have_count(3)
    assert await serious_violations(page) == []
    assert "Quux" not in await page.content()
    await app.complete(number)
    await expect(headline).to_have_text("Your order was handed over", timeout=SOON)
    await expect(amount_due).to_be_hidden()


async def test_cancelled_and_unknown_orders_are_explained(
    screens: Screens, app: AllInOneApp, app_database: Database
) -> None:
    """A page opened before its order exists shows it later; that of a malformed number never."""
    number, link = await app.order_with_link()
    day, place = number[:-3], int(number[-3:])
    early = await screens.open(f"/track/{day}{place + 1:03d}")
    malformed = await screens.open("/track/%E0%A4%A")
    for each in (early, malformed):
        await expect(each.locator("#headline")).to_have_text("We do not know this order")
    page = await screens.open(f"/track/{number}", width=360, height=740)
    await expect(page.locator("#headline")).to_have_text("We have your order")
    await expect(page.locator("#contents")).to_be_hidden()  # not by the number
    wrong = await screens.open(f"{link[:-32]}{'0' * 32}")
    ended = await screens.open(link)
    await expect(ended.locator("#contents")).to_be_visible()
    async with app_database.connection() as connection:
        await connection.execute(
            "UPDATE orders SET tracking_token = NULL WHERE number = $1", number
        )

    await app.cancel(number)
    await app.order()
    other = await screens.open("/track/ORD_20240101_777", width=360, height=740)

    await expect(page.locator("#headline")).to_have_text("Your order was cancelled")
    await expect(page.locator("#detail")).to_contain_text("please ask us")
    await expect(page.locator("#steps li")).to_contain_text(["Received", "Cancelled"])
    await expect(other.locator("#headline")).to_have_text("We do not know this order")
    await expect(other.locator("#detail")).to_contain_text("ORD_20240101_777")
    await expect(wrong.locator("#headline")).to_have_text("We do not know this order")
    await expect(ended.locator("#headline")).to_have_text("We do not know this order")
    await expect(ended.locator("#contents")).to_be_hidden()
    assert await serious_violations(other) == []
    await expect(early.locator("#headline")).to_have_text("We have your order")
    await expect(early.get_by_role("heading")).to_contain_text(f"{place + 1:03d}")
    await expect(malformed.locator("#headline")).to_have_text("We do not know this order")


async def test_lost_connection_is_shown_and_views_continue_after_it(
    screens: Screens, app: AllInOneApp, app_database: Database
) -> None:
    """The last known state stays visible. A board that never had a connection says so."""
    number = await app.order()
    unconnected = await screens.open("/board")
    await unconnected.route("**/live/*", lambda route: route.abort())
    await unconnected.reload()
    page, board = await screens.open(f"/track/{number}"), await screens.open("/board")
    await expect(page.locator("#headline")).to_have_text("We have your order")
    await expect(board.locator("#preparing li")).to_have_text([number[-3:]])

    app.kill()
    for each in (page, board, unconnected):
        await each.clock.install()
        await each.clock.fast_forward(SILENCE)
    await move_through(app_database, number, OrderStatus.COOKING, OrderStatus.READY, at=utc_now())

    for each in (page, board):
        banner = each.locator(".banner")
        await expect(banner).to_contain_text("What you see is as of", timeout=LONG)
    await expect(unconnected.locator(".banner")).to_have_text("No connection yet.", timeout=LONG)
    await expect(page.locator("#headline")).to_have_text("We have your order")
    await expect(board.locator("#preparing li")).to_have_text([number[-3:]])

    app.open()

    await expect(page.locator("#headline")).to_have_text("Your order is ready", timeout=LONG)
    await expect(board.locator("#ready li")).to_have_text([number[-3:]], timeout=LONG)
    for each in (page, board):
        await expect(each.get_by_role("alert")).to_be_hidden()
