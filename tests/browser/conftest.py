"""What tests of the screens may ask for: a restaurant in one process, and a browser.

The browser lives as long as the run, in one event loop; the restaurant as long as one test.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import pytest_asyncio
from playwright.async_api import Browser

from restaurant_system.database.connection import Database
from tests.conftest import open_database
from tests.support.all_in_one_app import AllInOneApp
from tests.support.browser import Screens, running_browser
from tests.support.postgres_server import Postgres


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    """Run a browser."""
    async with running_browser() as running:
        yield running


@pytest.fixture
def app(
    request: pytest.FixtureRequest, postgres_server: Postgres, template_database: str
) -> Iterator[AllInOneApp]:
    """Open a restaurant without cooks, for people at screens, on a database of its own.

    Parametrized indirectly, it takes environment variables of the configuration.
    """
    name = _elsewhere(postgres_server, template_database)
    settings = getattr(request, "param", {})
    with contextlib.closing(AllInOneApp(postgres_server.dsn(name), **settings)) as house:
        house.open()
        yield house


@pytest_asyncio.fixture(loop_scope="session")
async def screens(browser: Browser, app: AllInOneApp) -> AsyncIterator[Screens]:
    """Have devices that show the restaurant's pages; no page may complain of anything grave."""
    screens = Screens(browser, app.address)
    yield screens
    await screens.close()
    assert screens.grave_complaints == []


@pytest_asyncio.fixture(loop_scope="session")
async def app_database(app: AllInOneApp) -> AsyncIterator[Database]:
    """Lend the restaurant's database to those who cook by hand, past every screen."""
    async with open_database(app.dsn) as database:
        yield database


def _elsewhere(server: Postgres, template_database: str) -> str:
    """Copy a database in a thread, for in this one a loop is running."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, server.create_database(template_database)).result()
