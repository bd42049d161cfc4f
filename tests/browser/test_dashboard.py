"""The dashboard page in a browser."""

import re
from datetime import timedelta

import asyncpg
import pytest
from playwright.async_api import Dialog, Page, Route, expect

from tests.support.all_in_one_app import AllInOneApp
from tests.support.browser import Screens, serious_violations
from tests.support.rows import insert_worker

pytestmark = pytest.mark.asyncio(loop_scope="session")

INSERT_DEAD_LETTER = """
INSERT INTO broker_messages (queue, exchange, routing_key, type, body, message_id, correlation_id,
                             app_id, timestamp, priority, content_type, headers)
VALUES ('kitchen_dead_letter_queue', 'orders_topic', 'kitchen.takeout.1', 'order.received', '{}',
        gen_random_uuid(), 'r', 'order-service', now(), 1, 'application/json', '{}')
"""
INSERT_OLD_OUTBOX_MESSAGE = """
INSERT INTO outbox (created_at, stream, exchange, routing_key, type, body, message_id,
                    correlation_id, app_id, timestamp, priority, not_before)
VALUES (now() - interval '1 minute', 'orders_topic/x', 'orders_topic', 'kitchen.takeout.1',
        'order.received', '{}', gen_random_uuid(), 'r', 'order-service', now(), 1, 'infinity')
"""
# Ordered at the start of the date, and cancelled.
LAST_WEEK = """
INSERT INTO orders (number, business_date, customer_name, type, total_amount, priority, status,
                    processed_by, created_at, released_at)
SELECT 'ORD_' || to_char(day, 'YYYYMMDD') || '_001', day, 'Ada', 'takeout', 9.50, 1, 'received',
       NULL, (day + time '00:00') AT TIME ZONE 'UTC', now()
FROM (SELECT (now() AT TIME ZONE 'UTC')::date - 7 AS day) AS last_week;
UPDATE orders SET status = 'cancelled'
"""
LATE = """
UPDATE orders SET created_at = created_at - interval '1 hour',
                  promised_at = promised_at - interval '1 hour'
WHERE number = $1
"""
SOLD_OUT = """
INSERT INTO menu_availability (item, remaining, changed_at) VALUES ('name:soup', 0, now())
"""
YESTERDAY = "UPDATE orders SET released_at = now() - interval '2 days 1 hour'"
START = "UPDATE orders SET status = 'cooking', processed_by = 'anna' WHERE number = $1"
BUMP = """
UPDATE orders SET status = 'ready', created_at = created_at - interval '2 hours',
                  completed_at = created_at - interval '59 min 55 s'
WHERE number = $1
"""


async def expect_figure(page: Page, card: str, figure: str) -> None:
    """Wait until a card of the dashboard shows a figure."""
    await expect(page.locator(f"#{card} .figure")).to_have_text(figure)


async def test_empty_sections_have_texts_and_a_new_order_updates_the_figures(
    screens: Screens, app: AllInOneApp
) -> None:
    """The figures are compared with those of the same weekday."""
    connection = await asyncpg.connect(app.dsn)
    await connection.execute(LAST_WEEK)
    await connection.close()
    page = await screens.open("/dashboard")
    await expect_figure(page, "waiting", "0")
    await expect(page.get_by_text("Every order has been started.")).to_be_visible()
    for section, words in (
        ("Orders by hour", "No orders yet today."),
        ("Waiting and preparation", "Nothing waits, and nothing was ready yet today."),
        ("Cooks and stations", "No cook has been here yet."),
    ):
        await expect(page.get_by_role("region", name=section).get_by_text(words)).to_be_visible()

    for _ in range(2):
        await app.order()
    await app.order(order_type="dine_in", table_number=5)

    await expect_figure(page, "waiting", "3")
    await expect(page.locator("#waiting .note")).to_have_text("Dine in 1 · Takeout 2")
    await expect(page.locator("#late .note")).to_have_text("No order was due yet today.")
    orders = page.get_by_role("region", name="Orders by hour")
    chart = orders.get_by_role("img", name="Orders by hour")
    await expect(chart).to_have_accessible_description(re.compile("^3 orders since .*"))
    await expect(chart.locator(".bar.open")).to_have_count(1)
    await orders.get_by_text("The same in figures").click()
    await expect(orders.locator("tbody td").filter(has_text="3")).to_have_count(1)
    await expect(page.locator("#placed .note")).to_have_text(re.compile(r"^2 above \w+.* \(1\)\.$"))
    await expect(page.locator("#sales .note")).to_have_text(re.compile(r"above .* \(0\.00\)\.$"))
    await expect(chart.locator(".usual")).to_have_count(1)
    async with page.expect_download() as saved:
        await page.get_by_role("button", name="Save the file").click()
    assert re.fullmatch(r"orders-\d{4}-\d\d-\d\d\.csv", (await saved.value).suggested_filename)
    technical = page.get_by_role("region", name="For the technician")
    await technical.get_by_text("For the technician").click()
    await expect(technical.get_by_text("kitchen_takeout_queue2")).to_be_visible()
    await expect(technical).to_contain_text("0 dead letters")
    assert await serious_violations(page) == []


