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
from tests.conftest import opened
from tests.support.browser import Screens, browser
from tests.support.house import House
from tests.support.servers import Postgres


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def chrome() -> AsyncIterator[Browser]:
    """Run a browser."""
    async with browser() as running:
        yield running


@pytest.fixture
def house(
    request: pytest.FixtureRequest, postgres_server: Postgres, template: str
) -> Iterator[House]:
    """Open a restaurant without cooks, for people at screens, on a database of its own.

    Parametrized indirectly, it takes environment variables of the configuration.
    """
    name = _elsewhere(postgres_server, template)
    settings = getattr(request, "param", {})
    with contextlib.closing(House(postgres_server.dsn(name), **settings)) as house:
        house.open()
        yield house


@pytest_asyncio.fixture(loop_scope="session")
async def screens(chrome: Browser, house: House) -> AsyncIterator[Screens]:
    """Have devices that show the restaurant's pages; no page may complain of anything grave."""
    screens = Screens(chrome, house.address)
    yield screens
    await screens.close()
    assert screens.grave_complaints == []


@pytest_asyncio.fixture(loop_scope="session")
async def stove(house: House) -> AsyncIterator[Database]:
    """Lend the restaurant's database to those who cook by hand, past every screen."""
    async with opened(house.dsn) as database:
        yield database


def _elsewhere(server: Postgres, template: str) -> str:
    """Copy a database in a thread, for in this one a loop is running."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, server.create_database(template)).result()
