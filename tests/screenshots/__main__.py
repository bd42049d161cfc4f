"""Takes the pictures in docs/screenshots."""

import asyncio
import contextlib
from pathlib import Path

from playwright.async_api import Page

from tests.screenshots.staging import Evening, zone_of_the_evening
from tests.support.all_in_one_app import AllInOneApp
from tests.support.browser import Screens, running_browser
from tests.support.postgres_server import running_postgres

PICTURES = Path(__file__).parents[2] / "docs" / "screenshots"


async def main() -> None:
    """Stage an evening, and take a picture of each screen."""
    with running_postgres() as server:
        dsn = server.dsn(await server.create_database())
        zone = zone_of_the_evening()
        with contextlib.closing(AllInOneApp(dsn, RESTAURANT_BUSINESS_TIMEZONE=zone)) as house:
            house.open()
            async with running_browser() as chrome:
                screens = Screens(chrome, house.address)
                await take_all(screens, Evening(house, dsn))
                await screens.close()


async def take_all(screens: Screens, evening: Evening) -> None:
    """Take the pictures, one after the other."""
    kitchen = await screens.open("/kitchen", width=1280, height=800)
    number = await evening.stage()
    counter = await screens.open("/", width=1280, height=800)
    await fill_in(counter)
    for name, page in {
        "counter": counter,
        "kitchen": kitchen,
        "board": await screens.open("/board", width=1280, height=720),
        "track": await screens.open(f"/track/{number}", width=390, height=760),
        "dashboard": await screens.open("/dashboard", width=1280, height=1000),
    }.items():
        await page.wait_for_timeout(1500)  # for what moves to have come to rest
        await page.screenshot(path=PICTURES / f"{name}.png")
        print(PICTURES / f"{name}.png")  # noqa: T201 - what was asked for


async def fill_in(counter: Page) -> None:
    """Begin an order."""
    await counter.get_by_label("Customer name").fill("Ada Lovelace")
    for item in ("Margherita", "Caprese", "Tiramisù"):
        await counter.get_by_role("button", name=item).first.click()


if __name__ == "__main__":
    asyncio.run(main())
