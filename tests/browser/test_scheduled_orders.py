"""Scheduled orders on the screens: the tracking page, the kitchen display and the dashboard."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from playwright.async_api import expect

from tests.support.all_in_one_app import AllInOneApp
from tests.support.browser import Screens, serious_violations

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_scheduled_order_is_shown_as_such_until_it_is_cooked_now(
    app: AllInOneApp, screens: Screens
) -> None:
    ready_at = datetime.now(UTC) + timedelta(hours=26)
    number = await app.order(ready_at=ready_at.isoformat(), amount_due=9.5)
    short = number.rpartition("_")[2]
    track = await screens.open(f"/track/{number}")
    kitchen = await screens.open("/kitchen?station=kitchen")
    dashboard = await screens.open("/dashboard")

    await expect(track.get_by_text(f"{ready_at:%H:%M}").first).to_be_visible()
    await kitchen.keyboard.press("s")
    listed = kitchen.get_by_role("dialog", name="Scheduled for later").get_by_role("listitem")
    await expect(listed.first).to_contain_text(short)
    await expect(listed.first).to_contain_text(f"{ready_at:%H:%M}")
    await expect(listed.first.locator(".amount-due")).to_have_text("To pay 9.50")
    await kitchen.keyboard.press("Escape")
    await expect(kitchen.locator("#rail > li")).to_have_count(0)
    section = dashboard.get_by_role("region", name="Scheduled")
    await expect(section).to_contain_text(f"{ready_at:%H:%M}")
    await expect(section).to_contain_text("To pay 9.50")
    await expect(dashboard.locator("#waiting .figure")).to_have_text("0")
    assert not await serious_violations(dashboard)

    orders = await screens.open(f"/orders?order={number}")
    details = orders.get_by_role("dialog", name=f"Order {short}")
    await details.get_by_role("button", name="Cook now").click()
    await expect(details).to_contain_text(re.compile(rf"now\? It is wanted for .*{ready_at:%H:%M}"))
    await details.get_by_role("button", name="Not now").click()
    cook_now = section.get_by_role("button", name=f"Cook now {short}")
    await cook_now.click()  # playwright declines
    await expect(cook_now).to_be_enabled()
    dashboard.once("dialog", lambda dialog: dialog.accept())
    await cook_now.click()

    await expect(section).to_be_hidden()
    await expect(dashboard.locator("#waiting .figure")).to_have_text("1")
    await expect(kitchen.locator("#rail > li")).to_have_count(1)
    age = kitchen.locator("#rail .age")  # beyond a day no countdown, but the time
    await expect(age).to_have_text(re.compile(rf"^\w.*{ready_at:%H:%M}$"))
