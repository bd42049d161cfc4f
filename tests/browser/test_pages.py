import pytest

from tests.support.browser import Screens, serious_violations

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_pages_are_for_everyone(screens: Screens) -> None:
    """No page keeps out those who cannot see, or cannot point."""
    for path in ("/", "/board", "/dashboard"):
        page = await screens.open(path)

        assert await serious_violations(page) == [], path
