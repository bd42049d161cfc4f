"""Take the pictures in docs/screenshots: each page on a tablet and on a phone."""

import asyncio
import base64
import contextlib
from pathlib import Path

from playwright.async_api import Page

from restaurant_system.app import pages
from tests.screenshots.demo_data import DemoData, time_zone_at_seven_pm
from tests.support.all_in_one_app import AllInOneApp
from tests.support.browser import Screens, running_browser
from tests.support.postgres_server import running_postgres

PICTURES = Path(__file__).parents[2] / "docs" / "screenshots"
SIZES = {"tablet": (1180, 820), "phone": (390, 844)}
QUALITY = 80  # of WebP: text stays sharp, and a picture has about 30 KB
STATION = "/kitchen?station=kitchen"


async def main() -> None:
    """Create demo data, and take a picture of each page."""
    with running_postgres() as server:
        dsn = server.dsn(await server.create_database())
        zone = time_zone_at_seven_pm()
        settings = {"RESTAURANT_BUSINESS_TIMEZONE": zone, "RESTAURANT_CURRENCY": "EUR"}
        with contextlib.closing(AllInOneApp(dsn, **settings)) as app:
            app.open()
            async with running_browser() as chrome:
                screens = Screens(chrome, app.address)
                await take_all(screens, DemoData(app, dsn))
                await screens.close()


async def take_all(screens: Screens, demo_data: DemoData) -> None:
    """Take the pictures, one after the other."""
    station = await screens.open(STATION)
    number = await demo_data.create()
    paths = {name: path for path, (name, _) in pages.ALL.items() if "{" not in path}
    paths |= {
        "stations": "/kitchen",
        "kitchen": STATION,
        "track": await demo_data.link_to(number),
    }
    await station.close()  # a station has one screen
    for device, (width, height) in SIZES.items():
        page = await screens.open("/", width=width, height=height)
        for name, path in paths.items():
            await page.goto(path)
            if name == "counter":
                await fill_in(page)
            await page.wait_for_timeout(2500)  # until it has its data, and animations have ended
            notice = page.get_by_role("button", name="OK", exact=True)  # that a screen may turn off
            if await notice.is_visible():
                await notice.click()
            await take(page, PICTURES / f"{name}-{device}.webp")


async def take(page: Page, file: Path) -> None:
    """Take a picture in WebP, which is a quarter as large as in PNG."""
    session = await page.context.new_cdp_session(page)
    options = {"format": "webp", "quality": QUALITY}
    picture = await session.send("Page.captureScreenshot", options)
    await session.detach()
    await asyncio.to_thread(file.write_bytes, base64.b64decode(picture["data"]))
    print(file)  # noqa: T201 - the result of the command


async def fill_in(counter: Page) -> None:
    """Fill in an order without placing it."""
    for item in ("Margherita", "Caprese", "Tiramisù"):
        await counter.get_by_role("button", name=item).first.click()


if __name__ == "__main__":
    asyncio.run(main())