async def test_tasks_are_shown_in_words_with_links_and_announced(
    screens: Screens, app: AllInOneApp
) -> None:
    """Silent workers are distinguished from offline ones. All of it fits a phone."""
    page = await screens.open("/dashboard", width=360)
    await expect_figure(page, "waiting", "0")
    await expect(page.locator(".warning, .alarm")).to_have_count(0)

    connection = await asyncpg.connect(app.dsn)
    await connection.execute(INSERT_DEAD_LETTER + ";" + INSERT_OLD_OUTBOX_MESSAGE)
    hour = timedelta(hours=1)
    await insert_worker(connection, name="anna", heartbeat_interval=hour, orders_processed=7)
    await insert_worker(connection, name="bruno", heartbeat_interval=timedelta())
    await insert_worker(connection, name="carla", heartbeat_interval=hour, status="offline")
    number = await app.order()
    handed_over, late = await app.order(), await app.order()
    for each in (number, handed_over):
        await connection.execute(START, each)
        await connection.execute(BUMP, each)
    await app.complete(handed_over)
    await connection.execute(LATE, late)
    await connection.execute(SOLD_OUT)
    await connection.close()

    alarms = page.get_by_role("region", name="To do now")
    await expect(alarms.locator(".what")).to_have_text(
        [
            "1 order is late (Takeout).",
            re.compile("^The kitchen could not read 1 order or change"),
            re.compile("^1 order or change has not reached the kitchen for 1:0"),
            "1 order is ready, and was not fetched.",
            "1 item of the menu is sold out.",
        ]
    )
    links = await alarms.locator("a.button").evaluate_all("all => all.map(each => each.pathname)")
    assert [links[0], links[-1]] == ["/orders", "/"]
    await expect(page.locator("#warnings")).to_have_text(
        re.compile("^To do: 1 order is late.*, Late.$")
    )
    await expect(page.locator("#late .note")).to_have_text(re.compile("^3 of 3 .* one in ten"))
    rows = page.get_by_role("region", name="Cooks and stations").locator("tbody tr")
    await expect(rows).to_contain_text(["On duty", "Does not respond", "Off duty"])
    await expect(rows.first).to_contain_text(re.compile(r"anna.*sec\. ago.*7"))
    preparation = (
        page.get_by_role("region", name="Waiting and preparation").locator("tbody tr").first
    )
    await expect(preparation).to_contain_text("1:00:05")
    await expect(preparation).to_contain_text("3 of 3")
    width = await page.evaluate("document.documentElement.scrollWidth")
    assert width == 360
    assert await serious_violations(page) == []


async def test_held_orders_are_shown_first_and_can_be_cooked_or_cancelled(
    screens: Screens, app: AllInOneApp
) -> None:
    """All of it fits a phone. What cannot be done is explained, and can be tried again."""
    page = await screens.open("/dashboard", width=360)
    alarms = page.get_by_role("region", name="To do now")
    await expect_figure(page, "waiting", "0")
    await expect(alarms).to_be_hidden()

    connection = await asyncpg.connect(app.dsn)
    await insert_worker(connection, name="anna", heartbeat_interval=timedelta(hours=1))
    first, second, *others = [await app.order(customer_name=f"Ada {each}") for each in range(7)]
    await connection.execute(YESTERDAY)
    await expect(alarms.locator(".what")).to_have_text(
        "7 orders of an earlier day were never started. Decide what happens to them."
    )
    rows = alarms.locator(".named li")
    await expect(rows).to_contain_text(
        [*(f"Takeout · Ada {each} · 1" for each in range(5)), "and 2 more", "Cook all"]
    )
    await expect(rows.first.get_by_role("link")).to_have_attribute("href", f"/orders?order={first}")
    await expect(alarms.get_by_role("link", name="Show all")).to_have_attribute(
        "href", "/orders?state=held"
    )
    await expect(alarms.locator(".since")).to_have_text("Began 2 days ago")
    await expect(page.locator("#warnings")).to_have_text(re.compile(r"^To do: 7 orders of"))
    await expect_figure(page, "waiting", "0")
    top = await page.locator("main > section").first.bounding_box()
    assert top == await alarms.bounding_box()
    assert await page.evaluate("document.documentElement.scrollWidth") == 360
    assert await serious_violations(page) == []

    questions: list[str] = []

    async def accept(dialog: Dialog) -> None:
        questions.append(dialog.message)
        await dialog.accept()

    page.on("dialog", accept)
    await page.route(f"**/orders/{first}/release", unanswered)
    cook = page.get_by_role("button", name=f"Cook {first}")
    await cook.click()
    await expect(alarms.get_by_text("The order service did not answer. Try again.")).to_be_visible()
    await page.unroute(f"**/orders/{first}/release")
    await cook.click()
    await expect_figure(page, "waiting", "1")
    await page.get_by_role("button", name=f"Cancel {second}").click()
    await expect(alarms.get_by_text("Ada 1")).to_have_count(0)
    await alarms.get_by_role("button", name="Cancel all").click()
    await expect(alarms).to_be_hidden()
    assert questions[-1].startswith("Cancel all 5 orders of earlier days?")
    assert len(questions) == 4

    released = "SELECT released_at > now() - interval '1 minute' FROM orders WHERE number = $1"
    assert await connection.fetchval(released, first)
    for number in (second, *others):
        assert (await app.get(f"/orders/{number}"))["status"] == "cancelled"
    await connection.close()


async def unanswered(route: Route) -> None:
    """Answer a request as a service does that cannot process it."""
    await route.fulfill(status=503, content_type="application/json", body="{}")
