"""Take the pictures in docs/screenshots."""

import asyncio
import contextlib
from pathlib import Path

from playwright.async_api import Page

from tests.screenshots.demo_data import DemoData, time_zone_at_seven_pm
from tests.support.all_in_one_app import AllInOneApp
from tests.support.browser import Screens, running_browser
from tests.support.postgres_server import running_postgres

PICTURES = Path(__file__).parents[2] / "docs" / "screenshots"


async def main() -> None:
    """Create demo data, and take a picture of each screen."""
    with running_postgres() as server:
        dsn = server.dsn(await server.create_database())
        zone = time_zone_at_seven_pm()
        with contextlib.closing(AllInOneApp(dsn, RESTAURANT_BUSINESS_TIMEZONE=zone)) as app:
            app.open()
            async with running_browser() as chrome:
                screens = Screens(chrome, app.address)
                await take_all(screens, DemoData(app, dsn))
                await screens.close()


async def take_all(screens: Screens, demo_data: DemoData) -> None:
    """Take the pictures, one after the other."""
    kitchen = await screens.open("/kitchen", width=1280, height=800)
    number = await demo_data.create()
    counter = await screens.open("/", width=1280, height=800)
    await fill_in(counter)
    for name, page in {
        "counter": counter,
        "kitchen": kitchen,
        "board": await screens.open("/board", width=1280, height=720),
        "track": await screens.open(await demo_data.link_to(number), width=390, height=760),
        "dashboard": await screens.open("/dashboard", width=1280, height=1000),
    }.items():
        await page.wait_for_timeout(1500)  # until animations have ended
        await page.screenshot(path=PICTURES / f"{name}.png")
        print(PICTURES / f"{name}.png")  # noqa: T201 - the result of the command


async def fill_in(counter: Page) -> None:
    """Fill in an order without placing it."""
    await counter.get_by_label("Customer name").fill("Ada Lovelace")
    for item in ("Margherita", "Caprese", "Tiramisù"):
        await counter.get_by_role("button", name=item).first.click()


if __name__ == "__main__":
    asyncio.run(main())
