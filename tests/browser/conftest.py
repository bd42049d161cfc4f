"""Fixtures of the browser tests: the all-in-one app and a browser.

One browser and one event loop serve the whole run; each test has its own app.
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
    """Run a headless browser."""
    async with running_browser() as running:
        yield running


@pytest.fixture
def app(
    request: pytest.FixtureRequest, postgres_server: Postgres, template_database: str
) -> Iterator[AllInOneApp]:
    """Run the all-in-one app without cooks, on a database of its own.

    An indirect parameter has environment variables of the configuration.
    """
    name = _create_database(postgres_server, template_database)
    settings = getattr(request, "param", {})
    with contextlib.closing(AllInOneApp(postgres_server.dsn(name), **settings)) as app:
        app.open()
        yield app


@pytest_asyncio.fixture(loop_scope="session")
async def screens(browser: Browser, app: AllInOneApp) -> AsyncIterator[Screens]:
    """Open pages of the app; fail if a page logged an error."""
    screens = Screens(browser, app.address)
    yield screens
    await screens.close()
    assert screens.unexpected_errors == []


@pytest_asyncio.fixture(loop_scope="session")
async def app_database(app: AllInOneApp) -> AsyncIterator[Database]:
    """Connect to the database of the app, to change orders without a screen."""
    async with open_database(app.dsn) as database:
        yield database


def _create_database(server: Postgres, template_database: str) -> str:
    """Copy a database in a thread, because this one runs an event loop."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, server.create_database(template_database)).result()
