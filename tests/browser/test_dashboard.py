"""The dashboard page in a browser."""

import re
from datetime import timedelta

import asyncpg
import pytest
from playwright.async_api import Page, expect

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
START = "UPDATE orders SET status = 'cooking', processed_by = 'anna' WHERE number = $1"
BUMP = """
UPDATE orders SET status = 'ready', completed_at = created_at + interval '1 hour 5 s'
WHERE number = $1
"""


async def expect_figure(page: Page, card: str, figure: str) -> None:
    """Wait until a card of the dashboard shows a figure."""
    await expect(page.locator(f"#{card} .figure")).to_have_text(figure)


async def test_empty_sections_have_texts_and_a_new_order_updates_the_figures(
    screens: Screens, app: AllInOneApp
) -> None:
    page = await screens.open("/dashboard")
    await expect_figure(page, "waiting", "0")
    await expect(page.get_by_text("Every order has been started.")).to_be_visible()
    for section, words in (
        ("Orders by hour", "No orders yet today."),
        ("Preparation", "Nothing was ready yet today."),
        ("Workers", "No worker has registered yet."),
    ):
        await expect(page.get_by_role("region", name=section).get_by_text(words)).to_be_visible()

    for _ in range(2):
        await app.order()
    await app.order(order_type="dine_in", table_number=5)

    await expect_figure(page, "waiting", "3")
    await expect(page.locator("#waiting .note")).to_have_text("Dine in 1 · Takeout 2")
    await expect(page.locator("#late .note")).to_have_text("Every order was on time.")
    orders = page.get_by_role("region", name="Orders by hour")
    chart = orders.get_by_role("img", name="Orders by hour")
    await expect(chart).to_have_accessible_description(re.compile("^3 orders since .*"))
    await expect(chart.locator(".bar.open")).to_have_count(1)
    await orders.get_by_text("The same in figures").click()
    await expect(orders.locator("tbody td").filter(has_text="3")).to_have_count(1)
    queues = page.get_by_role("region", name="Queues")
    await expect(queues.get_by_text("Takeout2")).to_be_visible()
    assert await serious_violations(page) == []


async def test_warnings_are_shown_in_words_and_announced(
    screens: Screens, app: AllInOneApp
) -> None:
    """Silent workers are distinguished from offline ones. All of it fits a phone."""
    page = await screens.open("/dashboard", width=360)
    await expect_figure(page, "dead-letters", "0")
    await expect(page.locator(".warning")).to_have_count(0)

    connection = await asyncpg.connect(app.dsn)
    await connection.execute(INSERT_DEAD_LETTER + ";" + INSERT_OLD_OUTBOX_MESSAGE)
    hour = timedelta(hours=1)
    await insert_worker(connection, name="anna", heartbeat_interval=hour, orders_processed=7)
    await insert_worker(connection, name="bruno", heartbeat_interval=timedelta())
    await insert_worker(connection, name="carla", heartbeat_interval=hour, status="offline")
    number = await app.order()
    await connection.execute(START, number)
    await connection.execute(BUMP, number)
    await connection.close()

    await expect(page.locator("#warnings")).to_have_text(
        "Warnings: Late, Dead letters, Outbox age."
    )
    await expect(page.locator("#late .note")).to_have_text(re.compile("^1 of 1 .* one in ten"))
    await expect(page.locator("#dead-letters .note")).to_have_text(
        re.compile("could not be processed")
    )
    await expect(page.locator("#outbox .note")).to_have_text(re.compile("cannot be sent"))
    rows = page.get_by_role("region", name="Workers").locator("tbody tr")
    await expect(rows).to_contain_text(["Online", "Silent", "Offline"])
    await expect(rows.first).to_contain_text(re.compile(r"anna.*sec\. ago.*7"))
    preparation = page.get_by_role("region", name="Preparation").locator("tbody tr").first
    await expect(preparation).to_contain_text("1:00:05")
    await expect(preparation).to_contain_text("1 of 1")
    width = await page.evaluate("document.documentElement.scrollWidth")
    assert width == 360
    assert await serious_violations(page) == []
